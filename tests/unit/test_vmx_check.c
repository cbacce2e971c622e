// SPDX-License-Identifier: Apache-2.0
// arch/x86/vmx/check.c: a valid state of every mode passes, each way to break one is named with its section and verdict,
// and no rule is left without a way to break it.
#include "arch/x86/guest/state.h"
#include "arch/x86/vmx/check.h"
#include "tests/unit/entry_rules.h"
#include "tests/unit/support.h"

#define PHYSICAL_BITS 39
#define DATA 0xc093u
#define CODE64 0xa09bu
#define CODE32 0xc09bu
#define BEYOND BIT64(40)
#define NOT_CANONICAL BIT64(47)
#define ANY_CONTROL (UINT64_C(0xffffffff) << 32) // allowed, not insisted on

#define V(name) s.v[VMX_V_##name]
#define CAN(name) s.v[VMX_CAN_##name]
#define SEG(what, seg) s.v[VMX_V_GUEST_ES_##what + SEG_##seg]

typedef struct vmx_entry_state state_fn(void);

static void segments_fill(struct vmx_entry_state *state, uint64_t limit, uint64_t access) {
	for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
		state->v[VMX_V_GUEST_ES_LIMIT + i] = limit;
		state->v[VMX_V_GUEST_ES_ACCESS + i] = access;
		state->v[VMX_V_GUEST_ES_SELECTOR + i] = 0x10;
	}
}

static struct vmx_entry_state long_state(void) {
	struct vmx_entry_state s = {0};
	s.v[ENTRY_BEYOND_PHYSICAL] = MASK64(63, PHYSICAL_BITS);
	s.v[ENTRY_LINEAR_BITS] = 48;
	for (unsigned i = VMX_CAN_PIN; i <= VMX_CAN_ENTRY; i++) s.v[i] = ANY_CONTROL;
	CAN(CR0_FIXED0) = CR0_PE | CR0_PG | CR0_NE;
	CAN(CR0_FIXED1) = UINT32_MAX;
	CAN(CR4_FIXED0) = CR4_VMXE;
	CAN(CR4_FIXED1) = MASK64(23, 0);
	CAN(MISC) = VMX_MISC_HLT | VMX_MISC_SHUTDOWN | VMX_MISC_WAIT_SIPI;
	CAN(EPT_VPID) = VMX_EPT_CAP_WALK_4 | VMX_EPT_CAP_WB;
	CAN(BASIC) = 0x12;
	V(PIN_CONTROLS) = VMX_PIN_EXTERNAL_INTERRUPT | VMX_PIN_NMI | VMX_PIN_VIRTUAL_NMI;
	V(PROC_CONTROLS) = VMX_PROC_SECONDARY | VMX_PROC_IO_BITMAP | VMX_PROC_MSR_BITMAP;
	V(PROC2_CONTROLS) = VMX_PROC2_EPT | VMX_PROC2_VPID | VMX_PROC2_UNRESTRICTED;
	V(EXIT_CONTROLS) = VMX_EXIT_HOST_64 | VMX_EXIT_LOAD_PAT | VMX_EXIT_LOAD_EFER;
	V(ENTRY_CONTROLS) = VMX_ENTRY_IA32E | VMX_ENTRY_LOAD_DEBUG | VMX_ENTRY_LOAD_PAT | VMX_ENTRY_LOAD_EFER;
	V(IO_BITMAP_A) = V(IO_BITMAP_B) = V(MSR_BITMAP) = 0x3000;
	V(VPID) = 1;
	V(EPT_POINTER) = 0x401e;
	V(HOST_CR0) = V(GUEST_CR0) = CR0_PE | CR0_PG | CR0_NE | CR0_ET | CR0_WP;
	V(HOST_CR3) = V(GUEST_CR3) = 0x1000;
	V(HOST_CR4) = V(GUEST_CR4) = CR4_PAE | CR4_VMXE;
	V(HOST_EFER) = V(GUEST_EFER) = EFER_LME | EFER_LMA;
	V(HOST_PAT) = V(GUEST_PAT) = UINT64_C(0x0007040600070406);
	V(HOST_CS_SELECTOR) = 8;
	V(HOST_TR_SELECTOR) = 0x18;
	V(HOST_RIP) = V(GUEST_RIP) = UINT64_C(0xffffffff80001000);
	V(GUEST_DR7) = DR7_FIXED;
	V(GUEST_RFLAGS) = RFLAGS_FIXED | RFLAGS_IF;
	V(GUEST_GDTR_LIMIT) = V(GUEST_IDTR_LIMIT) = 0xfff;
	V(LINK_POINTER) = UINT64_MAX;
	segments_fill(&s, UINT32_MAX, DATA);
	SEG(ACCESS, CS) = CODE64;
	SEG(ACCESS, LDTR) = SEG_UNUSABLE;
	SEG(LIMIT, TR) = 0x67;
	SEG(ACCESS, TR) = 0x8b;
	SEG(SELECTOR, TR) = 0x38;
	return s;
}

static struct vmx_entry_state compatibility_state(void) {
	struct vmx_entry_state s = long_state();
	SEG(ACCESS, CS) = CODE32;
	V(GUEST_RIP) = 0x1000;
	return s;
}

static struct vmx_entry_state protected_state(void) {
	struct vmx_entry_state s = compatibility_state();
	V(ENTRY_CONTROLS) &= ~(uint64_t)VMX_ENTRY_IA32E;
	V(GUEST_CR4) = CR4_VMXE;
	V(GUEST_EFER) = 0;
	return s;
}

static struct vmx_entry_state pae_state(void) {
	struct vmx_entry_state s = protected_state();
	V(GUEST_CR4) |= CR4_PAE;
	V(GUEST_PDPTE0) = V(GUEST_PDPTE1) = V(GUEST_PDPTE2) = V(GUEST_PDPTE3) = 0x2001;
	return s;
}

