// SPDX-License-Identifier: Apache-2.0
// One vCPU's VMCB: creation and its controls.
#include "arch/x86/svm/svm.h"

#include "arch/x86/cpu/percpu.h"
#include "arch/x86/guest/feature.h"
#include "kernel/lib/string.h"
#include "kernel/memory.h"

int svm_vcpu_create(struct vcpu *vcpu) {
	struct svm_vcpu *svm;
	int err = memory_object(sizeof *svm, (void **)&svm);
	if (err < 0) return err;
	hpa_t page;
	err = memory_pool_pages(1, &page);
	if (err < 0) {
		memory_object_free(svm, sizeof *svm);
		return err;
	}
	svm->vmcb = frame_ptr(page);
	vcpu->arch->vendor = svm;
	vcpu->arch->block = svm->vmcb;
	vcpu->arch->enter_pa = page.v;
	svm->cpu = SVM_CPU_NONE;
	return 0;
}

void svm_vcpu_destroy(struct vcpu *vcpu) {
	struct svm_vcpu *svm = svm_of(vcpu);
	memory_pool_pages_free(hpa(vcpu->arch->enter_pa), 1);
	memory_object_free(svm, sizeof *svm);
	vcpu->arch->vendor = NULL;
}

// PAUSEs no more than the threshold of cycles apart are one loop, which is left at its PAUSE_COUNTth (APM vol. 2, 15.14.4
// "Pause Intercept Filtering").
#define PAUSE_COUNT 3000u
#define PAUSE_THRESHOLD 128u

static void pause_filter_set(struct vmcb *v, bool on) {
	on = on && svm_caps.pause;
	v->intercept_misc1 = (v->intercept_misc1 & ~SVM_ICPT1_PAUSE) | (on ? SVM_ICPT1_PAUSE : 0);
	v->pause_count = PAUSE_COUNT;
	v->pause_threshold = PAUSE_THRESHOLD;
}

// The host's block and the ASID are a CPU's own; one of the same number and generation elsewhere is another vCPU's.
void svm_vcpu_load(struct vcpu *vcpu) {
	struct svm_vcpu *svm = svm_of(vcpu);
	uint32_t cpu = this_cpu()->id;
	pause_filter_set(svm->vmcb, vcpu->shares_cpu);
	if (svm->cpu == cpu) return;
	svm->cpu = cpu;
	svm->asid_generation = TLBID_GENERATION_NONE;
	vcpu->arch->host_pa = svm_host_vmcb_pa();
}

static void controls_set(struct vcpu *vcpu, struct vmcb *v) {
	v->intercept_cr_read = (uint16_t)BIT32(8); // CR8 is the local APIC's TPR
	v->intercept_cr_write = (uint16_t)(BIT32(0) | BIT32(4) | BIT32(8));
	// #DB and #AC always (an endless loop of them would hold the CPU), #MC is the host's.
	v->intercept_exception = BIT32(VEC_DB) | BIT32(VEC_AC) | BIT32(VEC_MC);
	v->intercept_misc1 = SVM_ICPT1_INTR | SVM_ICPT1_NMI | SVM_ICPT1_SMI | SVM_ICPT1_INIT | SVM_ICPT1_RDPMC |
	                     SVM_ICPT1_CPUID | SVM_ICPT1_INVD | SVM_ICPT1_HLT | SVM_ICPT1_INVLPGA |
	                     SVM_ICPT1_IOIO | SVM_ICPT1_MSR | SVM_ICPT1_FERR_FREEZE | SVM_ICPT1_SHUTDOWN;
	v->intercept_misc2 = SVM_ICPT2_VMRUN | SVM_ICPT2_VMMCALL | SVM_ICPT2_VMLOAD | SVM_ICPT2_VMSAVE |
	                     SVM_ICPT2_STGI | SVM_ICPT2_CLGI | SVM_ICPT2_SKINIT | SVM_ICPT2_WBINVD |
	                     SVM_ICPT2_MONITOR | SVM_ICPT2_MWAIT | SVM_ICPT2_XSETBV | SVM_ICPT2_RDPRU |
	                     (guest_features.rdtscp ? 0 : SVM_ICPT2_RDTSCP);
	v->intercept_misc3 = SVM_ICPT3_INVPCID;
	v->iopm_base = svm_iopm_pa();
	v->msrpm_base = svm_msrpm_pa();
	v->tsc_offset = vcpu->vm->tsc_offset;
	v->vintr = SVM_VINTR_MASKING;
	v->nested_control = SVM_NESTED_ENABLE;
	v->nested_cr3 = vcpu->vm->nested.pt.root.v;
}

void svm_vcpu_reset(struct vcpu *vcpu) {
	struct svm_vcpu *svm = svm_of(vcpu);
	memset(svm->vmcb, 0, sizeof *svm->vmcb);
	svm->asid_generation = TLBID_GENERATION_NONE;
	svm->nmi_masked = svm->iret_wait = svm->stepping = svm->exit_soon = false;
	svm->shadow_rip = UINT64_MAX; // no instruction is there
	controls_set(vcpu, svm->vmcb);
}
