// SPDX-License-Identifier: Apache-2.0
// The manual's rules as data, a line each and in its order, with its wording shortened.
#include "arch/x86/svm/check.h"

#include "arch/x86/cpu/regs.h"
#include "kernel/lib/string.h"

#define FIELD_ROW(name, member)                                                                              \
	[SVM_V_##name] = {#name, offsetof(struct vmcb, member), sizeof(((struct vmcb *)0)->member)},
const struct svm_check_field svm_check_field[SVM_FIELDS_END] = {SVM_CHECK_FIELDS(FIELD_ROW)};

// APM vol. 2, 15.10.1 and 15.11: 12 and 8 KiB; the low bits of their addresses are not looked at.
#define MAP_UNIT 16u
#define IOPM_BYTES 0x3000u
#define MSRPM_BYTES 0x2000u
#define MAP_ALIGN 0x1000u

void svm_entry_fields(const struct vmcb *vmcb, struct svm_entry_state *s) {
	for (unsigned i = SVM_FIELD_FIRST; i < SVM_FIELDS_END; i++) {
		const struct svm_check_field *f = &svm_check_field[i];
		s->v[i] = 0;
		memcpy(&s->v[i], (const uint8_t *)vmcb + f->offset, f->bytes); // little-endian
	}
	s->v[SVM_V_IOPM_BASE] = align_down(s->v[SVM_V_IOPM_BASE], MAP_ALIGN);
	s->v[SVM_V_MSRPM_BASE] = align_down(s->v[SVM_V_MSRPM_BASE], MAP_ALIGN);
	s->v[SVM_V_IOPM_SIZE] = IOPM_BYTES / MAP_UNIT;
	s->v[SVM_V_MSRPM_SIZE] = MSRPM_BYTES / MAP_UNIT;
}

// clang-format off
enum section { STATE, INJECTED, NESTED };
static const struct entry_section sections[] = {
	[STATE] = {"15.5.1 Basic Operation, Canonicalization and Consistency Checks", ENTRY_BAD_GUEST},
	[INJECTED] = {"15.20 Event Injection", ENTRY_BAD_GUEST},
	[NESTED] = {"15.25.4 Nested Paging and VMRUN/#VMEXIT", ENTRY_BAD_GUEST},
};

#define EVENT_TYPE (SVM_EVENT_TYPE_MASK << SVM_EVENT_TYPE_SHIFT)
#define ATTRIB_DB BIT64(10)
enum fact {
	NO_FACT, SVME, LME, CD, NW, PE, PG, WP, PAE, CET, CODE64, DB, EVENT_IS_1, EVENT_IS_4, EVENT_HIGH, EXCEPTION,
	NESTED_PAGING, FACT_COUNT,
};
#define EVENT_IS(name, type) \
	[name] = {SVM_EVENT_VALID | EVENT_TYPE, SVM_EVENT_VALID | (uint64_t)(type) << SVM_EVENT_TYPE_SHIFT, \
	          SVM_V_EVENT_INJECT, false},
#define ONE(name, field, bits) [name] = {bits, bits, SVM_V_##field, false},
static const struct entry_fact facts[FACT_COUNT] = {
	ONE(SVME, EFER, EFER_SVME)
	ONE(LME, EFER, EFER_LME)
	ONE(CD, CR0, CR0_CD)
	ONE(NW, CR0, CR0_NW)
	ONE(PE, CR0, CR0_PE)
	ONE(PG, CR0, CR0_PG)
	ONE(WP, CR0, CR0_WP)
	ONE(PAE, CR4, CR4_PAE)
	ONE(CET, CR4, CR4_CET)
	ONE(CODE64, CS_ATTRIB, SVM_ATTRIB_L)
	ONE(DB, CS_ATTRIB, ATTRIB_DB)
	EVENT_IS(EVENT_IS_1, 1)
	EVENT_IS(EVENT_IS_4, SVM_EVENT_SOFT)
	EVENT_IS(EXCEPTION, SVM_EVENT_EXCEPTION)
	ONE(EVENT_HIGH, EVENT_INJECT, SVM_EVENT_VALID | BIT64(SVM_EVENT_TYPE_SHIFT + 2))
	ONE(NESTED_PAGING, NESTED_CONTROL, SVM_NESTED_ENABLE)
};

// What follows the mask are the conditions.
#define RULE(section, text, test, field, mask, ...) \
	{text, mask, {__VA_ARGS__}, section, ENTRY_##test, SVM_V_##field, 0, 0},
#define RULE2(section, text, test, field, other, mask, ...) \
	{text, mask, {__VA_ARGS__}, section, ENTRY_##test, SVM_V_##field, SVM_##other, 0},
#define NEVER(section, text, ...) {text, 0, {__VA_ARGS__}, section, ENTRY_NEVER, 0, 0, 0},
#define HIGH_HALF MASK64(63, 32)
#define EXCEPTIONS (MASK64(31, 0) & ~BIT64(VEC_NMI))

static const struct entry_rule entry_rule[] = {
	NEVER(STATE, "EFER.SVME clear", -SVME)
	NEVER(STATE, "CR0.NW without CR0.CD", NW, -CD)
	RULE(STATE, "CR0 bits 63:32", ZERO, CR0, HIGH_HALF)
	RULE(STATE, "CR3 has bits beyond the physical address width", ADDRESS, CR3, 0)
	RULE2(STATE, "reserved bits of CR4", ONLY, CR4, CAN_CR4, 0)
	RULE(STATE, "DR6 bits 63:32", ZERO, DR6, HIGH_HALF)
	RULE(STATE, "DR7 bits 63:32", ZERO, DR7, HIGH_HALF)
	RULE2(STATE, "reserved bits of EFER", ONLY, EFER, CAN_EFER, 0)
	NEVER(STATE, "EFER.LME and CR0.PG without CR4.PAE", LME, PG, -PAE)
	NEVER(STATE, "EFER.LME and CR0.PG without CR0.PE", LME, PG, -PE)
	NEVER(STATE, "CS: L and D at once in long mode", LME, PG, PAE, CODE64, DB)
	RULE(STATE, "VMRUN is not intercepted", ONES, INTERCEPT_MISC2, SVM_ICPT2_VMRUN)
	RULE2(STATE, "I/O permission map beyond the physical address width", AREA, IOPM_BASE, V_IOPM_SIZE, 0)
	RULE2(STATE, "MSR permission map beyond the physical address width", AREA, MSRPM_BASE, V_MSRPM_SIZE, 0)
	RULE(STATE, "ASID is 0", NONZERO, ASID, UINT64_MAX)
	NEVER(STATE, "CR4.CET without CR0.WP", CET, -WP)
	NEVER(INJECTED, "reserved type 1", EVENT_IS_1)
	NEVER(INJECTED, "reserved type 5, 6 or 7", EVENT_HIGH, -EVENT_IS_4)
	RULE(INJECTED, "exception with a vector that is none", IN_SET, EVENT_INJECT, EXCEPTIONS, EXCEPTION)
	RULE(NESTED, "nested CR3 has bits beyond the physical address width", ADDRESS, NESTED_CR3, 0, NESTED_PAGING)
	RULE(NESTED, "a memory type of G_PAT", PAT, G_PAT, 0, NESTED_PAGING)
};
// clang-format on
const struct entry_rules svm_entry_rules = {sections, facts, entry_rule, array_count(entry_rule)};