// Its LDTR is usable, as reset leaves it.
static struct vmx_entry_state real_state(void) {
	struct vmx_entry_state s = protected_state();
	V(GUEST_CR0) = CR0_NE | CR0_ET;
	V(GUEST_RIP) = 0xfff0;
	segments_fill(&s, 0xffff, 0x93);
	SEG(ACCESS, CS) = 0x9b;
	SEG(BASE, CS) = 0xffff0000u;
	SEG(SELECTOR, CS) = 0xf000;
	SEG(LIMIT, LDTR) = 0xffff;
	SEG(ACCESS, LDTR) = 0x82;
	return s;
}

static struct vmx_entry_state v86_state(void) {
	struct vmx_entry_state s = protected_state();
	V(GUEST_RFLAGS) |= RFLAGS_VM;
	segments_fill(&s, 0xffff, 0xf3);
	for (unsigned i = SEG_ES; i <= SEG_GS; i++) s.v[VMX_V_GUEST_ES_BASE + i] = 0x100;
	return s;
}

// User code that a CPU without unrestricted guest takes, and the APIC virtualised.
static struct vmx_entry_state restricted_state(void) {
	struct vmx_entry_state s = protected_state();
	V(PROC_CONTROLS) |= VMX_PROC_TPR_SHADOW;
	V(PROC2_CONTROLS) &= ~(uint64_t)VMX_PROC2_UNRESTRICTED;
	for (unsigned i = SEG_ES; i <= SEG_GS; i++) {
		s.v[VMX_V_GUEST_ES_ACCESS + i] |= UINT64_C(3) << SEG_DPL_SHIFT;
		s.v[VMX_V_GUEST_ES_SELECTOR + i] |= 3;
	}
	return s;
}

static state_fn *const states[] = {long_state, compatibility_state, protected_state, pae_state,
                                   real_state, v86_state,           restricted_state};

static void vmx_entry_check_valid_state_passes(void **state) {
	(void)state;
	for (unsigned i = 0; i < array_count(states); i++) {
		struct vmx_entry_state s = states[i]();
		struct entry_broken broken[ENTRY_BROKEN_MAX];
		if (vmx_entry_check(&s, broken) == 0) continue;
		fail_msg("state %u: %s: %s%s", i, broken[0].section->title, broken[0].subject, broken[0].rule->text);
	}
}

static bool rule_hit[ENTRY_RULES_MAX], msr_rule_hit[ENTRY_RULES_MAX];

