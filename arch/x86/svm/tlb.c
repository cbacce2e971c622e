// SPDX-License-Identifier: Apache-2.0
// Address-space ids, and what of a CPU's cached translations is dropped at the next VMRUN (APM vol. 2, 15.16 "TLB
// Control").
#include "arch/x86/cpu/percpu.h"
#include "arch/x86/svm/svm.h"

struct asid_pool svm_asid_pool[CPU_MAX];

void svm_asid_take(struct svm_vcpu *svm, struct asid_pool *pool) {
	uint32_t asid;
	if (tlbid_take(&pool->ids, svm_caps.asids, &asid, &svm->asid_generation)) pool->flush = true;
	svm->vmcb->tlb_control = pool->flush ? SVM_TLB_FLUSH_ALL : SVM_TLB_KEEP;
	svm->vmcb->asid = asid;
}

void svm_flushed(struct vmcb *v, struct asid_pool *pool) {
	if (v->tlb_control == SVM_TLB_FLUSH_ALL) pool->flush = false;
	v->tlb_control = SVM_TLB_KEEP;
}

void svm_flush(struct vcpu *vcpu) {
	struct svm_vcpu *svm = svm_of(vcpu);
	if (svm->vmcb->tlb_control == SVM_TLB_FLUSH_ALL) return; // that is still to come
	if (svm_caps.flush_asid)
		svm->vmcb->tlb_control = SVM_TLB_FLUSH_ASID;
	else
		svm_asid_take(svm, &svm_asid_pool[this_cpu()->id]); // a fresh ASID has nothing cached
}
