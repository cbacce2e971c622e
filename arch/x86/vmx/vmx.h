// SPDX-License-Identifier: Apache-2.0
// What the files of the VMX backend share. A vCPU's VMCS is read and written only while it is the current one of
// the CPU: vmx_select, which every function that the layers above may call on a vCPU that is not running goes
// through; the exit path has it current already.
#pragma once

#include "arch/x86/cpu/percpu.h"
#include "arch/x86/guest/ops.h"
#include "arch/x86/guest/tlbid.h"
#include "arch/x86/guest/vcpu.h"
#include "arch/x86/vmx/insn.h"
#include "arch/x86/vmx/vmcs.h"

enum vmx_word { VMX_PIN, VMX_PROC, VMX_PROC2, VMX_EXIT, VMX_ENTRY, VMX_WORDS };

// What the capability MSRs say (SDM vol. 3, appendix A); 0 where the CPU has no such MSR.
struct vmx_cpu {
	uint64_t basic, misc, ept_vpid;
	uint64_t cr0_fixed0, cr0_fixed1, cr4_fixed0, cr4_fixed1;
	uint32_t must[VMX_WORDS], may[VMX_WORDS]; // bits of the control words that must, that may be 1
};

// What the CPUs can do and what follows from it; the same on all of them, set at probe.
struct vmx_caps {
	struct vmx_cpu cpu;
	uint32_t usable[VMX_WORDS];  // the controls we know that it has and no option turned off
	uint32_t control[VMX_WORDS]; // those that every VMCS starts with, and what must be 1
	uint64_t cr0_fixed;          // bits of a guest's CR0 and CR4 that must be 1
	uint64_t cr4_fixed;
	bool vpid; // used, and INVVPID with it
	bool invvpid_single;
	bool invept_single;
	bool ept_ad, ept_1g, ept_2m;
	uint32_t max_run; // in ticks of the preemption timer; 0: not bounded
};
extern struct vmx_caps vmx_caps;
// First word of a VMXON region and of a VMCS.
static inline uint32_t vmx_revision(void) { return vmx_caps.cpu.basic & VMX_BASIC_REVISION_MASK; }

// MSRs that stay in the hardware while the guest runs and after its exits: the hypervisor uses none of them.
enum vmx_live_msr { LIVE_STAR, LIVE_LSTAR, LIVE_CSTAR, LIVE_SFMASK, LIVE_KERNEL_GS_BASE, LIVE_MSRS };

// Work before the next entry.
enum vmx_deferred {
	VMX_DEFERRED_TSC = 1 << 0,    // tsc_offset is not in the VMCS yet
	VMX_DEFERRED_FLUSH = 1 << 1,  // the guest's translations are stale
	VMX_DEFERRED_VPID = 1 << 2,   // it has no VPID of this CPU
	VMX_DEFERRED_SELECT = 1 << 3, // another VMCS was made current meanwhile
	VMX_DEFERRED_MODE = 1 << 4,   // a mode that the CPU does not run
	VMX_DEFERRED_APIC = 1 << 5,   // apic_controls are not in the VMCS yet
};

#define VMX_CPU_NONE UINT32_MAX

// What an entry and an exit load by lists where the CPU lacks the controls for it; in a page of its own.
enum vmx_listed { LISTED_EFER, LISTED_PAT, LISTED_MSRS };
struct vmx_msr_lists {
	struct vmx_msr_entry guest[LISTED_MSRS], host[LISTED_MSRS];
};

struct vmx_vcpu {
	struct exit exit;         // the one being handled
	uint64_t vpid_generation; // of the CPU's pool when the VPID was taken
	uint64_t nested_flushed;  // nested_generation at the last INVEPT on that CPU
	uint64_t tsc_offset;
	uint32_t vpid_cpu;    // whose pool the VPID is from; VMX_CPU_NONE: there is none
	uint32_t deferred;    // enum vmx_deferred
	uint32_t proc, entry; // control words as they are in the VMCS
	uint16_t vpid;
	uint8_t tpr_threshold;  // as in the VMCS
	uint32_t apic_controls; // secondary controls that serve the local APIC in its mode
	bool event_waiting;     // the injection field holds an event that no entry has taken
	bool live;              // msr[] and dr6 are in the hardware, not here
	bool bound;             // the VMCS has the host state of CPU `cpu`
	uint32_t cpu;
	uint64_t msr[LIVE_MSRS];
	uint64_t dr6;
	struct vmx_msr_lists *lists;     // NULL: the CPU needs none
	uint64_t efer;                   // the guest's; writes exit, so this is what the VMCS has
	uint64_t cr0_shadow, cr4_shadow; // the guest's values of the bits the guest does not own
	uint64_t cr4_owned;              // bits of CR4 the guest changes without an exit
};

