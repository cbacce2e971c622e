// SPDX-License-Identifier: Apache-2.0
// The guest's registers that the VMCS or the hardware holds, in neutral form. Control registers have two faces:
// what the guest reads (its own bits, and the read shadow for the rest) and what the hardware runs with (the
// fixed bits of VMX operation set, CR0.CD and NW never).
#include "arch/x86/vmx/vmx.h"

#include "arch/x86/cpu/features.h"
#include "arch/x86/cpu/insn.h"
#include "arch/x86/guest/cr.h"

// The fields of segment n lie two encodings apart, in the order of enum guest_seg.
#define SEG_FIELD(first, seg) ((uint32_t)(first) + 2u * (uint32_t)(seg))
_Static_assert(SEG_FIELD(VMCS_GUEST_ES_BASE, SEG_TR) == VMCS_GUEST_TR_BASE, "order of segments");
_Static_assert(SEG_FIELD(VMCS_GUEST_ES_ACCESS, SEG_GS) == VMCS_GUEST_GS_ACCESS, "order of segments");

uint64_t vmx_rip_get(const struct vcpu *vcpu) {
	vmx_select(vcpu);
	return vmcs_readn(VMCS_GUEST_RIP);
}
void vmx_rip_set(struct vcpu *vcpu, uint64_t rip) {
	vmx_select(vcpu);
	vmcs_writen(VMCS_GUEST_RIP, rip);
}
uint64_t vmx_rsp_get(const struct vcpu *vcpu) {
	vmx_select(vcpu);
	return vmcs_readn(VMCS_GUEST_RSP);
}
void vmx_rsp_set(struct vcpu *vcpu, uint64_t rsp) {
	vmx_select(vcpu);
	vmcs_writen(VMCS_GUEST_RSP, rsp);
}
uint64_t vmx_rflags_get(const struct vcpu *vcpu) {
	vmx_select(vcpu);
	return vmcs_readn(VMCS_GUEST_RFLAGS);
}
void vmx_rflags_set(struct vcpu *vcpu, uint64_t rflags) {
	vmx_select(vcpu);
	vmcs_writen(VMCS_GUEST_RFLAGS, rflags | RFLAGS_FIXED);
}

// The privilege level is SS's DPL, in real mode too (SDM vol. 3, 24.4.1, footnote on SS.DPL).
static uint8_t dpl(uint64_t access) { return (uint8_t)(access >> SEG_DPL_SHIFT & 3); }
uint8_t vmx_cpl_get(const struct vcpu *vcpu) {
	vmx_select(vcpu);
	return dpl(vmcs_read32(VMCS_GUEST_SS_ACCESS));
}

// CR2 is the software's to switch (enter.asm); DR6 stays in the hardware while the vCPU owns the CPU.
uint64_t vmx_cr2_get(const struct vcpu *vcpu) { return vcpu->arch->cr2; }
void vmx_cr2_set(struct vcpu *vcpu, uint64_t cr2) { vcpu->arch->cr2 = cr2; }
uint64_t vmx_dr6_get(const struct vcpu *vcpu) { return vmx_of(vcpu)->live ? read_dr6() : vmx_of(vcpu)->dr6; }
void vmx_dr6_set(struct vcpu *vcpu, uint64_t dr6) {
	struct vmx_vcpu *vmx = vmx_of(vcpu);
	if (vmx->live)
		write_dr6(dr6);
	else
		vmx->dr6 = dr6;
}
uint64_t vmx_dr7_get(const struct vcpu *vcpu) {
	vmx_select(vcpu);
	return vmcs_readn(VMCS_GUEST_DR7);
}
void vmx_dr7_set(struct vcpu *vcpu, uint64_t dr7) {
	vmx_select(vcpu);
	vmcs_writen(VMCS_GUEST_DR7, dr7);
}

// ---- segments ---------------------------------------------------------------------------------------------------

