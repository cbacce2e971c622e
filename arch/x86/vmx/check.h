// SPDX-License-Identifier: Apache-2.0
// The checks of a VM entry in software (SDM vol. 3, 26.2 "Checks on VMX Controls and Host-State Area", 26.3
// "Checking and Loading Guest State", 26.4 "Loading MSRs"). Pure functions, host and target.
#pragma once

#include "arch/x86/guest/entrycheck.h"
#include "arch/x86/vmx/vmcs.h"

// The fields of the VMCS that the rules are about. A segment's stand in the order of enum guest_seg.
// clang-format off
#define VMX_CHECK_FIELDS(F) \
	F(PIN_CONTROLS) F(PROC_CONTROLS) F(PROC2_CONTROLS) F(EXIT_CONTROLS) F(ENTRY_CONTROLS) \
	F(CR3_TARGET_COUNT) F(IO_BITMAP_A) F(IO_BITMAP_B) F(MSR_BITMAP) F(VIRTUAL_APIC_ADDR) F(TPR_THRESHOLD) \
	F(APIC_ACCESS_ADDR) F(POSTED_INTR_VECTOR) F(POSTED_INTR_DESC) F(VPID) F(EPT_POINTER) F(PML_ADDR) \
	F(VMFUNC_CONTROLS) F(EPTP_LIST) F(VMREAD_BITMAP) F(VMWRITE_BITMAP) F(VE_INFO_ADDR) F(TSC_MULTIPLIER) \
	F(EXIT_MSR_STORE_COUNT) F(EXIT_MSR_STORE_ADDR) F(EXIT_MSR_LOAD_COUNT) F(EXIT_MSR_LOAD_ADDR) \
	F(ENTRY_MSR_LOAD_COUNT) F(ENTRY_MSR_LOAD_ADDR) F(ENTRY_INTR_INFO) F(ENTRY_INTR_ERROR) F(ENTRY_INSN_LEN) \
	F(HOST_CR0) F(HOST_CR3) F(HOST_CR4) F(HOST_EFER) F(HOST_PAT) F(HOST_PERF_GLOBAL_CTRL) F(HOST_SYSENTER_ESP) \
	F(HOST_SYSENTER_EIP) F(HOST_S_CET) F(HOST_SSP) F(HOST_SSP_TABLE) F(HOST_PKRS) F(HOST_RIP) \
	F(HOST_ES_SELECTOR) F(HOST_CS_SELECTOR) F(HOST_SS_SELECTOR) F(HOST_DS_SELECTOR) F(HOST_FS_SELECTOR) \
	F(HOST_GS_SELECTOR) F(HOST_TR_SELECTOR) F(HOST_FS_BASE) F(HOST_GS_BASE) F(HOST_TR_BASE) F(HOST_GDTR_BASE) \
	F(HOST_IDTR_BASE) \
	F(GUEST_CR0) F(GUEST_CR3) F(GUEST_CR4) F(GUEST_EFER) F(GUEST_PAT) F(GUEST_DEBUGCTL) F(GUEST_DR7) \
	F(GUEST_PERF_GLOBAL_CTRL) F(GUEST_BNDCFGS) F(GUEST_S_CET) F(GUEST_SSP) F(GUEST_SSP_TABLE) F(GUEST_PKRS) \
	F(GUEST_SYSENTER_ESP) F(GUEST_SYSENTER_EIP) F(GUEST_GDTR_BASE) F(GUEST_GDTR_LIMIT) F(GUEST_IDTR_BASE) \
	F(GUEST_IDTR_LIMIT) F(GUEST_RIP) F(GUEST_RFLAGS) F(GUEST_ACTIVITY) F(GUEST_INTERRUPTIBILITY) \
	F(GUEST_PENDING_DEBUG) F(LINK_POINTER) F(GUEST_PDPTE0) F(GUEST_PDPTE1) F(GUEST_PDPTE2) F(GUEST_PDPTE3) \
	VMX_CHECK_SEGMENTS(F, SELECTOR) VMX_CHECK_SEGMENTS(F, BASE) VMX_CHECK_SEGMENTS(F, LIMIT) \
	VMX_CHECK_SEGMENTS(F, ACCESS)
#define VMX_CHECK_SEGMENTS(F, what) \
	F(GUEST_ES_##what) F(GUEST_CS_##what) F(GUEST_SS_##what) F(GUEST_DS_##what) F(GUEST_FS_##what) \
	F(GUEST_GS_##what) F(GUEST_LDTR_##what) F(GUEST_TR_##what)
// The capability MSRs, the TRUE_ ones where there are.
#define VMX_CHECK_MSRS(F) \
	F(BASIC) F(PIN) F(PROC) F(PROC2) F(EXIT) F(ENTRY) F(CR0_FIXED0) F(CR0_FIXED1) F(CR4_FIXED0) F(CR4_FIXED1) \
	F(MISC) F(EPT_VPID) F(VMFUNC)
// clang-format on

#define VMX_CHECK_FIELD_INDEX(name) VMX_V_##name,
#define VMX_CHECK_MSR_INDEX(name) VMX_CAN_##name,
enum vmx_check_value {
	VMX_V_BEFORE_FIELDS = ENTRY_LIMITS - 1,
	VMX_CHECK_FIELDS(VMX_CHECK_FIELD_INDEX) VMX_FIELDS_END,
	VMX_V_BEFORE_MSRS = VMX_FIELDS_END - 1,
	VMX_CHECK_MSRS(VMX_CHECK_MSR_INDEX) VMX_V_AFTER_MSRS,
	VMX_CAN_CPUID7_EBX = VMX_V_AFTER_MSRS,
	VMX_CAN_PERF_GLOBAL, // bits of IA32_PERF_GLOBAL_CTRL that there are
	VMX_V_VTPR,          // bits 7:4 of the virtual-APIC page's TPR, shifted down
	VMX_V_LINK_REVISION, // first word of what the link pointer points at
	VMX_VALUES,
};
#define VMX_FIELD_FIRST ENTRY_LIMITS

// PROC2_CONTROLS counts only while PROC_CONTROLS activates it: who fills this in puts 0 there otherwise.
struct vmx_entry_state {
	uint64_t v[VMX_VALUES];
};

struct vmx_check_field {
	const char *name;
	uint32_t field;
};
// By enum vmx_check_value, from VMX_FIELD_FIRST to VMX_FIELDS_END - 1.
extern const struct vmx_check_field vmx_check_field[VMX_FIELDS_END];

extern const struct entry_rules vmx_entry_rules, vmx_msr_rules;

// See entry_check.
static inline unsigned vmx_entry_check(const struct vmx_entry_state *s,
                                       struct entry_broken broken[static ENTRY_BROKEN_MAX]) {
	return entry_check(&vmx_entry_rules, s->v, broken);
}

// One entry of the VM-entry MSR-load area (SDM vol. 3, table 24-15): its first and its second quadword.
unsigned vmx_msr_load_check(uint64_t linear_bits, const uint64_t entry[static 2],
                            struct entry_broken broken[static ENTRY_BROKEN_MAX]);
