// SPDX-License-Identifier: Apache-2.0
// What a stopped vCPU leaves in the log: raw fields, and what in the guest's state an entry would refuse.
#include "arch/x86/cpu/features.h"
#include "arch/x86/vmx/check.h"
#include "arch/x86/vmx/vmx.h"
#include "kernel/lib/log.h"
#include "kernel/lib/string.h"

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

// Where the checks want what an entry would look at. The width of the field is that of the member.
#define STATE(member, vmcs_field)                                                                            \
	{                                                                                                        \
		(uint16_t)(VMCS_##vmcs_field),                                                                       \
		    (uint16_t)(offsetof(struct vmx_entry_state, member) +                                            \
		               0 * sizeof(struct {                                                                   \
			               _Static_assert((VMCS_WIDTH(VMCS_##vmcs_field) == VMCS_32 ? 4 : 8) ==              \
			                                  sizeof(((struct vmx_entry_state *)0)->member),                 \
			                              "width of the VMCS field");                                        \
			               char unused;                                                                      \
		               }))                                                                                   \
	}
static const struct {
	uint16_t field, offset;
} state_fields[] = {
    STATE(gdt_base, GUEST_GDTR_BASE),
    STATE(idt_base, GUEST_IDTR_BASE),
    STATE(gdt_limit, GUEST_GDTR_LIMIT),
    STATE(idt_limit, GUEST_IDTR_LIMIT),
    STATE(cr0, GUEST_CR0),
    STATE(cr3, GUEST_CR3),
    STATE(cr4, GUEST_CR4),
    STATE(efer, GUEST_EFER),
    STATE(pat, GUEST_PAT),
    STATE(dr7, GUEST_DR7),
    STATE(debugctl, GUEST_DEBUGCTL),
    STATE(rip, GUEST_RIP),
    STATE(rflags, GUEST_RFLAGS),
    STATE(pending_debug, GUEST_PENDING_DEBUG),
    STATE(sysenter_esp, GUEST_SYSENTER_ESP),
    STATE(sysenter_eip, GUEST_SYSENTER_EIP),
    STATE(link_pointer, LINK_POINTER),
    STATE(pdpte[0], GUEST_PDPTE0),
    STATE(pdpte[1], GUEST_PDPTE1),
    STATE(pdpte[2], GUEST_PDPTE2),
    STATE(pdpte[3], GUEST_PDPTE3),
    STATE(interruptibility, GUEST_INTERRUPTIBILITY),
    STATE(activity, GUEST_ACTIVITY),
    STATE(entry_controls, ENTRY_CONTROLS),
    STATE(intr_info, ENTRY_INTR_INFO),
    STATE(intr_insn_len, ENTRY_INSN_LEN),
};

static void state_read(const struct vcpu *vcpu, struct vmx_entry_state *s) {
	*s = (struct vmx_entry_state){
	    .cr0_fixed = vmx_caps.cr0_fixed,
	    .cr4_fixed = vmx_caps.cr4_fixed,
	    .phys_bits = features.phys_bits,
	    .virt_bits = features.virt_bits,
	};
	for (unsigned i = 0; i < array_count(state_fields); i++) {
		uint64_t value = vmcs_read(state_fields[i].field);
		size_t bytes = VMCS_WIDTH(state_fields[i].field) == VMCS_32 ? sizeof(uint32_t) : sizeof value;
		memcpy((uint8_t *)s + state_fields[i].offset, &value, bytes); // little-endian: the low half first
	}
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