void vmx_seg_get(const struct vcpu *vcpu, enum guest_seg seg, struct guest_segment *out) {
	vmx_select(vcpu);
	*out = (struct guest_segment){
	    .base = vmcs_read(SEG_FIELD(VMCS_GUEST_ES_BASE, seg)),
	    .limit = (uint32_t)vmcs_read(SEG_FIELD(VMCS_GUEST_ES_LIMIT, seg)),
	    .access = (uint32_t)vmcs_read(SEG_FIELD(VMCS_GUEST_ES_ACCESS, seg)),
	    .selector = (uint16_t)vmcs_read(SEG_FIELD(VMCS_GUEST_ES_SELECTOR, seg)),
	};
}

// The entry checks want what a load of the register would have given (SDM vol. 3, 26.3.1.2): P or unusable, and
// a granularity that agrees with the limit.
void vmx_seg_set(struct vcpu *vcpu, enum guest_seg seg, const struct guest_segment *in) {
	uint32_t access = in->access, limit = in->limit;
	if ((access & SEG_P) == 0) access |= SEG_UNUSABLE;
	if (seg == SEG_TR) access |= SEG_TYPE_BUSY; // as LTR leaves it
	if (limit > 0xfffffu) {
		access |= SEG_G;
		limit |= 0xfffu;
	} else if ((limit & 0xfffu) != 0xfffu) {
		access &= ~SEG_G;
	}
	vmx_select(vcpu);
	vmcs_write(SEG_FIELD(VMCS_GUEST_ES_BASE, seg), in->base);
	vmcs_write(SEG_FIELD(VMCS_GUEST_ES_LIMIT, seg), limit);
	vmcs_write(SEG_FIELD(VMCS_GUEST_ES_ACCESS, seg), access);
	vmcs_write(SEG_FIELD(VMCS_GUEST_ES_SELECTOR, seg), in->selector);
}

// ---- control registers ------------------------------------------------------------------------------------------

static uint64_t cr0_get(const struct vmx_vcpu *vmx) {
	return (vmcs_readn(VMCS_GUEST_CR0) & VMX_CR0_OWNED) | (vmx->cr0_shadow & ~VMX_CR0_OWNED);
}
static uint64_t cr4_get(const struct vmx_vcpu *vmx) {
	return (vmcs_readn(VMCS_GUEST_CR4) & vmx->cr4_owned) | (vmx->cr4_shadow & ~vmx->cr4_owned);
}

// With EPT a PAE guest runs on the four PDPTEs in the VMCS; MOV to CR3 in the guest loads them, changes that we
// emulate load them here (SDM vol. 3, 26.3.1.6 and 4.4.1). guest/cr refused a write with reserved bits; what another
// vCPU put there since is taken as not present.
static void pdptes_load(struct vcpu *vcpu) {
	const struct vmx_vcpu *vmx = vmx_of(vcpu);
	if ((vmx->cr0_shadow & CR0_PG) == 0 || (vmx->cr4_shadow & CR4_PAE) == 0 || (vmx->efer & EFER_LMA) != 0)
		return;
	uint64_t pdpte[4];
	(void)cr_pdptes_read(vcpu, vmcs_readn(VMCS_GUEST_CR3), pdpte);
	for (unsigned i = 0; i < array_count(pdpte); i++)
		vmcs_write((uint32_t)VMCS_GUEST_PDPTE0 + 2 * i, pdpte[i]);
}

void vmx_cr0_set(struct vcpu *vcpu, uint64_t cr0) {
	struct vmx_vcpu *vmx = vmx_of(vcpu);
	vmx_select(vcpu);
	vmx->cr0_shadow = cr0 | CR0_ET;
	// Without unrestricted guest there is no entry with PE or PG clear; until then the guest may change its mind.
	vmx->deferred &= ~(uint32_t)VMX_DEFERRED_MODE;
	if ((~vmx->cr0_shadow & vmx_caps.cr0_fixed & (CR0_PE | CR0_PG)) != 0) vmx->deferred |= VMX_DEFERRED_MODE;
	vmcs_writen(VMCS_CR0_SHADOW, vmx->cr0_shadow);
	// CD and NW stay out of the hardware: they would slow or confuse memory that is known to be coherent.
	vmcs_writen(VMCS_GUEST_CR0, (vmx->cr0_shadow & ~(CR0_CD | CR0_NW)) | vmx_caps.cr0_fixed);
	pdptes_load(vcpu);
}

