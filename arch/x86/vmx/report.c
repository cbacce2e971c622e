// SPDX-License-Identifier: Apache-2.0
// What a stopped vCPU leaves in the log: raw fields, and what in the guest's state an entry would refuse.
#include "arch/x86/cpu/features.h"
#include "arch/x86/vmx/check.h"
#include "arch/x86/vmx/vmx.h"
#include "kernel/lib/log.h"

#define FIELD(field)                                                                                         \
	{ VMCS_##field, #field }
static const struct {
	enum vmcs_field field;
	const char *name;
} dump_fields[] = {
    FIELD(EXIT_REASON),
    FIELD(EXIT_QUALIFICATION),
    FIELD(EXIT_INSN_LEN),
    FIELD(INSN_ERROR),
    FIELD(EXIT_INTR_INFO),
    FIELD(EXIT_INTR_ERROR),
    FIELD(IDT_VECTORING_INFO),
    FIELD(IDT_VECTORING_ERROR),
    FIELD(GUEST_LINEAR_ADDR),
    FIELD(GUEST_PHYSICAL_ADDR),
    FIELD(ENTRY_INTR_INFO),
    FIELD(ENTRY_INSN_LEN),
    FIELD(PIN_CONTROLS),
    FIELD(PROC_CONTROLS),
    FIELD(PROC2_CONTROLS),
    FIELD(EXIT_CONTROLS),
    FIELD(ENTRY_CONTROLS),
    FIELD(EXCEPTION_BITMAP),
    FIELD(EPT_POINTER),
    FIELD(VPID),
    FIELD(GUEST_CR0),
    FIELD(GUEST_CR4),
    FIELD(GUEST_EFER),
    FIELD(GUEST_DR7),
    FIELD(GUEST_INTERRUPTIBILITY),
    FIELD(GUEST_ACTIVITY),
    FIELD(GUEST_PENDING_DEBUG),
    FIELD(GUEST_PAT),
    FIELD(GUEST_PDPTE0),
    FIELD(GUEST_PDPTE1),
    FIELD(GUEST_PDPTE2),
    FIELD(GUEST_PDPTE3),
};
#define DUMP_COLUMNS 2u
_Static_assert(array_count(dump_fields) % DUMP_COLUMNS == 0, "whole lines");

static void state_read(const struct vcpu *vcpu, struct vmx_entry_state *s) {
	*s = (struct vmx_entry_state){
	    .gdt_base = vmcs_readn(VMCS_GUEST_GDTR_BASE),
	    .idt_base = vmcs_readn(VMCS_GUEST_IDTR_BASE),
	    .gdt_limit = vmcs_read32(VMCS_GUEST_GDTR_LIMIT),
	    .idt_limit = vmcs_read32(VMCS_GUEST_IDTR_LIMIT),
	    .cr0 = vmcs_readn(VMCS_GUEST_CR0),
	    .cr3 = vmcs_readn(VMCS_GUEST_CR3),
	    .cr4 = vmcs_readn(VMCS_GUEST_CR4),
	    .efer = vmcs_read64(VMCS_GUEST_EFER),
	    .pat = vmcs_read64(VMCS_GUEST_PAT),
	    .dr7 = vmcs_readn(VMCS_GUEST_DR7),
	    .debugctl = vmcs_read64(VMCS_GUEST_DEBUGCTL),
	    .rip = vmcs_readn(VMCS_GUEST_RIP),
	    .rflags = vmcs_readn(VMCS_GUEST_RFLAGS),
	    .pending_debug = vmcs_readn(VMCS_GUEST_PENDING_DEBUG),
	    .sysenter_esp = vmcs_readn(VMCS_GUEST_SYSENTER_ESP),
	    .sysenter_eip = vmcs_readn(VMCS_GUEST_SYSENTER_EIP),
	    .link_pointer = vmcs_read64(VMCS_LINK_POINTER),
	    .pdpte = {vmcs_read64(VMCS_GUEST_PDPTE0), vmcs_read64(VMCS_GUEST_PDPTE1),
	              vmcs_read64(VMCS_GUEST_PDPTE2), vmcs_read64(VMCS_GUEST_PDPTE3)},
	    .interruptibility = vmcs_read32(VMCS_GUEST_INTERRUPTIBILITY),
	    .activity = vmcs_read32(VMCS_GUEST_ACTIVITY),
	    .entry_controls = vmcs_read32(VMCS_ENTRY_CONTROLS),
	    .intr_info = vmcs_read32(VMCS_ENTRY_INTR_INFO),
	    .intr_insn_len = vmcs_read32(VMCS_ENTRY_INSN_LEN),
	    .cr0_fixed = vmx_caps.cr0_fixed,
	    .cr4_fixed = vmx_caps.cr4_fixed,
	    .phys_bits = features.phys_bits,
	    .virt_bits = features.virt_bits,
	};
	for (unsigned i = 0; i < SEG_COUNT; i++) vmx_seg_get(vcpu, (enum guest_seg)i, &s->seg[i]);
}

void vmx_dump(const struct vcpu *vcpu) {
	struct vmx_entry_state state;
	const char *why[VMX_CHECK_MAX];
	vmx_select(vcpu);
	uint32_t reason = vmcs_read32(VMCS_EXIT_REASON);
	log_error("vmx", "exit reason %s%s", vmx_reason_name(reason),
	          (reason & VMX_REASON_ENTRY_FAILED) != 0 ? ", the entry failed" : "");
	for (unsigned i = 0; i < array_count(dump_fields); i += DUMP_COLUMNS)
		log_error("vmx", "%-24s %16llx  %-24s %16llx", dump_fields[i].name,
		          (unsigned long long)vmcs_read(dump_fields[i].field), dump_fields[i + 1].name,
		          (unsigned long long)vmcs_read(dump_fields[i + 1].field));
	state_read(vcpu, &state);
	unsigned broken = vmx_entry_check(&state, why);
	for (unsigned i = 0; i < broken; i++) log_error("vmx", "an entry refuses: %s", why[i]);
}
