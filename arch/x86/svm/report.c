// SPDX-License-Identifier: Apache-2.0
// What a stopped vCPU leaves in the log: raw fields of its VMCB, and what in it VMRUN would refuse.
#include "arch/x86/cpu/features.h"
#include "arch/x86/cpu/insn.h"
#include "arch/x86/svm/check.h"
#include "arch/x86/svm/svm.h"
#include "kernel/lib/log.h"

// Bits of CR4 and EFER beyond those of every CPU with SVM, by the CPUID bit that announces them (APM vol. 3, app. D).
static const struct {
	uint32_t leaf;
	uint8_t reg, bit; // of EAX, EBX, ECX, EDX
	uint8_t value;    // SVM_CAN_*
	uint8_t allows;   // bit there
} optional[] = {
    {0x00000001, 2, 17, SVM_CAN_CR4, 17},  // PCIDE
    {0x00000001, 2, 26, SVM_CAN_CR4, 18},  // OSXSAVE
    {0x00000007, 1, 0, SVM_CAN_CR4, 16},   // FSGSBASE
    {0x00000007, 1, 7, SVM_CAN_CR4, 20},   // SMEP
    {0x00000007, 1, 20, SVM_CAN_CR4, 21},  // SMAP
    {0x00000007, 2, 2, SVM_CAN_CR4, 11},   // UMIP
    {0x00000007, 2, 3, SVM_CAN_CR4, 22},   // PKE
    {0x00000007, 2, 7, SVM_CAN_CR4, 23},   // CET
    {0x00000007, 2, 16, SVM_CAN_CR4, 12},  // LA57
    {0x80000001, 2, 17, SVM_CAN_EFER, 15}, // TCE
    {0x80000001, 3, 20, SVM_CAN_EFER, 11}, // NXE
    {0x80000001, 3, 25, SVM_CAN_EFER, 14}, // FFXSR
    {0x80000021, 0, 8, SVM_CAN_EFER, 21},  // AIBRSE
};
#define CR4_ALWAYS MASK64(10, 0)
#define EFER_ALWAYS (EFER_SCE | EFER_LME | EFER_LMA | EFER_SVME | EFER_LMSLE)
#define CPUID_EXTENDED 0x80000000u

void svm_entry_state_read(const struct vmcb *vmcb, struct svm_entry_state *s) {
	svm_entry_fields(vmcb, s);
	s->v[ENTRY_BEYOND_PHYSICAL] = MASK64(63, features.phys_bits);
	s->v[ENTRY_LINEAR_BITS] = features.virt_bits;
	s->v[SVM_CAN_CR4] = CR4_ALWAYS;
	s->v[SVM_CAN_EFER] = EFER_ALWAYS;
	for (unsigned i = 0; i < array_count(optional); i++) {
		uint32_t leaf = optional[i].leaf;
		if (leaf > ((leaf & CPUID_EXTENDED) != 0 ? features.max_extended : features.max_basic)) continue;
		struct cpuid_regs r = cpuid(leaf, 0);
		uint64_t has = (&r.eax)[optional[i].reg] >> optional[i].bit & 1;
		s->v[optional[i].value] |= has << optional[i].allows;
	}
}

void svm_dump(const struct vcpu *vcpu) {
	const struct vmcb *v = vmcb_of(vcpu);
	struct svm_entry_state state;
	struct entry_broken broken[ENTRY_BROKEN_MAX];
	log_error("svm", "exit code %#llx info1 %#llx info2 %#llx int_info %#llx",
	          (unsigned long long)v->exit_code, (unsigned long long)v->exit_info1,
	          (unsigned long long)v->exit_info2, (unsigned long long)v->exit_int_info);
	log_error("svm", "event_inject %#llx vintr %#llx shadow %#llx asid %u tlb %u nested_cr3 %#llx",
	          (unsigned long long)v->event_inject, (unsigned long long)v->vintr,
	          (unsigned long long)v->interrupt_shadow, v->asid, v->tlb_control,
	          (unsigned long long)v->nested_cr3);
	svm_entry_state_read(v, &state);
	entry_report(broken, svm_entry_check(&state, broken));
}