// Bits of CR0 the guest changes without an exit: nothing of the hypervisor depends on them.
#define VMX_CR0_OWNED (CR0_MP | CR0_EM | CR0_TS | CR0_WP | CR0_AM)

// Known to enter.asm.
_Static_assert(offsetof(struct vcpu, requests) == 16, "known to enter.asm");

static inline struct vmx_vcpu *vmx_of(const struct vcpu *vcpu) { return vcpu->arch->vendor; }

// tlb.c
#define VPID_LIMIT 0x10000u
// The vCPU has no VPID of this CPU.
bool vmx_vpid_stale(const struct vmx_vcpu *vmx, const struct tlbid_pool *pool, uint32_t cpu);
enum vmx_drop {
	VMX_DROP_NEW_VPID = 1 << 0,  // vmx->vpid is another one now
	VMX_DROP_ALL_VPIDS = 1 << 1, // first: all contexts
	VMX_DROP_VPID = 1 << 2,      // the vCPU's own
	VMX_DROP_NESTED = 1 << 3,    // all of its VM
};
// What to drop when the vCPU's translations are stale, or it has no VPID of this CPU and takes one. `nested`: the
// nested_generation of its VM.
uint32_t vmx_drop_plan(struct vmx_vcpu *vmx, struct tlbid_pool *pool, uint32_t limit, uint32_t cpu,
                       uint64_t nested);

// vcpu.c: makes the vCPU's VMCS the current one of this CPU.
void vmx_make_current(const struct vcpu *vcpu);
static inline void vmx_select(const struct vcpu *vcpu) {
	if (unlikely(this_cpu()->backend_current_pa != vcpu->arch->enter_pa)) vmx_make_current(vcpu);
}

// setup.c
__cold int vmx_probe(struct arch_why *why);
__cold void vmx_describe(char *text, size_t bytes);
__cold bool vmx_max_run_set(uint64_t tsc);
__cold int vmx_cpu_enable(struct arch_why *why);
__cold void vmx_cpu_disable(void);
// Pages that all VMs share: the permission maps, and the page that stands for the local APIC's (29.4).
enum vmx_map { MAP_IO_A, MAP_IO_B, MAP_MSR, MAP_MSR_X2APIC, MAP_APIC_ACCESS, MAPS_PAGES };
uint64_t vmx_map_pa(enum vmx_map map);
// apicv.c
__cold void vmx_apicv_probe(void);
__cold void vmx_apicv_msrs_allow(uint8_t *map);
__cold int vmx_vm_create(struct vm *vm);
__cold void vmx_apicv_reset(struct vcpu *vcpu); // the VMCS is current
__cold __attribute__((noinline)) void vmx_apicv_prepare(struct vcpu *vcpu);
__cold __attribute__((noinline)) void vmx_apic_mode(struct vcpu *vcpu);
__cold __attribute__((noinline)) void vmx_apic_sync(struct vcpu *vcpu);
// The exits of ch. 29 that say more than their reason.
__cold __attribute__((noinline)) void vmx_apic_decode(const struct vcpu *vcpu, uint32_t reason,
                                                      struct exit *x);
