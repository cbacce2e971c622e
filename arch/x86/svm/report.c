// SPDX-License-Identifier: Apache-2.0
// What a stopped vCPU leaves in the log: raw fields of its VMCB.
#include "arch/x86/svm/svm.h"
#include "kernel/lib/log.h"

void svm_dump(const struct vcpu *vcpu) {
	const struct vmcb *v = vmcb_of(vcpu);
	log_error("svm", "exit code %#llx info1 %#llx info2 %#llx int_info %#llx",
	          (unsigned long long)v->exit_code, (unsigned long long)v->exit_info1,
	          (unsigned long long)v->exit_info2, (unsigned long long)v->exit_int_info);
	log_error("svm", "event_inject %#llx vintr %#llx shadow %#llx asid %u tlb %u nested_cr3 %#llx",
	          (unsigned long long)v->event_inject, (unsigned long long)v->vintr,
	          (unsigned long long)v->interrupt_shadow, v->asid, v->tlb_control,
	          (unsigned long long)v->nested_cr3);
}
