// SPDX-License-Identifier: Apache-2.0
// What a backend (vmx/ or svm/) provides: the kvm_x86_ops of this project. One const table, complete,
// never a NULL entry; optional features are flags. Chosen once at boot. All functions of a vCPU run on the
// CPU that owns it, interrupts off, with that vCPU current.
#pragma once

#include "arch/x86/guest/state.h"
#include "kernel/arch.h"
#include "mm/ept/nested.h"

struct vendor_ops {
	const char *name;
	// CPU and firmware allow it; else a line that names the missing control or the lock.
	int (*probe)(struct arch_why *why);
	// What of the CPU it uses, for the log; after probe.
	void (*describe)(char *text, size_t bytes);
	// Turns it on for the CPU it runs on.
	int (*cpu_enable)(struct arch_why *why);
	void (*cpu_disable)(void);

	// Bounds every stay in a guest, of vCPUs reset afterwards; false: it cannot.
	bool (*max_run_set)(uint64_t tsc);

	const struct pt_format *(*nested_format)(void);
	uint8_t (*nested_levels)(void);      // of the root table
	uint8_t (*nested_leaf_levels)(void); // PT_LEAF_* mask of the page sizes the CPU's nested tables take

	int (*vm_create)(struct vm *vm);
	void (*vm_destroy)(struct vm *vm);
	int (*vcpu_create)(struct vcpu *vcpu);
	void (*vcpu_destroy)(struct vcpu *vcpu);
	// Empties it: controls as at creation, no event, no shadow, registers without meaning. guest/reset.c or a record
	// gives them theirs.
	void (*vcpu_reset)(struct vcpu *vcpu);
	// What of the backend's state stays in the CPU while the vCPU owns it: in, and out again.
	void (*vcpu_load)(struct vcpu *vcpu);
	void (*vcpu_save)(struct vcpu *vcpu);
	// What is left in this CPU of one that is not loaded (a VMCS that was made current to be read or written): gone,
	// so that another CPU may have it. vcpu_save does this too.
	void (*vcpu_leave)(struct vcpu *vcpu);
	// The loaded one, after another one of this CPU was looked at: its fields are at hand again (VMX: current VMCS).
	void (*vcpu_select)(struct vcpu *vcpu);
	// Returns only when a request arrived after the last test; otherwise the next C code is guest_exit.
	void (*enter)(struct vcpu *vcpu);

	uint64_t (*rip_get)(const struct vcpu *vcpu);
	void (*rip_set)(struct vcpu *vcpu, uint64_t rip);
	uint64_t (*rsp_get)(const struct vcpu *vcpu);
	void (*rsp_set)(struct vcpu *vcpu, uint64_t rsp);
	uint64_t (*rflags_get)(const struct vcpu *vcpu);
	void (*rflags_set)(struct vcpu *vcpu, uint64_t rflags);
	uint8_t (*cpl_get)(const struct vcpu *vcpu);
	void (*seg_get)(const struct vcpu *vcpu, enum guest_seg seg, struct guest_segment *out);
	void (*seg_set)(struct vcpu *vcpu, enum guest_seg seg, const struct guest_segment *in);
	// What address translation and mode decisions need.
	void (*paging_get)(const struct vcpu *vcpu, struct guest_paging *out);
	void (*sregs_get)(const struct vcpu *vcpu, struct guest_sregs *out);
	void (*sregs_set)(struct vcpu *vcpu, const struct guest_sregs *in);
	// Control registers already validated by guest/cr; the backend applies its fixed bits and shadows.
	void (*cr0_set)(struct vcpu *vcpu, uint64_t cr0);
	void (*cr3_set)(struct vcpu *vcpu, uint64_t cr3);
	void (*cr4_set)(struct vcpu *vcpu, uint64_t cr4);
	void (*efer_set)(struct vcpu *vcpu, uint64_t efer);
	uint64_t (*cr2_get)(const struct vcpu *vcpu);
	void (*cr2_set)(struct vcpu *vcpu, uint64_t cr2);
	uint64_t (*dr7_get)(const struct vcpu *vcpu);
	void (*dr7_set)(struct vcpu *vcpu, uint64_t dr7);
	uint64_t (*dr6_get)(const struct vcpu *vcpu);
	void (*dr6_set)(struct vcpu *vcpu, uint64_t dr6);
	// MSRs whose guest value the backend holds (FS/GS base, STAR family, SYSENTER, PAT, DEBUGCTL);
	// false: not one of them.
	bool (*msr_get)(const struct vcpu *vcpu, uint32_t msr, uint64_t *value);
	bool (*msr_set)(struct vcpu *vcpu, uint32_t msr, uint64_t value);

	// The bytes of the instruction at RIP as far as the CPU gave them with the exit that is being handled, zeros behind
	// them (SVM decode assists; VMX gives none). Returns how many, up to 15.
	unsigned (*insn_bytes)(const struct vcpu *vcpu, uint64_t code[static CODE_BYTES / 8]);
	// Moves past an instruction that was completed: RIP, and the STI/MOV-SS shadow ends.
	void (*advance)(struct vcpu *vcpu, unsigned insn_len);
	bool (*shadow_get)(const struct vcpu *vcpu);
	void (*shadow_clear)(struct vcpu *vcpu);
	bool (*irq_allowed)(const struct vcpu *vcpu); // IF = 1 and no shadow and no event waiting
	bool (*nmi_allowed)(const struct vcpu *vcpu);
	bool (*event_waiting)(const struct vcpu *vcpu); // one is already in the injection field
	void (*irq_window)(struct vcpu *vcpu, bool on);
	void (*nmi_window)(struct vcpu *vcpu, bool on);
	void (*inject)(struct vcpu *vcpu, const struct guest_event *event);
	// Hardware that serves the local APIC (a backend without any has nothing to do here): its mode changed; vectors
	// may wait that are not for us to inject, now or at all (vlapic_virtual_set).
	void (*apic_mode)(struct vcpu *vcpu);
	void (*apic_sync)(struct vcpu *vcpu);
	// For records: the event in the injection field (false: none); what holds events back, GUEST_BLOCK_* (an NMI
	// that still waits there does not block); a #DB that the last instruction earned and that follows it, as bits
	// of DR6.
	bool (*event_get)(const struct vcpu *vcpu, struct guest_event *event);
	uint8_t (*blocking_get)(const struct vcpu *vcpu);
	void (*blocking_set)(struct vcpu *vcpu, uint8_t blocking);
	uint64_t (*debug_pending_get)(const struct vcpu *vcpu);
	void (*debug_pending_set)(struct vcpu *vcpu, uint64_t dr6_bits);

	void (*tsc_offset_set)(struct vcpu *vcpu, uint64_t offset);
	// Drops the guest's cached translations before its next instruction.
	void (*flush)(struct vcpu *vcpu);
	// Raw fields for the report.
	void (*dump)(const struct vcpu *vcpu);
};

extern const struct vendor_ops svm_ops, vmx_ops;
// The chosen one, copied by arch_init: a call through it is one instruction.
extern struct vendor_ops ops[1];