// vcpu.c
__cold int vmx_vcpu_create(struct vcpu *vcpu);
__cold void vmx_vcpu_destroy(struct vcpu *vcpu);
__cold void vmx_vcpu_reset(struct vcpu *vcpu);
void vmx_vcpu_load(struct vcpu *vcpu);
void vmx_vcpu_save(struct vcpu *vcpu);
void vmx_vcpu_leave(struct vcpu *vcpu);
void vmx_vcpu_select(struct vcpu *vcpu);
void vmx_flush(struct vcpu *vcpu);
// The guest's value of a listed MSR, into the field for it or into the list.
void vmx_listed_set(struct vcpu *vcpu, enum vmx_listed i, uint64_t value);
// A field of the current VMCS, where size counts more than speed.
void vmx_field_set(enum vmcs_field field, uint64_t value);
// Does what was deferred; before an entry.
__cold __attribute__((noinline)) void vmx_prepare(struct vcpu *vcpu);
void vmx_tsc_offset_set(struct vcpu *vcpu, uint64_t offset);
// report.c
__cold void vmx_dump(const struct vcpu *vcpu);
struct vmx_entry_state;
// What the current VMCS and this CPU give the checks of check.h to judge.
__cold void vmx_entry_state_read(struct vmx_entry_state *s);
// exit.c
void vmx_vcpu_enter(struct vcpu *vcpu);
void vmx_exit(struct arch_vcpu *arch);
__cold void vmx_enter_failed(struct arch_vcpu *arch, uint64_t rflags);
void vmx_enter_cancelled(struct arch_vcpu *arch);
enum exit_kind vmx_kind_of_failure(uint32_t reason);
// The manual's name of an exit reason, for reports.
const char *vmx_reason_name(uint32_t reason);
// enter.asm
void vmx_enter(struct arch_vcpu *arch); // does not return; not declared so, that calling it be a jump
__cold uint64_t vmx_entry_try(uint64_t launched);
extern const unsigned char vmx_entry_try_exit[];
extern const unsigned char vmx_exit_entry[], vmx_window_start[], vmx_window_end[], vmx_window_cancel[];
// event.c
void vmx_advance(struct vcpu *vcpu, unsigned insn_len);
__cold bool vmx_shadow_get(const struct vcpu *vcpu);
__cold void vmx_shadow_clear(struct vcpu *vcpu);
bool vmx_irq_allowed(const struct vcpu *vcpu);
bool vmx_nmi_allowed(const struct vcpu *vcpu);
bool vmx_event_waiting(const struct vcpu *vcpu);
void vmx_irq_window(struct vcpu *vcpu, bool on);
__cold void vmx_nmi_window(struct vcpu *vcpu, bool on);
void vmx_inject(struct vcpu *vcpu, const struct guest_event *event);
__cold bool vmx_event_get(const struct vcpu *vcpu, struct guest_event *event);
__cold uint8_t vmx_blocking_get(const struct vcpu *vcpu);
__cold void vmx_blocking_set(struct vcpu *vcpu, uint8_t blocking);
__cold uint64_t vmx_debug_pending_get(const struct vcpu *vcpu);
__cold void vmx_debug_pending_set(struct vcpu *vcpu, uint64_t dr6_bits);
// An event whose delivery this exit interrupted; false: there was none.
__cold bool vmx_event_interrupted(struct guest_event *event);
// It goes back to the neutral queue.
void vmx_event_requeue(struct vcpu *vcpu);
// An exit for #DB: what the CPU would have left in DR6 and DR7. For INT1 also RIP.
__cold void vmx_debug_exit(struct vcpu *vcpu, uint32_t intr_info);
// state.c
uint64_t vmx_rip_get(const struct vcpu *vcpu);
void vmx_rip_set(struct vcpu *vcpu, uint64_t rip);
uint64_t vmx_rsp_get(const struct vcpu *vcpu);
void vmx_rsp_set(struct vcpu *vcpu, uint64_t rsp);
uint64_t vmx_rflags_get(const struct vcpu *vcpu);
void vmx_rflags_set(struct vcpu *vcpu, uint64_t rflags);
uint8_t vmx_cpl_get(const struct vcpu *vcpu);
void vmx_seg_get(const struct vcpu *vcpu, enum guest_seg seg, struct guest_segment *out);
__cold void vmx_seg_set(struct vcpu *vcpu, enum guest_seg seg, const struct guest_segment *in);
void vmx_paging_get(const struct vcpu *vcpu, struct guest_paging *out);
__cold void vmx_sregs_get(const struct vcpu *vcpu, struct guest_sregs *out);
__cold void vmx_sregs_set(struct vcpu *vcpu, const struct guest_sregs *in);
void vmx_cr0_set(struct vcpu *vcpu, uint64_t cr0);
void vmx_cr3_set(struct vcpu *vcpu, uint64_t cr3);
void vmx_cr4_set(struct vcpu *vcpu, uint64_t cr4);
void vmx_efer_set(struct vcpu *vcpu, uint64_t efer);
uint64_t vmx_cr2_get(const struct vcpu *vcpu);
void vmx_cr2_set(struct vcpu *vcpu, uint64_t cr2);
uint64_t vmx_dr6_get(const struct vcpu *vcpu);
void vmx_dr6_set(struct vcpu *vcpu, uint64_t dr6);
uint64_t vmx_dr7_get(const struct vcpu *vcpu);
void vmx_dr7_set(struct vcpu *vcpu, uint64_t dr7);
__cold bool vmx_msr_get(const struct vcpu *vcpu, uint32_t msr, uint64_t *value);
__cold bool vmx_msr_set(struct vcpu *vcpu, uint32_t msr, uint64_t value);
void vmx_live_load(struct vmx_vcpu *vmx);
void vmx_live_save(struct vmx_vcpu *vmx);
