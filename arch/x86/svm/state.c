// SPDX-License-Identifier: Apache-2.0
// The guest's registers that the VMCB holds, in neutral form. Segment attributes convert between the
// VMCB's packed 12 bits and the neutral access word (SDM vol. 3, table 24-2).
#include "arch/x86/svm/svm.h"

#include "arch/x86/cpu/features.h"

uint64_t svm_rip_get(const struct vcpu *vcpu) { return vmcb_of(vcpu)->rip; }
void svm_rip_set(struct vcpu *vcpu, uint64_t rip) { vmcb_of(vcpu)->rip = rip; }
uint64_t svm_rsp_get(const struct vcpu *vcpu) { return vmcb_of(vcpu)->rsp; }
void svm_rsp_set(struct vcpu *vcpu, uint64_t rsp) { vmcb_of(vcpu)->rsp = rsp; }
uint8_t svm_cpl_get(const struct vcpu *vcpu) { return vmcb_of(vcpu)->cpl; }
uint64_t svm_cr2_get(const struct vcpu *vcpu) { return vmcb_of(vcpu)->cr2; }
void svm_cr2_set(struct vcpu *vcpu, uint64_t cr2) { vmcb_of(vcpu)->cr2 = cr2; }
uint64_t svm_dr6_get(const struct vcpu *vcpu) { return vmcb_of(vcpu)->dr6; }
void svm_dr6_set(struct vcpu *vcpu, uint64_t dr6) { vmcb_of(vcpu)->dr6 = dr6; }
uint64_t svm_dr7_get(const struct vcpu *vcpu) { return vmcb_of(vcpu)->dr7; }
void svm_dr7_set(struct vcpu *vcpu, uint64_t dr7) { vmcb_of(vcpu)->dr7 = dr7; }

// While a single step is ours (event.c) TF and RF in the VMCB are not the guest's.
uint64_t svm_rflags_get(const struct vcpu *vcpu) {
	const struct svm_vcpu *svm = svm_of(vcpu);
	if (likely(!svm->stepping)) return svm->vmcb->rflags;
	return (svm->vmcb->rflags & ~(RFLAGS_TF | RFLAGS_RF)) | svm->guest_flags;
}
void svm_rflags_set(struct vcpu *vcpu, uint64_t rflags) {
	struct svm_vcpu *svm = svm_of(vcpu);
	svm->vmcb->rflags = rflags | RFLAGS_FIXED;
	if (likely(!svm->stepping)) return;
	svm->guest_flags = rflags & (RFLAGS_TF | RFLAGS_RF);
	svm->vmcb->rflags |= RFLAGS_TF | RFLAGS_RF;
}

static struct vmcb_seg *seg_of(struct vmcb *v, enum guest_seg seg) {
	switch (seg) {
	case SEG_ES: return &v->es;
	case SEG_CS: return &v->cs;
	case SEG_SS: return &v->ss;
	case SEG_DS: return &v->ds;
	case SEG_FS: return &v->fs;
	case SEG_GS: return &v->gs;
	case SEG_LDTR: return &v->ldtr;
	default: return &v->tr;
	}
}

void svm_seg_get(const struct vcpu *vcpu, enum guest_seg seg, struct guest_segment *out) {
	const struct vmcb_seg *s = seg_of(vmcb_of(vcpu), seg);
	uint32_t access = (s->attrib & 0xffu) | (uint32_t)(s->attrib & 0xf00u) << 4;
	if ((access & SEG_P) == 0) access |= SEG_UNUSABLE;
	*out =
	    (struct guest_segment){.base = s->base, .limit = s->limit, .access = access, .selector = s->selector};
}

void svm_seg_set(struct vcpu *vcpu, enum guest_seg seg, const struct guest_segment *in) {
	uint32_t access = (in->access & SEG_UNUSABLE) != 0 ? 0 : in->access;
	*seg_of(vmcb_of(vcpu), seg) = (struct vmcb_seg){
	    .selector = in->selector,
	    .attrib = (uint16_t)((access & 0xffu) | (access >> 4 & 0xf00u)),
	    .limit = in->limit,
	    .base = in->base,
	};
	// The privilege level lives apart from SS (APM vol. 2, 15.5.1 "CPL").
	if (seg == SEG_SS) vmcb_of(vcpu)->cpl = (uint8_t)(in->access >> SEG_DPL_SHIFT & 3);
}

void svm_paging_get(const struct vcpu *vcpu, struct guest_paging *out) {
	const struct vmcb *v = vmcb_of(vcpu);
	out->cr0 = v->cr0 | vcpu->arch->cr0_cache;
	out->cr3 = v->cr3;
	out->cr4 = v->cr4; // MCE may be ours: no address depends on it
	out->efer = v->efer & ~EFER_SVME;
	out->rflags = v->rflags;
	out->cs_access = (v->cs.attrib & 0xffu) | (uint32_t)(v->cs.attrib & 0xf00u) << 4;
	out->cpl = v->cpl;
}

