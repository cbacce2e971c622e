// SPDX-License-Identifier: Apache-2.0
// The checks of VMRUN in software (APM vol. 2, 15.5.1 "Basic Operation", 15.20 "Event Injection", 15.25.4 "Nested Paging
// and VMRUN/#VMEXIT"). A processor answers every one of them with VMEXIT_INVALID. Pure functions, host and target.
#pragma once

#include "arch/x86/guest/entrycheck.h"
#include "arch/x86/svm/vmcb.h"

// Name and member of the fields of the VMCB that the rules are about.
// clang-format off
#define SVM_CHECK_FIELDS(F) \
	F(INTERCEPT_MISC2, intercept_misc2) F(IOPM_BASE, iopm_base) F(MSRPM_BASE, msrpm_base) F(ASID, asid) \
	F(EVENT_INJECT, event_inject) F(NESTED_CONTROL, nested_control) F(NESTED_CR3, nested_cr3) F(CS_ATTRIB, cs.attrib) \
	F(EFER, efer) F(CR4, cr4) F(CR3, cr3) F(CR0, cr0) F(DR7, dr7) F(DR6, dr6) F(G_PAT, g_pat)
// clang-format on

#define SVM_CHECK_FIELD_INDEX(name, member) SVM_V_##name,
enum svm_check_value {
	SVM_V_BEFORE_FIELDS = ENTRY_LIMITS - 1,
	SVM_CHECK_FIELDS(SVM_CHECK_FIELD_INDEX) SVM_FIELDS_END,
	SVM_V_IOPM_SIZE = SVM_FIELDS_END, // of the permission maps, in units of 16 bytes
	SVM_V_MSRPM_SIZE,
	SVM_CAN_CR4, // bits of CR4 and EFER that this CPU has
	SVM_CAN_EFER,
	SVM_VALUES,
};
#define SVM_FIELD_FIRST ENTRY_LIMITS

struct svm_entry_state {
	uint64_t v[SVM_VALUES];
};

struct svm_check_field {
	const char *name;
	uint16_t offset, bytes; // in the VMCB
};
// By enum svm_check_value, from SVM_FIELD_FIRST to SVM_FIELDS_END - 1.
extern const struct svm_check_field svm_check_field[SVM_FIELDS_END];

extern const struct entry_rules svm_entry_rules;

// Fills in all but the limits and SVM_CAN_*.
void svm_entry_fields(const struct vmcb *vmcb, struct svm_entry_state *s);

// See entry_check.
static inline unsigned svm_entry_check(const struct svm_entry_state *s,
                                       struct entry_broken broken[static ENTRY_BROKEN_MAX]) {
	return entry_check(&svm_entry_rules, s->v, broken);
}
