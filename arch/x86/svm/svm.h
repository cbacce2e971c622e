// SPDX-License-Identifier: Apache-2.0
// What the files of the SVM backend share.
#pragma once

#include "arch/x86/cpu/percpu.h"
#include "arch/x86/guest/ops.h"
#include "arch/x86/guest/tlbid.h"
#include "arch/x86/guest/vcpu.h"
#include "arch/x86/svm/vmcb.h"

struct svm_caps {
	uint32_t asids;  // 1 .. asids - 1 are the guests'
	bool next_rip;   // exits tell the next RIP
	bool flush_asid; // TLB_CONTROL 3
	bool decode;     // instruction bytes and operands in the exit
	bool npt_1g;     // nested leaves of 1 GiB
	bool pause;      // the PAUSE intercept counts, and tells loops from single ones
};
extern struct svm_caps svm_caps;

#define SVM_CPU_NONE UINT32_MAX

struct svm_vcpu {
	struct vmcb *vmcb;
	uint64_t cr4_forced;      // set in the VMCB's CR4, clear in the guest's
	uint64_t asid_generation; // of the CPU's pool when the ASID was taken
	uint32_t cpu;             // that had it last
	// NMI masking (APM vol. 2, 15.20 has no virtual NMIs on this generation): after an injected NMI the IRET
	// is intercepted; the mask ends when that IRET has completed.
	bool nmi_masked;
	bool iret_wait;       // the IRET at iret_rip exited and has not been seen complete
	bool stepping;        // RFLAGS.TF is ours: one instruction, to see it complete
	bool exit_soon;       // the next entry only delivers its event
	uint64_t guest_flags; // what the guest has in RFLAGS.TF and RF meanwhile
	uint64_t iret_rip;
	uint64_t shadow_rip; // where the guest was in an interrupt shadow when an interrupt of the host came last
};

static inline struct svm_vcpu *svm_of(const struct vcpu *vcpu) { return vcpu->arch->vendor; }
static inline struct vmcb *vmcb_of(const struct vcpu *vcpu) { return vcpu->arch->block; }

// setup.c
__cold int svm_probe(struct arch_why *why);
__cold void svm_describe(char *text, size_t bytes);
__cold int svm_cpu_enable(struct arch_why *why);
__cold void svm_cpu_disable(void);
uint64_t svm_host_vmcb_pa(void);
uint64_t svm_iopm_pa(void);
uint64_t svm_msrpm_pa(void);
// vcpu.c
__cold int svm_vcpu_create(struct vcpu *vcpu);
__cold void svm_vcpu_destroy(struct vcpu *vcpu);
__cold void svm_vcpu_reset(struct vcpu *vcpu);
void svm_vcpu_load(struct vcpu *vcpu);
// tlb.c. When a generation of ASIDs ends, a flush of everything is owed until a VMRUN has made it, whichever vCPU's that
// is.
struct asid_pool {
	struct tlbid_pool ids;
	bool flush;
};
extern struct asid_pool svm_asid_pool[CPU_MAX];
void svm_asid_take(struct svm_vcpu *svm, struct asid_pool *pool);
// After a VMRUN whose VMCB asked for a flush.
void svm_flushed(struct vmcb *v, struct asid_pool *pool);
void svm_flush(struct vcpu *vcpu);
// report.c
__cold void svm_dump(const struct vcpu *vcpu);
struct svm_entry_state;
// What a VMCB and this CPU give the checks of check.h to judge.
__cold void svm_entry_state_read(const struct vmcb *vmcb, struct svm_entry_state *s);
// length.c
// Length of the exiting instruction on a CPU that does not tell, for those whose opcode the exit code names; 0
// when it takes a full decode.
uint8_t svm_insn_length(struct vcpu *vcpu, uint64_t code);
// exit.c
// What an entry without an ASID of this CPU needs first; interrupts off.
__cold void svm_prepare(struct svm_vcpu *svm, struct asid_pool *pool);
void svm_vcpu_enter(struct vcpu *vcpu);
void svm_exit(struct arch_vcpu *arch);
__cold unsigned svm_insn_bytes(const struct vcpu *vcpu, uint64_t code[static CODE_BYTES / 8]);
noreturn void svm_enter(struct arch_vcpu *arch, uint64_t stack_top);
// event.c
void svm_advance(struct vcpu *vcpu, unsigned insn_len);
bool svm_irq_allowed(const struct vcpu *vcpu);
bool svm_nmi_allowed(const struct vcpu *vcpu);
bool svm_event_waiting(const struct vcpu *vcpu);
void svm_irq_window(struct vcpu *vcpu, bool on);
__cold void svm_nmi_window(struct vcpu *vcpu, bool on);
void svm_inject(struct vcpu *vcpu, const struct guest_event *event);
__cold bool svm_event_get(const struct vcpu *vcpu, struct guest_event *event);
__cold uint8_t svm_blocking_get(const struct vcpu *vcpu);
__cold void svm_blocking_set(struct vcpu *vcpu, uint8_t blocking);
// An exit that says something of what is blocked: an interrupt or its window, an NMI, an IRET. Returns its kind.
enum exit_kind svm_event_exit(struct vcpu *vcpu, enum exit_kind kind);
// The #DB of our own single step; true when the #DB was only ours.
__cold bool svm_step_exit(struct vcpu *vcpu);
// Gives up the step and the shadow it was for: before an instruction that would show the step (PUSHF, a task switch), or an event.
void svm_step_leave(struct vcpu *vcpu);
// state.c
uint64_t svm_rip_get(const struct vcpu *vcpu);
void svm_rip_set(struct vcpu *vcpu, uint64_t rip);
uint64_t svm_rsp_get(const struct vcpu *vcpu);
void svm_rsp_set(struct vcpu *vcpu, uint64_t rsp);
uint64_t svm_rflags_get(const struct vcpu *vcpu);
void svm_rflags_set(struct vcpu *vcpu, uint64_t rflags);
uint8_t svm_cpl_get(const struct vcpu *vcpu);
void svm_seg_get(const struct vcpu *vcpu, enum guest_seg seg, struct guest_segment *out);
__cold void svm_seg_set(struct vcpu *vcpu, enum guest_seg seg, const struct guest_segment *in);
void svm_paging_get(const struct vcpu *vcpu, struct guest_paging *out);
__cold void svm_sregs_get(const struct vcpu *vcpu, struct guest_sregs *out);
__cold void svm_sregs_set(struct vcpu *vcpu, const struct guest_sregs *in);
void svm_cr0_set(struct vcpu *vcpu, uint64_t cr0);
void svm_cr3_set(struct vcpu *vcpu, uint64_t cr3);
void svm_cr4_set(struct vcpu *vcpu, uint64_t cr4);
void svm_efer_set(struct vcpu *vcpu, uint64_t efer);
uint64_t svm_cr2_get(const struct vcpu *vcpu);
void svm_cr2_set(struct vcpu *vcpu, uint64_t cr2);
uint64_t svm_dr6_get(const struct vcpu *vcpu);
void svm_dr6_set(struct vcpu *vcpu, uint64_t dr6);
uint64_t svm_dr7_get(const struct vcpu *vcpu);
void svm_dr7_set(struct vcpu *vcpu, uint64_t dr7);
__cold bool svm_msr_get(const struct vcpu *vcpu, uint32_t msr, uint64_t *value);
__cold bool svm_msr_set(struct vcpu *vcpu, uint32_t msr, uint64_t value);