void svm_sregs_get(const struct vcpu *vcpu, struct guest_sregs *out) {
	const struct vmcb *v = vmcb_of(vcpu);
	for (unsigned s = 0; s < SEG_COUNT; s++) svm_seg_get(vcpu, (enum guest_seg)s, &out->seg[s]);
	out->gdt = (struct guest_table){.base = v->gdtr.base, .limit = (uint16_t)v->gdtr.limit};
	out->idt = (struct guest_table){.base = v->idtr.base, .limit = (uint16_t)v->idtr.limit};
	out->cr0 = v->cr0 | vcpu->arch->cr0_cache;
	out->cr2 = v->cr2;
	out->cr3 = v->cr3;
	out->cr4 = v->cr4 ^ svm_of(vcpu)->cr4_forced;
	out->efer = v->efer & ~EFER_SVME;
}

void svm_sregs_set(struct vcpu *vcpu, const struct guest_sregs *in) {
	struct vmcb *v = vmcb_of(vcpu);
	for (unsigned s = 0; s < SEG_COUNT; s++) svm_seg_set(vcpu, (enum guest_seg)s, &in->seg[s]);
	v->gdtr = (struct vmcb_seg){.base = in->gdt.base, .limit = in->gdt.limit};
	v->idtr = (struct vmcb_seg){.base = in->idt.base, .limit = in->idt.limit};
	v->cr2 = in->cr2;
	svm_cr0_set(vcpu, in->cr0);
	svm_cr3_set(vcpu, in->cr3);
	svm_cr4_set(vcpu, in->cr4);
	svm_efer_set(vcpu, in->efer);
}

// CD and NW stay out of the hardware's CR0: they would slow or confuse memory that the hypervisor knows to be
// coherent. While the guest has one of them set its reads of CR0 exit, and guest/cr answers.
void svm_cr0_set(struct vcpu *vcpu, uint64_t cr0) {
	struct vmcb *v = vmcb_of(vcpu);
	uint64_t hidden = cr0 & (CR0_CD | CR0_NW);
	vcpu->arch->cr0_cache = hidden;
	v->cr0 = (cr0 ^ hidden) | CR0_ET;
	v->intercept_cr_read = (uint16_t)((v->intercept_cr_read & ~BIT32(0)) | (hidden != 0 ? BIT32(0) : 0));
}
void svm_cr3_set(struct vcpu *vcpu, uint64_t cr3) { vmcb_of(vcpu)->cr3 = cr3; }
// MCE is always set for the hardware: without it a machine check in guest mode would shut the CPU down. While the
// guest has it clear its reads of CR4 exit.
void svm_cr4_set(struct vcpu *vcpu, uint64_t cr4) {
	struct vmcb *v = vmcb_of(vcpu);
	uint64_t forced = ~cr4 & CR4_MCE;
	svm_of(vcpu)->cr4_forced = forced;
	v->cr4 = cr4 | forced;
	v->intercept_cr_read = (uint16_t)((v->intercept_cr_read & ~BIT32(4)) | (forced != 0 ? BIT32(4) : 0));
}
// VMRUN demands SVME (APM vol. 2, 15.5.1); the guest does not see it.
void svm_efer_set(struct vcpu *vcpu, uint64_t efer) { vmcb_of(vcpu)->efer = efer | EFER_SVME; }

static uint64_t *msr_field(struct vmcb *v, uint32_t msr) {
	switch (msr) {
	case MSR_FS_BASE: return &v->fs.base;
	case MSR_GS_BASE: return &v->gs.base;
	case MSR_KERNEL_GS_BASE: return &v->kernel_gs_base;
	case MSR_STAR: return &v->star;
	case MSR_LSTAR: return &v->lstar;
	case MSR_CSTAR: return &v->cstar;
	case MSR_SFMASK: return &v->sfmask;
	case MSR_SYSENTER_CS: return &v->sysenter_cs;
	case MSR_SYSENTER_ESP: return &v->sysenter_esp;
	case MSR_SYSENTER_EIP: return &v->sysenter_eip;
	case MSR_PAT: return &v->g_pat;
	default: return NULL;
	}
}

bool svm_msr_get(const struct vcpu *vcpu, uint32_t msr, uint64_t *value) {
	const uint64_t *field = msr_field(vmcb_of(vcpu), msr);
	if (field == NULL) return false;
	*value = *field;
	return true;
}

bool svm_msr_set(struct vcpu *vcpu, uint32_t msr, uint64_t value) {
	uint64_t *field = msr_field(vmcb_of(vcpu), msr);
	if (field == NULL) return false;
	*field = value;
	return true;
}