#define BREAK(base, section, text, change)                                                                   \
	do {                                                                                                     \
		struct vmx_entry_state s = base##_state();                                                           \
		struct entry_broken broken_[ENTRY_BROKEN_MAX];                                                       \
		change;                                                                                              \
		entry_rule_named(broken_, vmx_entry_check(&s, broken_), &vmx_entry_rules, rule_hit,                  \
		                 #base ": " #change, section, text);                                                 \
	} while (0)

#define EVENT(vector, type) ((uint32_t)(vector) | (uint32_t)(type) << VMX_INTR_TYPE_SHIFT | VMX_INTR_VALID)
#define PRIMARY(bits) V(PROC_CONTROLS) |= (bits)
#define SECONDARY(bits) V(PROC2_CONTROLS) |= (bits)

// clang-format off
static void vmx_entry_check_broken_execution_control_is_named(void **state) {
	(void)state;
#define CONTROL(text, change) BREAK(long, "26.2.1.1", text, change)
	CONTROL("pin-based controls this CPU lacks or insists on", CAN(PIN) = 0);
	CONTROL("pin-based controls this CPU lacks or insists on", CAN(PIN) |= VMX_PIN_POSTED_INTR);
	CONTROL("primary controls this CPU lacks or insists on", CAN(PROC) = 0);
	CONTROL("secondary controls this CPU lacks or insists on", CAN(PROC2) = 0);
	CONTROL("CR3-target count", V(CR3_TARGET_COUNT) = 5);
	CONTROL("address of I/O bitmap A", V(IO_BITMAP_A) |= 1);
	CONTROL("address of I/O bitmap B", V(IO_BITMAP_B) |= BEYOND);
	CONTROL("address of the MSR bitmap", V(MSR_BITMAP) |= 0x800);
	CONTROL("virtual-APIC address", (PRIMARY(VMX_PROC_TPR_SHADOW), V(VIRTUAL_APIC_ADDR) = 4));
	CONTROL("TPR threshold bits 31:4", (PRIMARY(VMX_PROC_TPR_SHADOW), V(TPR_THRESHOLD) = 0x10));
	CONTROL("TPR threshold above the virtual TPR", (PRIMARY(VMX_PROC_TPR_SHADOW), V(TPR_THRESHOLD) = 3, V(VTPR) = 2));
	CONTROL("x2APIC mode without TPR shadow", SECONDARY(VMX_PROC2_X2APIC));
	CONTROL("APIC-register virtualization without TPR shadow", SECONDARY(VMX_PROC2_APIC_REGISTER));
	CONTROL("virtual-interrupt delivery without TPR shadow", SECONDARY(VMX_PROC2_VIRTUAL_INTR));
	CONTROL("virtual NMIs without NMI exiting", V(PIN_CONTROLS) &= ~(uint64_t)VMX_PIN_NMI);
	CONTROL("NMI-window exiting without virtual NMIs", (V(PIN_CONTROLS) &= ~(uint64_t)VMX_PIN_VIRTUAL_NMI, PRIMARY(VMX_PROC_NMI_WINDOW)));
	CONTROL("APIC-access address", (SECONDARY(VMX_PROC2_APIC_ACCESS), V(APIC_ACCESS_ADDR) = BEYOND));
	CONTROL("x2APIC mode and virtualized APIC accesses at once", SECONDARY(VMX_PROC2_APIC_ACCESS | VMX_PROC2_X2APIC));
	CONTROL("virtual-interrupt delivery without external-interrupt exiting", (V(PIN_CONTROLS) = 0, SECONDARY(VMX_PROC2_VIRTUAL_INTR)));
	CONTROL("posted interrupts without virtual-interrupt delivery", V(PIN_CONTROLS) |= VMX_PIN_POSTED_INTR);
	CONTROL("posted interrupts without acknowledge interrupt on exit", V(PIN_CONTROLS) |= VMX_PIN_POSTED_INTR);
	CONTROL("posted-interrupt notification vector", (V(PIN_CONTROLS) |= VMX_PIN_POSTED_INTR, V(POSTED_INTR_VECTOR) = 0x100));
	CONTROL("posted-interrupt descriptor address", (V(PIN_CONTROLS) |= VMX_PIN_POSTED_INTR, V(POSTED_INTR_DESC) = 0x20));
	CONTROL("VPID is 0", V(VPID) = 0);
	CONTROL("EPTP memory type", V(EPT_POINTER) = 0x401c);
	CONTROL("EPTP memory type uncacheable, which this CPU lacks", V(EPT_POINTER) = 0x4018);
	CONTROL("EPTP memory type write-back, which this CPU lacks", CAN(EPT_VPID) &= ~VMX_EPT_CAP_WB);
	CONTROL("EPTP walk length", V(EPT_POINTER) = 0x4016);
	CONTROL("EPTP walk length of 4, which this CPU lacks", CAN(EPT_VPID) &= ~VMX_EPT_CAP_WALK_4);
	CONTROL("EPTP walk length of 5, which this CPU lacks", V(EPT_POINTER) = 0x4026);
	CONTROL("EPTP accessed and dirty flags, which this CPU lacks", V(EPT_POINTER) |= BIT64(6));
	CONTROL("EPTP shadow-stack control, which this CPU lacks", V(EPT_POINTER) |= BIT64(7));
	CONTROL("reserved bits of the EPTP", V(EPT_POINTER) |= BIT64(11));
	CONTROL("reserved bits of the EPTP", V(EPT_POINTER) |= BEYOND);
	CONTROL("page-modification logging without EPT", V(PROC2_CONTROLS) = VMX_PROC2_PML);
	CONTROL("PML address", (SECONDARY(VMX_PROC2_PML), V(PML_ADDR) = 8));
	CONTROL("unrestricted guest without EPT", V(PROC2_CONTROLS) = VMX_PROC2_UNRESTRICTED);
	CONTROL("mode-based execute control without EPT", V(PROC2_CONTROLS) = VMX_PROC2_MODE_EXECUTE);
	CONTROL("sub-page write permissions without EPT", V(PROC2_CONTROLS) = VMX_PROC2_SUBPAGE);
	CONTROL("guest-physical Processor Trace without EPT", V(PROC2_CONTROLS) = VMX_PROC2_PT_GUEST_PHYSICAL);
	CONTROL("VM-function controls this CPU lacks", (SECONDARY(VMX_PROC2_VMFUNC), V(VMFUNC_CONTROLS) = 2));
	CONTROL("EPTP switching without EPT", (V(PROC2_CONTROLS) = VMX_PROC2_VMFUNC, CAN(VMFUNC) = V(VMFUNC_CONTROLS) = 1));
	CONTROL("EPTP-list address", (SECONDARY(VMX_PROC2_VMFUNC), CAN(VMFUNC) = V(VMFUNC_CONTROLS) = 1, V(EPTP_LIST) = 1));
	CONTROL("VMREAD-bitmap address", (SECONDARY(VMX_PROC2_SHADOW_VMCS), V(VMREAD_BITMAP) = 1));
	CONTROL("VMWRITE-bitmap address", (SECONDARY(VMX_PROC2_SHADOW_VMCS), V(VMWRITE_BITMAP) = BEYOND));
	CONTROL("TSC multiplier is 0", SECONDARY(VMX_PROC2_TSC_SCALING));
	CONTROL("virtualization-exception information address", (SECONDARY(VMX_PROC2_EPT_VE), V(VE_INFO_ADDR) = 8));
}

static void vmx_entry_check_broken_exit_or_entry_control_is_named(void **state) {
	(void)state;
	BREAK(long, "26.2.1.2", "exit controls this CPU lacks or insists on", CAN(EXIT) = 0);
	BREAK(long, "26.2.1.2", "the preemption timer is saved but not activated", V(EXIT_CONTROLS) |= VMX_EXIT_SAVE_TIMER);
	BREAK(long, "26.2.1.2", "VM-exit MSR-store area", (V(EXIT_MSR_STORE_COUNT) = 1, V(EXIT_MSR_STORE_ADDR) = 8));
	BREAK(long, "26.2.1.2", "VM-exit MSR-load area", (V(EXIT_MSR_LOAD_COUNT) = 2, V(EXIT_MSR_LOAD_ADDR) = BIT64(PHYSICAL_BITS) - 16));
#define ENTRY(text, change) BREAK(long, "26.2.1.3", text, change)
#define INJECT(text, vector, type, more) ENTRY(text, V(ENTRY_INTR_INFO) = EVENT(vector, type) | (more))
	ENTRY("entry controls this CPU lacks or insists on", CAN(ENTRY) = 0);
	ENTRY("entry to SMM outside SMM", V(ENTRY_CONTROLS) |= VMX_ENTRY_SMM);
	ENTRY("deactivate dual-monitor treatment outside SMM", V(ENTRY_CONTROLS) |= VMX_ENTRY_DUAL_MONITOR);
	INJECT("injected event of type 1", 0x30, 1, 0);
	INJECT("injected event of type 7, which this CPU lacks", 0, 7, CAN(PROC) = 0);
	INJECT("injected event of type 7 with another vector than 0", 1, 7, 0);
	INJECT("injected NMI with another vector than 2", 3, EVENT_NMI, 0);
	INJECT("injected exception with a vector above 31", 32, EVENT_EXCEPTION, 0);
	INJECT("error code of an event that is no hardware exception", 0x30, EVENT_IRQ, VMX_INTR_HAS_ERROR);
	INJECT("error code of an exception that has none", VEC_UD, EVENT_EXCEPTION, VMX_INTR_HAS_ERROR);
	INJECT("exception without its error code", VEC_GP, EVENT_EXCEPTION, 0);
	INJECT("reserved bits of the injected event", 0x30, EVENT_IRQ, BIT32(12));
	INJECT("instruction length 0 of the injected software event", 3, EVENT_SOFT_EXCEPTION, 0);
	ENTRY("instruction length of the injected software event", (V(ENTRY_INTR_INFO) = EVENT(3, EVENT_SOFT_IRQ), V(ENTRY_INSN_LEN) = 16));
	ENTRY("error code bits 31:16", (V(ENTRY_INTR_INFO) = EVENT(VEC_GP, EVENT_EXCEPTION) | VMX_INTR_HAS_ERROR, V(ENTRY_INTR_ERROR) = BIT32(16)));
	ENTRY("VM-entry MSR-load area", (V(ENTRY_MSR_LOAD_COUNT) = 1, V(ENTRY_MSR_LOAD_ADDR) = BEYOND));
	BREAK(real, "26.2.1.3", "error code of an exception in real mode", V(ENTRY_INTR_INFO) = EVENT(VEC_GP, EVENT_EXCEPTION) | VMX_INTR_HAS_ERROR);
	BREAK(restricted, "26.2.1.3", "exception without its error code and no unrestricted guest", (V(GUEST_CR0) = 0, V(ENTRY_INTR_INFO) = EVENT(VEC_GP, EVENT_EXCEPTION)));
}

static void vmx_entry_check_broken_host_state_is_named(void **state) {
	(void)state;
#define REGISTERS(text, change) BREAK(long, "26.2.2", text, change)
	REGISTERS("CR0 lacks a bit that VMX operation fixes", V(HOST_CR0) &= ~CR0_PG);
	REGISTERS("CR0 has a bit that VMX operation forbids", V(HOST_CR0) |= BIT64(32));
	REGISTERS("CR4 lacks a bit that VMX operation fixes", V(HOST_CR4) &= ~CR4_VMXE);
	REGISTERS("CR4 has a bit that VMX operation forbids", V(HOST_CR4) |= BIT64(31));
	REGISTERS("CR4.CET without CR0.WP", (V(HOST_CR4) |= CR4_CET, V(HOST_CR0) &= ~CR0_WP));
	REGISTERS("CR3 has bits beyond the physical address width", V(HOST_CR3) |= BEYOND);
	REGISTERS("IA32_SYSENTER_ESP is not canonical", V(HOST_SYSENTER_ESP) = NOT_CANONICAL);
	REGISTERS("IA32_SYSENTER_EIP is not canonical", V(HOST_SYSENTER_EIP) = NOT_CANONICAL);
	REGISTERS("reserved bits of IA32_PERF_GLOBAL_CTRL", (V(EXIT_CONTROLS) |= VMX_EXIT_LOAD_PERF, CAN(PERF_GLOBAL) = 1, V(HOST_PERF_GLOBAL_CTRL) = 2));
	REGISTERS("a memory type of IA32_PAT", V(HOST_PAT) = UINT64_C(0x0200000000000000));
	REGISTERS("reserved bits of EFER", V(HOST_EFER) |= BIT64(1));
	REGISTERS("EFER.LMA or LME clear with a 64-bit host", V(HOST_EFER) &= ~EFER_LMA);
	REGISTERS("EFER.LMA or LME set without a 64-bit host", V(EXIT_CONTROLS) &= ~(uint64_t)VMX_EXIT_HOST_64);
#define HOST_CET V(EXIT_CONTROLS) |= VMX_EXIT_LOAD_CET
	REGISTERS("IA32_S_CET is not canonical", (HOST_CET, V(HOST_S_CET) = NOT_CANONICAL));
	REGISTERS("reserved bits of IA32_S_CET", (HOST_CET, V(HOST_S_CET) = BIT64(6)));
	REGISTERS("IA32_S_CET suppresses tracking and waits for ENDBRANCH", (HOST_CET, V(HOST_S_CET) = MASK64(11, 10)));
	REGISTERS("IA32_INTERRUPT_SSP_TABLE_ADDR is not canonical", (HOST_CET, V(HOST_SSP_TABLE) = NOT_CANONICAL));
	REGISTERS("SSP is not canonical", (HOST_CET, V(HOST_SSP) = NOT_CANONICAL));
	REGISTERS("SSP bits 1:0", (HOST_CET, V(HOST_SSP) = 2));
	REGISTERS("IA32_PKRS bits 63:32", (V(EXIT_CONTROLS) |= VMX_EXIT_LOAD_PKRS, V(HOST_PKRS) = BIT64(32)));
#define SEGMENTS(text, change) BREAK(long, "26.2.3", text, change)
	SEGMENTS("ES: RPL or TI", V(HOST_ES_SELECTOR) = 1);
	SEGMENTS("CS: RPL or TI", V(HOST_CS_SELECTOR) |= 4);
	SEGMENTS("SS: RPL or TI", V(HOST_SS_SELECTOR) = 2);
	SEGMENTS("DS: RPL or TI", V(HOST_DS_SELECTOR) = 4);
	SEGMENTS("FS: RPL or TI", V(HOST_FS_SELECTOR) = 1);
	SEGMENTS("GS: RPL or TI", V(HOST_GS_SELECTOR) = 3);
	SEGMENTS("TR: RPL or TI", V(HOST_TR_SELECTOR) |= 4);
	SEGMENTS("CS is 0", V(HOST_CS_SELECTOR) = 0);
	SEGMENTS("TR is 0", V(HOST_TR_SELECTOR) = 0);
	SEGMENTS("SS is 0 without a 64-bit host", V(EXIT_CONTROLS) &= ~(uint64_t)VMX_EXIT_HOST_64);
	SEGMENTS("FS: base is not canonical", V(HOST_FS_BASE) = NOT_CANONICAL);
	SEGMENTS("GS: base is not canonical", V(HOST_GS_BASE) = NOT_CANONICAL);
	SEGMENTS("GDTR: base is not canonical", V(HOST_GDTR_BASE) = NOT_CANONICAL);
	SEGMENTS("IDTR: base is not canonical", V(HOST_IDTR_BASE) = NOT_CANONICAL);
	SEGMENTS("TR: base is not canonical", V(HOST_TR_BASE) = NOT_CANONICAL);
	BREAK(long, "26.2.4", "no 64-bit host, entered from IA-32e mode", V(EXIT_CONTROLS) &= ~(uint64_t)VMX_EXIT_HOST_64);
	BREAK(long, "26.2.4", "a 64-bit host without CR4.PAE", V(HOST_CR4) &= ~CR4_PAE);
	BREAK(long, "26.2.4", "RIP is not canonical", V(HOST_RIP) = NOT_CANONICAL);
}

static void vmx_entry_check_broken_guest_register_is_named(void **state) {
	(void)state;
#define GUEST(base, text, change) BREAK(base, "26.3.1.1", text, change)
	GUEST(long, "CR0 lacks a bit that VMX operation fixes", V(GUEST_CR0) &= ~CR0_NE);
	GUEST(restricted, "CR0.PE or PG clear without unrestricted guest", V(GUEST_CR0) &= ~CR0_PG);
	GUEST(long, "CR0 has a bit that VMX operation forbids", V(GUEST_CR0) |= BIT64(40));
	GUEST(real, "CR0.PG without CR0.PE", V(GUEST_CR0) |= CR0_PG);
	GUEST(long, "CR4 lacks a bit that VMX operation fixes", V(GUEST_CR4) &= ~CR4_VMXE);
	GUEST(long, "CR4 has a bit that VMX operation forbids", V(GUEST_CR4) |= BIT64(24));
	GUEST(long, "CR4.CET without CR0.WP", (V(GUEST_CR4) |= CR4_CET, V(GUEST_CR0) &= ~CR0_WP));
	GUEST(long, "reserved bits of IA32_DEBUGCTL", V(GUEST_DEBUGCTL) = BIT64(3));
	GUEST(long, "IA-32e mode guest without CR0.PG", V(GUEST_CR0) &= ~CR0_PG);
	GUEST(long, "IA-32e mode guest without CR4.PAE", V(GUEST_CR4) &= ~CR4_PAE);
	GUEST(pae, "CR4.PCIDE outside IA-32e mode", V(GUEST_CR4) |= CR4_PCIDE);
	GUEST(long, "CR3 has bits beyond the physical address width", V(GUEST_CR3) |= BEYOND);
	GUEST(long, "DR7 bits 63:32", V(GUEST_DR7) |= BIT64(32));
	GUEST(long, "IA32_SYSENTER_ESP is not canonical", V(GUEST_SYSENTER_ESP) = NOT_CANONICAL);
	GUEST(long, "IA32_SYSENTER_EIP is not canonical", V(GUEST_SYSENTER_EIP) = NOT_CANONICAL);
#define GUEST_CET V(ENTRY_CONTROLS) |= VMX_ENTRY_LOAD_CET
	GUEST(long, "IA32_S_CET is not canonical", (GUEST_CET, V(GUEST_S_CET) = NOT_CANONICAL));
	GUEST(long, "reserved bits of IA32_S_CET", (GUEST_CET, V(GUEST_S_CET) = BIT64(9)));
	GUEST(long, "IA32_S_CET suppresses tracking and waits for ENDBRANCH", (GUEST_CET, V(GUEST_S_CET) = MASK64(11, 10)));
	GUEST(long, "IA32_INTERRUPT_SSP_TABLE_ADDR is not canonical", (GUEST_CET, V(GUEST_SSP_TABLE) = NOT_CANONICAL));
	GUEST(long, "reserved bits of IA32_PERF_GLOBAL_CTRL", (V(ENTRY_CONTROLS) |= VMX_ENTRY_LOAD_PERF, V(GUEST_PERF_GLOBAL_CTRL) = 1));
	GUEST(long, "a memory type of IA32_PAT", V(GUEST_PAT) = 8);
	GUEST(long, "reserved bits of EFER", V(GUEST_EFER) |= EFER_SVME);
	GUEST(protected, "EFER.LMA without IA-32e mode guest", V(GUEST_EFER) = EFER_LMA | EFER_LME);
	GUEST(long, "IA-32e mode guest without EFER.LMA", V(GUEST_EFER) = EFER_LME);
	GUEST(long, "EFER.LMA without EFER.LME, with paging on", V(GUEST_EFER) = EFER_LMA);
	GUEST(protected, "EFER.LME without EFER.LMA, with paging on", V(GUEST_EFER) = EFER_LME);
	GUEST(long, "reserved bits of IA32_BNDCFGS", (V(ENTRY_CONTROLS) |= VMX_ENTRY_LOAD_BNDCFGS, V(GUEST_BNDCFGS) = 4));
	GUEST(long, "IA32_BNDCFGS is not canonical", (V(ENTRY_CONTROLS) |= VMX_ENTRY_LOAD_BNDCFGS, V(GUEST_BNDCFGS) = NOT_CANONICAL));
	GUEST(long, "IA32_PKRS bits 63:32", (V(ENTRY_CONTROLS) |= VMX_ENTRY_LOAD_PKRS, V(GUEST_PKRS) = BIT64(63)));
}

static void vmx_entry_check_broken_segment_is_named(void **state) {
	(void)state;
#define SEGMENT(base, text, change) BREAK(base, "26.3.1.2", text, change)
	SEGMENT(long, "TR: selector in the LDT", SEG(SELECTOR, TR) |= 4);
	SEGMENT(real, "LDTR: selector in the LDT", SEG(SELECTOR, LDTR) |= 4);
	SEGMENT(restricted, "SS: RPL differs from CS's", SEG(SELECTOR, SS) = 0x11);
	SEGMENT(v86, "ES: base of virtual-8086 mode", SEG(BASE, ES) = 0x110);
	SEGMENT(v86, "GS: limit of virtual-8086 mode", SEG(LIMIT, GS) = 0xfffff);
	SEGMENT(v86, "CS: access rights of virtual-8086 mode", SEG(ACCESS, CS) = 0xfb);
	SEGMENT(long, "TR: base is not canonical", SEG(BASE, TR) = NOT_CANONICAL);
	SEGMENT(long, "FS: base is not canonical", SEG(BASE, FS) = NOT_CANONICAL);
	SEGMENT(real, "LDTR: base is not canonical", SEG(BASE, LDTR) = NOT_CANONICAL);
	SEGMENT(long, "CS: base above 4 GiB", SEG(BASE, CS) = BIT64(32));
	SEGMENT(long, "DS: base above 4 GiB", SEG(BASE, DS) = BIT64(32));
	SEGMENT(long, "CS: type", SEG(ACCESS, CS) = 0xa09a);
	SEGMENT(real, "CS: type", SEG(ACCESS, CS) = 0x97);
	SEGMENT(restricted, "CS: type of data without unrestricted guest", SEG(ACCESS, CS) = 0xc093);
	SEGMENT(long, "SS: type", SEG(ACCESS, SS) = 0xc09b);
	SEGMENT(long, "DS: accessed bit clear", SEG(ACCESS, DS) = 0xc092);
	SEGMENT(long, "ES: code that is not readable", SEG(ACCESS, ES) = 0xc099);
	SEGMENT(long, "CS: S clear", SEG(ACCESS, CS) = 0xa08b);
	SEGMENT(long, "SS: S clear", SEG(ACCESS, SS) = 0xc083);
	SEGMENT(real, "CS: data with a DPL", SEG(ACCESS, CS) = 0xf3);
	SEGMENT(long, "CS: DPL differs from SS's", SEG(ACCESS, CS) = 0xa0fb);
	SEGMENT(long, "CS: DPL of conforming code above SS's", SEG(ACCESS, CS) = 0xa0bf);
	SEGMENT(restricted, "SS: DPL differs from RPL", SEG(ACCESS, SS) = DATA);
	SEGMENT(real, "SS: DPL in real mode", SEG(ACCESS, SS) = 0xf3);
	SEGMENT(protected, "SS: DPL with CS as data", (SEG(ACCESS, CS) = DATA, SEG(ACCESS, SS) = 0xc0f3));
	SEGMENT(restricted, "FS: DPL below RPL", SEG(ACCESS, FS) = DATA);
	SEGMENT(long, "CS: P clear", SEG(ACCESS, CS) = 0xa01b);
	SEGMENT(long, "DS: P clear", SEG(ACCESS, DS) = 0xc013);
	SEGMENT(long, "CS: reserved access rights", SEG(ACCESS, CS) |= BIT32(17));
	SEGMENT(long, "GS: reserved access rights", SEG(ACCESS, GS) |= BIT32(8));
	SEGMENT(long, "CS: L and D/B at once", SEG(ACCESS, CS) |= SEG_DB);
	SEGMENT(long, "CS: granularity does not fit the limit", SEG(LIMIT, CS) = 0x100000);
	SEGMENT(long, "DS: granularity does not fit the limit", SEG(ACCESS, DS) = 0x4093);
	SEGMENT(protected, "TR: not a busy TSS", SEG(ACCESS, TR) = 0x89);
	SEGMENT(long, "TR: not a busy 64-bit TSS", SEG(ACCESS, TR) = 0x83);
	SEGMENT(long, "TR: S set", SEG(ACCESS, TR) = 0x9b);
	SEGMENT(long, "TR: P clear", SEG(ACCESS, TR) = 0x0b);
	SEGMENT(long, "TR: reserved access rights", SEG(ACCESS, TR) |= BIT32(31));
	SEGMENT(long, "TR: granularity does not fit the limit", SEG(ACCESS, TR) |= SEG_G);
	SEGMENT(long, "TR: unusable", SEG(ACCESS, TR) |= SEG_UNUSABLE);
	SEGMENT(real, "LDTR: not an LDT", SEG(ACCESS, LDTR) = 0x83);
	SEGMENT(real, "LDTR: S set", SEG(ACCESS, LDTR) |= SEG_S);
	SEGMENT(real, "LDTR: P clear", SEG(ACCESS, LDTR) = 0x02);
	SEGMENT(real, "LDTR: reserved access rights", SEG(ACCESS, LDTR) |= BIT32(11));
	SEGMENT(real, "LDTR: granularity does not fit the limit", SEG(LIMIT, LDTR) = 0x200000);
}

static void vmx_entry_check_broken_table_or_flow_is_named(void **state) {
	(void)state;
	BREAK(long, "26.3.1.3", "GDTR: base is not canonical", V(GUEST_GDTR_BASE) = NOT_CANONICAL);
	BREAK(long, "26.3.1.3", "IDTR: base is not canonical", V(GUEST_IDTR_BASE) = NOT_CANONICAL);
	BREAK(long, "26.3.1.3", "GDTR: limit above 64 KiB", V(GUEST_GDTR_LIMIT) = 0x10000);
	BREAK(long, "26.3.1.3", "IDTR: limit above 64 KiB", V(GUEST_IDTR_LIMIT) = 0x10000);
#define FLOW(base, text, change) BREAK(base, "26.3.1.4", text, change)
	FLOW(real, "RIP bits 63:32 outside IA-32e mode", V(GUEST_RIP) = BIT64(32));
	FLOW(compatibility, "RIP bits 63:32 in compatibility mode", V(GUEST_RIP) = BIT64(32));
	FLOW(long, "RIP beyond the linear address width", V(GUEST_RIP) = BIT64(48));
	FLOW(long, "reserved bits of RFLAGS", V(GUEST_RFLAGS) |= BIT64(15));
	FLOW(long, "RFLAGS bit 1 clear", V(GUEST_RFLAGS) = RFLAGS_IF);
	FLOW(v86, "RFLAGS.VM in IA-32e mode", V(ENTRY_CONTROLS) |= VMX_ENTRY_IA32E);
	FLOW(real, "RFLAGS.VM in real mode", V(GUEST_RFLAGS) |= RFLAGS_VM);
	FLOW(long, "an interrupt is injected with RFLAGS.IF = 0", (V(GUEST_RFLAGS) = RFLAGS_FIXED, V(ENTRY_INTR_INFO) = EVENT(0x30, EVENT_IRQ)));
	FLOW(long, "SSP bits 1:0", (GUEST_CET, V(GUEST_SSP) = 1));
	FLOW(protected, "SSP bits 63:32 outside IA-32e mode", (GUEST_CET, V(GUEST_SSP) = BIT64(32)));
	FLOW(compatibility, "SSP bits 63:32 in compatibility mode", (GUEST_CET, V(GUEST_SSP) = BIT64(32)));
	FLOW(long, "SSP beyond the linear address width", (GUEST_CET, V(GUEST_SSP) = NOT_CANONICAL));
}

static void vmx_entry_check_broken_non_register_state_is_named(void **state) {
	(void)state;
#define OTHER(text, change) BREAK(long, "26.3.1.5", text, change)
#define HALTED V(GUEST_ACTIVITY) = 1
#define SHUTDOWN V(GUEST_ACTIVITY) = 2
#define IN_STI V(GUEST_INTERRUPTIBILITY) = VMX_BLOCKED_STI
#define IN_MOV_SS V(GUEST_INTERRUPTIBILITY) = VMX_BLOCKED_MOV_SS
#define GIVEN(vector, type) V(ENTRY_INTR_INFO) = EVENT(vector, type)
#define STEPPED V(GUEST_RFLAGS) |= RFLAGS_TF
#define BS V(GUEST_PENDING_DEBUG) = VMX_DEBUG_BS
	OTHER("activity state", V(GUEST_ACTIVITY) = 4);
	OTHER("activity state HLT, which this CPU lacks", (CAN(MISC) = 0, HALTED));
	OTHER("activity state shutdown, which this CPU lacks", (CAN(MISC) = 0, SHUTDOWN));
	OTHER("activity state wait-for-SIPI, which this CPU lacks", (CAN(MISC) = 0, V(GUEST_ACTIVITY) = 3));
	BREAK(restricted, "26.3.1.5", "HLT state with a DPL of SS", HALTED);
	OTHER("not active in the shadow of STI or MOV SS", (HALTED, IN_STI));
	OTHER("a software event is injected in HLT state", (HALTED, GIVEN(3, EVENT_SOFT_IRQ)));
	OTHER("an exception other than #DB and #MC is injected in HLT state", (HALTED, GIVEN(VEC_UD, EVENT_EXCEPTION)));
	OTHER("an event other than NMI and #MC is injected in shutdown state", (SHUTDOWN, GIVEN(0x30, EVENT_IRQ)));
	OTHER("an exception other than #MC is injected in shutdown state", (SHUTDOWN, GIVEN(VEC_DB, EVENT_EXCEPTION)));
	OTHER("an event is injected in wait-for-SIPI state", (V(GUEST_ACTIVITY) = 3, GIVEN(2, EVENT_NMI)));
	OTHER("reserved bits of the interruptibility state", V(GUEST_INTERRUPTIBILITY) = BIT32(5));
	OTHER("shadows of STI and MOV SS at once", V(GUEST_INTERRUPTIBILITY) = VMX_SHADOW);
	OTHER("shadow of STI with RFLAGS.IF = 0", (V(GUEST_RFLAGS) = RFLAGS_FIXED, IN_STI));
	OTHER("an interrupt is injected in the shadow of STI or MOV SS", (IN_MOV_SS, GIVEN(0x30, EVENT_IRQ)));
	OTHER("an NMI is injected in the shadow of MOV SS", (IN_MOV_SS, GIVEN(2, EVENT_NMI)));
	OTHER("blocking by SMI outside SMM", V(GUEST_INTERRUPTIBILITY) = VMX_BLOCKED_SMI);
	OTHER("an NMI is injected in the shadow of STI, which some CPUs refuse", (IN_STI, GIVEN(2, EVENT_NMI)));
	OTHER("an NMI is injected where NMIs are blocked", (V(GUEST_INTERRUPTIBILITY) = VMX_BLOCKED_NMI, GIVEN(2, EVENT_NMI)));
	OTHER("enclave interruption without SGX", V(GUEST_INTERRUPTIBILITY) = VMX_ENCLAVE);
	OTHER("enclave interruption in the shadow of MOV SS", V(GUEST_INTERRUPTIBILITY) = VMX_ENCLAVE | VMX_BLOCKED_MOV_SS);
	OTHER("reserved bits of the pending debug exceptions", V(GUEST_PENDING_DEBUG) = BIT64(13));
	OTHER("pending debug BS clear in a shadow while stepping", (IN_STI, STEPPED));
	OTHER("pending debug BS set in a shadow without RFLAGS.TF", (IN_STI, BS));
	OTHER("pending debug BS set in a shadow while stepping branches", (IN_STI, STEPPED, BS, V(GUEST_DEBUGCTL) = 2));
	OTHER("pending debug BS clear in HLT state while stepping", (HALTED, STEPPED));
	OTHER("pending debug BS set in HLT state without RFLAGS.TF", (HALTED, BS));
	OTHER("pending debug BS set in HLT state while stepping branches", (HALTED, STEPPED, BS, V(GUEST_DEBUGCTL) = 2));
	OTHER("pending debug RTM without RTM", V(GUEST_PENDING_DEBUG) = VMX_DEBUG_RTM);
	OTHER("pending debug RTM with other bits", V(GUEST_PENDING_DEBUG) = VMX_DEBUG_RTM | 1);
	OTHER("pending debug RTM without bit 12", V(GUEST_PENDING_DEBUG) = VMX_DEBUG_RTM);
	OTHER("pending debug RTM in the shadow of MOV SS", (IN_MOV_SS, V(GUEST_PENDING_DEBUG) = VMX_DEBUG_RTM));
	OTHER("VMCS link pointer", V(LINK_POINTER) = 0x1800);
	OTHER("VMCS link pointer to another revision", (V(LINK_POINTER) = 0x1000, V(LINK_REVISION) = 0x13));
	OTHER("VMCS link pointer to a shadow VMCS without VMCS shadowing", (V(LINK_POINTER) = 0x1000, V(LINK_REVISION) = BIT64(31) | 0x12));
	OTHER("VMCS link pointer to an ordinary VMCS with VMCS shadowing", (SECONDARY(VMX_PROC2_SHADOW_VMCS), V(LINK_POINTER) = 0x1000, V(LINK_REVISION) = 0x12));
	BREAK(pae, "26.3.1.6", "reserved bits of PDPTE 0", V(GUEST_PDPTE0) |= BIT64(1));
	BREAK(pae, "26.3.1.6", "reserved bits of PDPTE 1", V(GUEST_PDPTE1) |= BIT64(5));
	BREAK(pae, "26.3.1.6", "reserved bits of PDPTE 2", V(GUEST_PDPTE2) |= BEYOND);
	BREAK(pae, "26.3.1.6", "reserved bits of PDPTE 3", V(GUEST_PDPTE3) |= BIT64(63));
}
// clang-format on

#define LOAD(text, index, value)                                                                             \
	do {                                                                                                     \
		const uint64_t entry_[2] = {index, value};                                                           \
		struct entry_broken broken_[ENTRY_BROKEN_MAX];                                                       \
		unsigned count_ = vmx_msr_load_check(48, entry_, broken_);                                           \
		entry_rule_named(broken_, count_, &vmx_msr_rules, msr_rule_hit, #index, "26.4", text);               \
	} while (0)

static void vmx_msr_load_check_broken_entry_is_named(void **state) {
	(void)state;
	struct entry_broken broken[ENTRY_BROKEN_MAX];
	assert_int_equal(vmx_msr_load_check(48, (uint64_t[]){MSR_KERNEL_GS_BASE, 0x1000}, broken), 0);
	LOAD("IA32_FS_BASE, which has a field", MSR_FS_BASE, 0);
	LOAD("IA32_GS_BASE, which has a field", MSR_GS_BASE, 0);
	LOAD("an x2APIC register", MSR_X2APIC_FIRST + 8, 0);
	LOAD("an MSR of SMM", 0x9b, 0);
	LOAD("IA32_BIOS_UPDT_TRIG", 0x79, 0);
	LOAD("reserved bits 63:32 of the entry", BIT64(32) | MSR_STAR, 0);
	LOAD("an address that is not canonical", MSR_KERNEL_GS_BASE, NOT_CANONICAL);
	LOAD("an address that is not canonical", MSR_LSTAR, NOT_CANONICAL);
	LOAD("an address that is not canonical", MSR_CSTAR, NOT_CANONICAL);
}

// A control that is off makes its field anybody's.
static void vmx_entry_check_unused_value_is_not_judged(void **state) {
	(void)state;
	static const uint16_t unused[] = {
	    VMX_V_VIRTUAL_APIC_ADDR,  VMX_V_TPR_THRESHOLD,
	    VMX_V_APIC_ACCESS_ADDR,   VMX_V_POSTED_INTR_DESC,
	    VMX_V_PML_ADDR,           VMX_V_VMFUNC_CONTROLS,
	    VMX_V_EPTP_LIST,          VMX_V_VMREAD_BITMAP,
	    VMX_V_VE_INFO_ADDR,       VMX_V_EXIT_MSR_STORE_ADDR,
	    VMX_V_EXIT_MSR_LOAD_ADDR, VMX_V_ENTRY_MSR_LOAD_ADDR,
	    VMX_V_HOST_S_CET,         VMX_V_HOST_PERF_GLOBAL_CTRL,
	    VMX_V_GUEST_BNDCFGS,      VMX_V_GUEST_SSP,
	    VMX_V_GUEST_PDPTE0,       VMX_V_ENTRY_INTR_ERROR,
	    VMX_V_ENTRY_INSN_LEN,     VMX_V_GUEST_LDTR_BASE,
	};
	for (unsigned i = 0; i < array_count(unused); i++) {
		struct vmx_entry_state s = long_state();
		struct entry_broken broken[ENTRY_BROKEN_MAX];
		s.v[unused[i]] = UINT64_C(0x5a5a5a5a5a5a5a5a);
		if (vmx_entry_check(&s, broken) != 0) fail_msg("value %u: %s", unused[i], broken[0].rule->text);
	}
}

// A rule that no test above broke is dead, or a test is missing. Runs last.
static void vmx_entry_rules_none_is_dead(void **state) {
	(void)state;
	entry_rules_all_hit(&vmx_entry_rules, rule_hit);
	entry_rules_all_hit(&vmx_msr_rules, msr_rule_hit);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(vmx_entry_check_valid_state_passes),
	    cmocka_unit_test(vmx_entry_check_broken_execution_control_is_named),
	    cmocka_unit_test(vmx_entry_check_broken_exit_or_entry_control_is_named),
	    cmocka_unit_test(vmx_entry_check_broken_host_state_is_named),
	    cmocka_unit_test(vmx_entry_check_broken_guest_register_is_named),
	    cmocka_unit_test(vmx_entry_check_broken_segment_is_named),
	    cmocka_unit_test(vmx_entry_check_broken_table_or_flow_is_named),
	    cmocka_unit_test(vmx_entry_check_broken_non_register_state_is_named),
	    cmocka_unit_test(vmx_msr_load_check_broken_entry_is_named),
	    cmocka_unit_test(vmx_entry_check_unused_value_is_not_judged),
	    cmocka_unit_test(vmx_entry_rules_none_is_dead),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
