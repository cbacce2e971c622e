// SPDX-License-Identifier: Apache-2.0
// Instruction lengths without next-RIP. The exit code says which instruction it was, so a look at the code bytes
// only has to confirm that no prefix makes it longer; anything else is left to the decoder (guest/insn).
#include "arch/x86/guest/walk.h"
#include "arch/x86/svm/svm.h"

struct fixed_insn {
	uint32_t mask, bytes; // little-endian, first byte lowest
	uint8_t length;
};

#define TWO_BYTES 0xffffu
#define THREE_BYTES 0xffffffu

static const struct fixed_insn fixed_insn[] = {
    [SVM_EXIT_CPUID] = {TWO_BYTES, 0xa20f, 2},          [SVM_EXIT_HLT] = {0xff, 0xf4, 1},
    [SVM_EXIT_MSR] = {TWO_BYTES & ~0x0200u, 0x300f, 2}, // WRMSR 0F 30, RDMSR 0F 32
    [SVM_EXIT_VMMCALL] = {THREE_BYTES, 0xd9010f, 3},    [SVM_EXIT_XSETBV] = {THREE_BYTES, 0xd1010f, 3},
    [SVM_EXIT_INVD] = {TWO_BYTES, 0x080f, 2},           [SVM_EXIT_WBINVD] = {TWO_BYTES, 0x090f, 2},
    [SVM_EXIT_PAUSE] = {TWO_BYTES, 0x90f3, 2},          [SVM_EXIT_IRET] = {0xff, 0xcf, 1},
};

uint8_t svm_insn_length(struct vcpu *vcpu, uint64_t code) {
	const struct vmcb *v = vmcb_of(vcpu);
	struct guest_paging p;
	uint32_t word;
	if (code >= array_count(fixed_insn) || fixed_insn[code].length == 0) return 0;
	svm_paging_get(vcpu, &p);
	bool long_code = (p.cs_access & SEG_L) != 0 && (p.efer & EFER_LMA) != 0;
	uint64_t linear = long_code ? v->rip : (v->rip + v->cs.base) & UINT32_MAX;
	if (!guest_fetch_word(vcpu, &p, linear, &word)) return 0;
	const struct fixed_insn *f = &fixed_insn[code];
	return (word & f->mask) == f->bytes ? f->length : 0;
}