void vmx_cr3_set(struct vcpu *vcpu, uint64_t cr3) {
	vmx_select(vcpu);
	vmcs_writen(VMCS_GUEST_CR3, cr3);
	pdptes_load(vcpu);
}

// MCE is always set for the hardware: without it a machine check in guest mode would shut the CPU down.
void vmx_cr4_set(struct vcpu *vcpu, uint64_t cr4) {
	struct vmx_vcpu *vmx = vmx_of(vcpu);
	vmx_select(vcpu);
	vmx->cr4_shadow = cr4;
	vmcs_writen(VMCS_CR4_SHADOW, cr4);
	vmcs_writen(VMCS_GUEST_CR4, cr4 | CR4_MCE | vmx_caps.cr4_fixed);
	pdptes_load(vcpu);
}

// The entry control "IA-32e mode guest" is EFER.LMA (SDM vol. 3, 26.3.1.1).
void vmx_efer_set(struct vcpu *vcpu, uint64_t efer) {
	struct vmx_vcpu *vmx = vmx_of(vcpu);
	uint32_t entry = (vmx->entry & ~VMX_ENTRY_IA32E) | ((efer & EFER_LMA) != 0 ? VMX_ENTRY_IA32E : 0);
	vmx_select(vcpu);
	vmx->efer = efer;
	vmx_listed_set(vcpu, LISTED_EFER, efer);
	if (entry == vmx->entry) return;
	vmx->entry = entry;
	vmcs_write32(VMCS_ENTRY_CONTROLS, entry);
}

void vmx_paging_get(const struct vcpu *vcpu, struct guest_paging *out) {
	const struct vmx_vcpu *vmx = vmx_of(vcpu);
	vmx_select(vcpu);
	out->cr0 = cr0_get(vmx);
	out->cr3 = vmcs_readn(VMCS_GUEST_CR3);
	out->cr4 = cr4_get(vmx);
	out->efer = vmx->efer;
	out->rflags = vmcs_readn(VMCS_GUEST_RFLAGS);
	out->cs_access = vmcs_read32(VMCS_GUEST_CS_ACCESS);
	out->cpl = dpl(vmcs_read32(VMCS_GUEST_SS_ACCESS));
}

void vmx_sregs_get(const struct vcpu *vcpu, struct guest_sregs *out) {
	const struct vmx_vcpu *vmx = vmx_of(vcpu);
	vmx_select(vcpu);
	for (unsigned s = 0; s < SEG_COUNT; s++) vmx_seg_get(vcpu, (enum guest_seg)s, &out->seg[s]);
	out->gdt = (struct guest_table){.base = vmcs_readn(VMCS_GUEST_GDTR_BASE),
	                                .limit = (uint16_t)vmcs_read32(VMCS_GUEST_GDTR_LIMIT)};
	out->idt = (struct guest_table){.base = vmcs_readn(VMCS_GUEST_IDTR_BASE),
	                                .limit = (uint16_t)vmcs_read32(VMCS_GUEST_IDTR_LIMIT)};
	out->cr0 = cr0_get(vmx);
	out->cr2 = vcpu->arch->cr2;
	out->cr3 = vmcs_readn(VMCS_GUEST_CR3);
	out->cr4 = cr4_get(vmx);
	out->efer = vmx->efer;
}

void vmx_sregs_set(struct vcpu *vcpu, const struct guest_sregs *in) {
	vmx_select(vcpu);
	for (unsigned s = 0; s < SEG_COUNT; s++) vmx_seg_set(vcpu, (enum guest_seg)s, &in->seg[s]);
	vmcs_writen(VMCS_GUEST_GDTR_BASE, in->gdt.base);
	vmcs_write32(VMCS_GUEST_GDTR_LIMIT, in->gdt.limit);
	vmcs_writen(VMCS_GUEST_IDTR_BASE, in->idt.base);
	vmcs_write32(VMCS_GUEST_IDTR_LIMIT, in->idt.limit);
	vcpu->arch->cr2 = in->cr2;
	vmx_efer_set(vcpu, in->efer);
	vmcs_writen(VMCS_GUEST_CR3, in->cr3);
	vmx_cr4_set(vcpu, in->cr4);
	vmx_cr0_set(vcpu, in->cr0); // last: now the PDPTEs can be told
}

