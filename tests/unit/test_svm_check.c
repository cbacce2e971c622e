// SPDX-License-Identifier: Apache-2.0
// arch/x86/svm/check.c: a valid VMCB passes, each way to break one is named with its section, and no rule is left without
// a way to break it.
#include "arch/x86/cpu/regs.h"
#include "arch/x86/svm/check.h"
#include "tests/unit/entry_rules.h"
#include "tests/unit/support.h"

#define PHYSICAL_BITS 40
#define BEYOND BIT64(PHYSICAL_BITS)
#define EVENT(vector, type) ((uint64_t)(vector) | (uint64_t)(type) << SVM_EVENT_TYPE_SHIFT | SVM_EVENT_VALID)

static struct vmcb long_vmcb(void) {
	return (struct vmcb){
	    .intercept_misc2 = SVM_ICPT2_VMRUN,
	    .iopm_base = 0x4000,
	    .msrpm_base = 0x8000,
	    .asid = 1,
	    .nested_control = SVM_NESTED_ENABLE,
	    .nested_cr3 = 0x10000,
	    .cs = {.attrib = 0xa9b, .limit = UINT32_MAX},
	    .efer = EFER_SVME | EFER_LME | EFER_LMA,
	    .cr4 = CR4_PAE,
	    .cr3 = 0x1000,
	    .cr0 = CR0_PE | CR0_PG | CR0_ET | CR0_WP,
	    .dr7 = DR7_FIXED,
	    .dr6 = DR6_FIXED,
	    .g_pat = UINT64_C(0x0007040600070406),
	};
}

static struct vmcb real_vmcb(void) {
	struct vmcb v = long_vmcb();
	v.cs.attrib = 0x09b;
	v.efer = EFER_SVME;
	v.cr4 = 0;
	v.cr0 = CR0_ET;
	v.nested_control = 0;
	v.nested_cr3 = v.g_pat = UINT64_MAX; // not looked at
	return v;
}

static unsigned check(const struct vmcb *vmcb, struct entry_broken *broken) {
	struct svm_entry_state s;
	svm_entry_fields(vmcb, &s);
	s.v[ENTRY_BEYOND_PHYSICAL] = MASK64(63, PHYSICAL_BITS);
	s.v[ENTRY_LINEAR_BITS] = 48;
	s.v[SVM_CAN_CR4] = MASK64(10, 0) | CR4_CET;
	s.v[SVM_CAN_EFER] = EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_SVME;
	return svm_entry_check(&s, broken);
}

static void svm_entry_check_valid_state_passes(void **state) {
	(void)state;
	const struct vmcb valid[] = {long_vmcb(), real_vmcb()};
	struct entry_broken broken[ENTRY_BROKEN_MAX];
	for (unsigned i = 0; i < array_count(valid); i++)
		if (check(&valid[i], broken) != 0) fail_msg("VMCB %u: %s", i, broken[0].rule->text);
	for (unsigned type = 0; type <= SVM_EVENT_SOFT; type++) {
		struct vmcb v = long_vmcb();
		v.event_inject = EVENT(type == SVM_EVENT_EXCEPTION ? VEC_GP : 0x30, type);
		if (type != 1) assert_int_equal(check(&v, broken), 0);
	}
}

static bool rule_hit[ENTRY_RULES_MAX];

#define BREAK(base, section, text, change)                                                                   \
	do {                                                                                                     \
		struct vmcb v = base##_vmcb();                                                                       \
		struct entry_broken broken_[ENTRY_BROKEN_MAX];                                                       \
		change;                                                                                              \
		entry_rule_named(broken_, check(&v, broken_), &svm_entry_rules, rule_hit, #change, section, text);   \
	} while (0)

// clang-format off
static void svm_entry_check_broken_state_is_named(void **state) {
	(void)state;
#define STATE(text, change) BREAK(long, "15.5.1", text, change)
	STATE("EFER.SVME clear", v.efer &= ~EFER_SVME);
	STATE("CR0.NW without CR0.CD", v.cr0 |= CR0_NW);
	STATE("CR0 bits 63:32", v.cr0 |= BIT64(32));
	STATE("CR3 has bits beyond the physical address width", v.cr3 |= BEYOND);
	STATE("reserved bits of CR4", v.cr4 |= BIT64(31));
	STATE("DR6 bits 63:32", v.dr6 |= BIT64(63));
	STATE("DR7 bits 63:32", v.dr7 |= BIT64(32));
	STATE("reserved bits of EFER", v.efer |= BIT64(1));
	STATE("EFER.LME and CR0.PG without CR4.PAE", v.cr4 = 0);
	STATE("EFER.LME and CR0.PG without CR0.PE", v.cr0 &= ~CR0_PE);
	STATE("CS: L and D at once in long mode", v.cs.attrib |= 0x400);
	STATE("VMRUN is not intercepted", v.intercept_misc2 = 0);
	STATE("I/O permission map beyond the physical address width", v.iopm_base = BEYOND - 0x2000);
	STATE("MSR permission map beyond the physical address width", v.msrpm_base = BEYOND - 0x1000);
	STATE("ASID is 0", v.asid = 0);
	BREAK(real, "15.5.1", "CR4.CET without CR0.WP", v.cr4 |= CR4_CET);
}

static void svm_entry_check_broken_event_or_nested_paging_is_named(void **state) {
	(void)state;
	BREAK(long, "15.20", "reserved type 1", v.event_inject = EVENT(0x30, 1));
	BREAK(long, "15.20", "reserved type 5, 6 or 7", v.event_inject = EVENT(0x30, 6));
	BREAK(long, "15.20", "exception with a vector that is none", v.event_inject = EVENT(VEC_NMI, SVM_EVENT_EXCEPTION));
	BREAK(long, "15.20", "exception with a vector that is none", v.event_inject = EVENT(32, SVM_EVENT_EXCEPTION));
	BREAK(long, "15.25.4", "nested CR3 has bits beyond the physical address width", v.nested_cr3 |= BIT64(63));
	BREAK(long, "15.25.4", "a memory type of G_PAT", v.g_pat = 2);
}
// clang-format on

// Runs last.
static void svm_entry_rules_none_is_dead(void **state) {
	(void)state;
	entry_rules_all_hit(&svm_entry_rules, rule_hit);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(svm_entry_check_valid_state_passes),
	    cmocka_unit_test(svm_entry_check_broken_state_is_named),
	    cmocka_unit_test(svm_entry_check_broken_event_or_nested_paging_is_named),
	    cmocka_unit_test(svm_entry_rules_none_is_dead),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
