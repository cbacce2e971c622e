// SPDX-License-Identifier: Apache-2.0
// What a stopped vCPU leaves in the log: raw fields, and what in the guest's state an entry would refuse.
#include "arch/x86/cpu/features.h"
#include "arch/x86/cpu/insn.h"
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

#define VMX_CHECK_MSR_ROW(msr) [VMX_CAN_##msr - VMX_CAN_BASIC] = MSR_VMX_##msr,
static const uint16_t capability_msr[] = {VMX_CHECK_MSRS(VMX_CHECK_MSR_ROW)};
#define TRUE_OFFSET (MSR_VMX_TRUE_PIN - MSR_VMX_PIN)
#define CPUID_EXTENDED 7u
#define CPUID_PERFORMANCE 0xau

// Bits of IA32_PERF_GLOBAL_CTRL: one a general counter, and from 32 one a fixed counter (SDM vol. 3, 20.2.2).
static uint64_t perf_global_bits(void) {
	struct cpuid_regs r = cpuid(CPUID_PERFORMANCE, 0);
	return (BIT64(r.eax >> 8 & 0x1f) - 1) | (BIT64(r.edx & 0x1f) - 1) << 32;
}

// An MSR or a field that this CPU lacks is 0. No rule looks at it then: the control that it belongs to is not allowed.
void vmx_entry_state_read(struct vmx_entry_state *s) {
	memset(s, 0, sizeof *s);
	s->v[ENTRY_BEYOND_PHYSICAL] = MASK64(63, features.phys_bits);
	s->v[ENTRY_LINEAR_BITS] = features.virt_bits;
	for (unsigned i = VMX_FIELD_FIRST; i < VMX_FIELDS_END; i++)
		if (!vmcs_read_quiet(vmx_check_field[i].field, &s->v[i])) s->v[i] = 0;
	if ((s->v[VMX_V_PROC_CONTROLS] & VMX_PROC_SECONDARY) == 0) s->v[VMX_V_PROC2_CONTROLS] = 0;
	for (unsigned i = 0; i < array_count(capability_msr); i++) {
		uint32_t msr = capability_msr[i];
		bool control = msr >= MSR_VMX_PIN && msr <= MSR_VMX_ENTRY;
		if (control && (s->v[VMX_CAN_BASIC] & VMX_BASIC_TRUE_CONTROLS) != 0) msr += TRUE_OFFSET;
		if (!rdmsr_safe(msr, &s->v[VMX_CAN_BASIC + i])) s->v[VMX_CAN_BASIC + i] = 0;
	}
	if (features.max_basic >= CPUID_PERFORMANCE) s->v[VMX_CAN_PERF_GLOBAL] = perf_global_bits();
	if (features.max_basic >= CPUID_EXTENDED) s->v[VMX_CAN_CPUID7_EBX] = cpuid(CPUID_EXTENDED, 0).ebx;
}

void vmx_dump(const struct vcpu *vcpu) {
	struct vmx_entry_state state;
	struct entry_broken broken[ENTRY_BROKEN_MAX];
	vmx_select(vcpu);
	uint32_t reason = vmcs_read32(VMCS_EXIT_REASON);
	log_error("vmx", "exit reason %s%s", vmx_reason_name(reason),
	          (reason & VMX_REASON_ENTRY_FAILED) != 0 ? ", the entry failed" : "");
	for (unsigned i = 0; i < array_count(dump_fields); i += DUMP_COLUMNS) {
		uint64_t value[DUMP_COLUMNS]; // 0 where the CPU has no such field
		for (unsigned c = 0; c < DUMP_COLUMNS; c++)
			if (!vmcs_read_quiet(dump_fields[i + c].field, &value[c])) value[c] = 0;
		log_error("vmx", "%-24s %16llx  %-24s %16llx", dump_fields[i].name, (unsigned long long)value[0],
		          dump_fields[i + 1].name, (unsigned long long)value[1]);
	}
	vmx_entry_state_read(&state);
	state.v[VMX_V_VTPR] = vlapic_cr8_read(vcpu->arch->lapic);
	entry_report(broken, vmx_entry_check(&state, broken));
}