// ---- MSRs -------------------------------------------------------------------------------------------------------

static const uint32_t live_msr[LIVE_MSRS] = {
    [LIVE_STAR] = MSR_STAR,
    [LIVE_LSTAR] = MSR_LSTAR,
    [LIVE_CSTAR] = MSR_CSTAR,
    [LIVE_SFMASK] = MSR_SFMASK,
    [LIVE_KERNEL_GS_BASE] = MSR_KERNEL_GS_BASE,
};

void vmx_live_load(struct vmx_vcpu *vmx) {
	for (unsigned i = 0; i < LIVE_MSRS; i++) wrmsr(live_msr[i], vmx->msr[i]);
	write_dr6(vmx->dr6);
	vmx->live = true;
}

void vmx_live_save(struct vmx_vcpu *vmx) {
	for (unsigned i = 0; i < LIVE_MSRS; i++) vmx->msr[i] = rdmsr(live_msr[i]);
	vmx->dr6 = read_dr6();
	vmx->live = false;
}

// 0 is no field of an MSR here.
static uint32_t msr_field(uint32_t msr) {
	switch (msr) {
	case MSR_FS_BASE: return VMCS_GUEST_FS_BASE;
	case MSR_GS_BASE: return VMCS_GUEST_GS_BASE;
	case MSR_SYSENTER_CS: return VMCS_GUEST_SYSENTER_CS;
	case MSR_SYSENTER_ESP: return VMCS_GUEST_SYSENTER_ESP;
	case MSR_SYSENTER_EIP: return VMCS_GUEST_SYSENTER_EIP;
	default: return 0;
	}
}

static int live_index(uint32_t msr) {
	for (unsigned i = 0; i < LIVE_MSRS; i++)
		if (live_msr[i] == msr) return (int)i;
	return -1;
}

bool vmx_msr_get(const struct vcpu *vcpu, uint32_t msr, uint64_t *value) {
	const struct vmx_vcpu *vmx = vmx_of(vcpu);
	uint32_t field = msr_field(msr);
	int live = live_index(msr);
	if (field == 0 && live < 0) return false;
	vmx_select(vcpu);
	if (field != 0)
		*value = vmcs_read(field);
	else
		*value = vmx->live ? rdmsr(msr) : vmx->msr[live];
	return true;
}

static bool canonical(uint64_t address) {
	unsigned unused = 64u - features.virt_bits;
	return (uint64_t)((int64_t)(address << unused) >> unused) == address;
}

// A value that WRMSR refuses would fault in the hypervisor, or fail the entry: it is refused here (SDM vol. 2, "WRMSR").
static bool msr_valid(uint32_t msr, uint64_t value) {
	switch (msr) {
	case MSR_FS_BASE:
	case MSR_GS_BASE:
	case MSR_KERNEL_GS_BASE:
	case MSR_LSTAR:
	case MSR_CSTAR:
	case MSR_SYSENTER_ESP:
	case MSR_SYSENTER_EIP: return canonical(value);
	case MSR_SFMASK: return value <= UINT32_MAX;
	default: return true;
	}
}

bool vmx_msr_set(struct vcpu *vcpu, uint32_t msr, uint64_t value) {
	struct vmx_vcpu *vmx = vmx_of(vcpu);
	if (msr == MSR_PAT) { // guest/msr keeps what it reads
		vmx_listed_set(vcpu, LISTED_PAT, value);
		return true;
	}
	uint32_t field = msr_field(msr);
	int live = live_index(msr);
	if ((field == 0 && live < 0) || !msr_valid(msr, value)) return false;
	vmx_select(vcpu);
	if (field != 0)
		vmcs_write(field, value);
	else if (vmx->live)
		wrmsr(msr, value);
	else
		vmx->msr[live] = value;
	return true;
}
