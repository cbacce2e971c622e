// SPDX-License-Identifier: Apache-2.0
// stress=entry on SVM. What lets VMRUN be tried again and again without running the guest: its nested page table is an
// empty one, so that what is read for the guest first, an instruction or the gate of an injected event, is a nested page
// fault. VMRUN and #VMEXIT leave alone what VMLOAD would have loaded, and the VMCB is put back from a copy.
#include "arch/x86/cpu/percpu.h"
#include "arch/x86/guest/entrystress.h"
#include "arch/x86/svm/check.h"
#include "arch/x86/svm/insn.h"
#include "arch/x86/svm/svm.h"
#include "kernel/lib/string.h"
#include "mm/frames.h"

static enum entry_verdict cpu_verdict(const struct vcpu *vcpu) {
	svm_entry_try(vcpu->arch->enter_pa);
	return (uint32_t)vmcb_of(vcpu)->exit_code == UINT32_MAX ? ENTRY_BAD_GUEST : ENTRY_TAKEN;
}

#define EVENT_SHAPE (SVM_EVENT_VALID | SVM_EVENT_TYPE_MASK << SVM_EVENT_TYPE_SHIFT | MASK64(5, 0))

static void change(struct entry_stress *stress, struct vmcb *v, struct entry_change *out) {
	uint64_t r = entry_random(stress), old = 0;
	unsigned i = SVM_FIELD_FIRST + (unsigned)((r & UINT32_MAX) % (SVM_FIELDS_END - SVM_FIELD_FIRST));
	const struct svm_check_field *f = &svm_check_field[i];
	if (i == SVM_V_NESTED_CONTROL || i == SVM_V_NESTED_CR3) return; // they keep the guest from running
	void *field = (uint8_t *)v + f->offset;
	memcpy(&old, field, f->bytes);
	uint64_t next =
	    i == SVM_V_EVENT_INJECT ? SVM_EVENT_VALID | ((r >> 32) & EVENT_SHAPE) : entry_mutate(stress, old, r);
	*out = (struct entry_change){.name = f->name, .was = old, .is = trunc_bytes(next, f->bytes)};
	memcpy(field, &next, f->bytes);
}

void svm_entry_stress(struct vcpu *vcpu, struct entry_stress *stress, unsigned rounds) {
	struct svm_vcpu *svm = svm_of(vcpu);
	struct vmcb *v = svm->vmcb, *copy = frame_ptr(stress->pages);
	hpa_t empty = hpa(stress->pages.v + PAGE_BYTES);
	svm_asid_take(svm, &svm_asid_pool[this_cpu()->id]);
	memcpy(copy, v, sizeof *v);
	memset(frame_ptr(empty), 0, PAGE_BYTES);
	for (unsigned i = 0; i < rounds; i++) {
		struct svm_entry_state state;
		struct entry_broken broken[ENTRY_BROKEN_MAX];
		struct entry_change changes[ENTRY_CHANGES_MAX] = {0};
		v->tlb_control = SVM_TLB_FLUSH_ALL;
		v->nested_cr3 = empty.v;
		for (uint64_t n = entry_random(stress) % (ENTRY_CHANGES_MAX + 1); n > 0; n--)
			change(stress, v, &changes[n - 1]);
		svm_entry_state_read(v, &state);
		unsigned count = svm_entry_check(&state, broken);
		entry_judge(stress, cpu_verdict(vcpu), ENTRY_TAKEN, broken, count, changes);
		memcpy(v, copy, sizeof *v);
	}
	svm_asid_take(svm, &svm_asid_pool[this_cpu()->id]); // nothing of the empty table is cached under it
}
