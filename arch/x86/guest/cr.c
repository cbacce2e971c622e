// SPDX-License-Identifier: Apache-2.0
// Control registers: each write is validated against the guest's own CPUID model, then the backend stores
// it with its fixed bits. EFER.LMA follows CR0.PG.
#include "arch/x86/guest/cr.h"

#include "arch/x86/cpu/features.h"
#include "arch/x86/cpu/insn.h"
#include "arch/x86/guest/cpuid.h"
#include "arch/x86/guest/event.h"
#include "arch/x86/guest/insn.h"
#include "arch/x86/guest/ops.h"
#include "arch/x86/guest/record.h"
#include "arch/x86/guest/walk.h"
#include "kernel/lib/string.h"
#include "kernel/vintc.h"
#include "mm/gmem.h"

#define CR0_DEFINED                                                                                          \
	(CR0_PE | CR0_MP | CR0_EM | CR0_TS | CR0_ET | CR0_NE | CR0_WP | CR0_AM | CR0_NW | CR0_CD | CR0_PG)

#define PDPTE_P BIT64(0)

bool cr_pdptes_read(struct vcpu *vcpu, uint64_t cr3, uint64_t pdpte[static 4]) {
	const uint64_t reserved = MASK64(63, features.phys_bits) | MASK64(8, 5) | MASK64(2, 1);
	bool valid = true;
	if (gmem_read(&vcpu->vm->space, gpa(cr3 & MASK64(31, 5)), pdpte, 4 * sizeof pdpte[0]) < 0)
		memset(pdpte, 0, 4 * sizeof pdpte[0]);
	for (unsigned i = 0; i < 4; i++) {
		if ((pdpte[i] & PDPTE_P) == 0 || (pdpte[i] & reserved) == 0) continue;
		pdpte[i] = 0;
		valid = false;
	}
	return valid;
}

// A write that begins or goes on with PAE paging and loads the PDPTEs is refused when they are not valid.
static bool pdptes_valid(struct vcpu *vcpu, uint64_t cr0, uint64_t cr3, uint64_t cr4, uint64_t efer) {
	uint64_t pdpte[4];
	if ((cr0 & CR0_PG) == 0 || (cr4 & CR4_PAE) == 0 || (efer & EFER_LME) != 0) return true;
	return cr_pdptes_read(vcpu, cr3, pdpte);
}

bool cr0_write(struct vcpu *vcpu, uint64_t value) {
	struct guest_paging p;
	ops->paging_get(vcpu, &p);
	if (value > UINT32_MAX) return false;
	value = (value & CR0_DEFINED) | CR0_ET; // undefined low bits are ignored
	if ((value & CR0_PG) != 0 && (value & CR0_PE) == 0) return false;
	if ((value & CR0_NW) != 0 && (value & CR0_CD) == 0) return false;
	if (((value ^ p.cr0) & (CR0_PG | CR0_CD | CR0_NW)) != 0 &&
	    !pdptes_valid(vcpu, value, p.cr3, p.cr4, p.efer))
		return false;
	bool was_paging = (p.cr0 & CR0_PG) != 0, paging = (value & CR0_PG) != 0;
	if (paging && !was_paging && (p.efer & EFER_LME) != 0) {
		if ((p.cr4 & CR4_PAE) == 0 || (p.cs_access & SEG_L) != 0) return false;
		ops->efer_set(vcpu, p.efer | EFER_LMA);
	}
	if (!paging && was_paging && (p.efer & EFER_LMA) != 0) {
		if ((p.cs_access & SEG_L) != 0) return false; // cannot leave from 64-bit code
		ops->efer_set(vcpu, p.efer & ~EFER_LMA);
	}
	ops->cr0_set(vcpu, value);
	if (((value ^ p.cr0) & (CR0_PG | CR0_WP | CR0_PE)) != 0) ops->flush(vcpu);
	return true;
}

bool cr3_write(struct vcpu *vcpu, uint64_t value) {
	struct guest_paging p;
	ops->paging_get(vcpu, &p);
	if ((p.efer & EFER_LMA) != 0 && (value & ~MASK64(features.phys_bits - 1u, 0)) != 0) return false;
	if (!pdptes_valid(vcpu, p.cr0, value, p.cr4, p.efer)) return false;
	ops->cr3_set(vcpu, value);
	ops->flush(vcpu);
	return true;
}

uint64_t cr4_allowed(const struct vcpu *vcpu) {
	const struct cpuid_model *m = &vcpu->vm->arch->cpuid;
	uint64_t allowed = CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE |
	                   CR4_PCE | CR4_OSFXSR | CR4_OSXMMEXCPT;
	const struct cpuid_entry *one = cpuid_find(m, CPUID_FEATURES, 0),
	                         *seven = cpuid_find(m, CPUID_MORE_FEATURES, 0);
	if (one != NULL && (one->ecx & CPUID1_ECX_XSAVE) != 0) allowed |= CR4_OSXSAVE;
	if (seven != NULL) {
		if ((seven->ebx & CPUID7_EBX_FSGSBASE) != 0) allowed |= CR4_FSGSBASE;
		if ((seven->ebx & CPUID7_EBX_SMEP) != 0) allowed |= CR4_SMEP;
		if ((seven->ebx & CPUID7_EBX_SMAP) != 0) allowed |= CR4_SMAP;
		if ((seven->ecx & CPUID7_ECX_UMIP) != 0) allowed |= CR4_UMIP;
	}
	return allowed;
}

bool cr4_write(struct vcpu *vcpu, uint64_t value) {
	struct guest_paging p;
	ops->paging_get(vcpu, &p);
	if ((value & ~cr4_allowed(vcpu)) != 0) return false;
	if ((p.efer & EFER_LMA) != 0 && (value & CR4_PAE) == 0) return false;
	if (((value ^ p.cr4) & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)) != 0 &&
	    !pdptes_valid(vcpu, p.cr0, p.cr3, value, p.efer))
		return false;
	ops->cr4_set(vcpu, value);
	if (((value ^ p.cr4) & (CR4_PGE | CR4_PAE | CR4_PSE | CR4_SMEP | CR4_SMAP)) != 0) ops->flush(vcpu);
	return true;
}

uint64_t efer_allowed(const struct vcpu *vcpu) {
	const struct cpuid_entry *ext = cpuid_find(&vcpu->vm->arch->cpuid, CPUID_EXT_FEATURES, 0);
	uint64_t allowed = EFER_SCE | EFER_LME | EFER_LMA;
	if (ext != NULL && (ext->edx & CPUID81_EDX_NX) != 0) allowed |= EFER_NXE;
	if (ext != NULL && (ext->edx & CPUID81_EDX_FFXSR) != 0) allowed |= EFER_FFXSR;
	return allowed;
}

bool efer_write(struct vcpu *vcpu, uint64_t value) {
	struct guest_paging p;
	ops->paging_get(vcpu, &p);
	if ((value & ~efer_allowed(vcpu)) != 0) return false;
	if ((p.cr0 & CR0_PG) != 0 && ((value ^ p.efer) & EFER_LME) != 0) return false;
	ops->efer_set(vcpu, (value & ~EFER_LMA) | (p.efer & EFER_LMA)); // LMA is read-only
	if (((value ^ p.efer) & EFER_NXE) != 0) ops->flush(vcpu);
	return true;
}

static uint64_t cr_read(struct vcpu *vcpu, uint8_t reg) {
	struct guest_sregs s;
	if (reg == 8) return vlapic_cr8_read(vcpu->arch->lapic);
	ops->sregs_get(vcpu, &s);
	switch (reg) {
	case 0: return s.cr0;
	case 2: return s.cr2;
	case 3: return s.cr3;
	default: return s.cr4;
	}
}

static bool cr_write(struct vcpu *vcpu, uint8_t reg, uint64_t value) {
	switch (reg) {
	case 0: return cr0_write(vcpu, value);
	case 3: return cr3_write(vcpu, value);
	case 4: return cr4_write(vcpu, value);
	case 8:
		if (value > 0xf) return false;
		vlapic_cr8_write(vcpu->arch->lapic, (uint8_t)value);
		return true;
	default: return false;
	}
}

static uint64_t gpr_get(struct vcpu *vcpu, unsigned reg) {
	return reg == GPR_RSP ? ops->rsp_get(vcpu) : vcpu->arch->gpr[reg];
}

static void gpr_set(struct vcpu *vcpu, unsigned reg, uint64_t value) {
	if (reg == GPR_RSP)
		ops->rsp_set(vcpu, value);
	else
		vcpu->arch->gpr[reg] = value;
}

struct cr_access {
	enum exit_cr_op op;
	uint8_t reg, gpr, length;
	uint16_t lmsw;
};

// LMSW and SMSW with a memory operand read or write guest memory.
static bool word_operand(struct vcpu *vcpu, const struct emul_insn *insn, uint16_t *word) {
	if (!insn->has_mem) {
		*word = (uint16_t)gpr_get(vcpu, (unsigned)(insn->modrm & 7) | ((insn->rex & 1) != 0 ? 8u : 0u));
		return true;
	}
	return guest_operand_read(vcpu, insn, word, sizeof *word);
}

// Without decode assists the instruction itself says what it is: MOV CRn, CLTS, LMSW or SMSW.
static bool access_decode(struct vcpu *vcpu, const struct exit *exit, struct cr_access *a) {
	a->op = (enum exit_cr_op)exit->cr.op;
	a->reg = exit->cr.reg;
	a->gpr = exit->cr.gpr;
	a->lmsw = exit->cr.lmsw;
	a->length = exit->insn_len;
	if (a->op != EXIT_CR_DECODE) return true;
	struct emul_insn insn;
	if (!guest_decode(vcpu, &insn)) return false;
	a->length = insn.length;
	a->gpr = (uint8_t)((insn.modrm & 7) | ((insn.rex & 1) != 0 ? 8 : 0));
	if (insn.opcode == OPCODE_CLTS) {
		a->op = EXIT_CR_CLTS;
	} else if (insn.opcode == OPCODE_GROUP_7 && (insn.modrm >> 3 & 7) == GROUP_7_LMSW) {
		a->op = EXIT_CR_LMSW;
		return word_operand(vcpu, &insn, &a->lmsw);
	} else if (insn.opcode == OPCODE_MOV_FROM_CR || insn.opcode == OPCODE_MOV_TO_CR) {
		a->op = insn.opcode == OPCODE_MOV_FROM_CR ? EXIT_CR_READ : EXIT_CR_WRITE;
	} else if (insn.opcode == OPCODE_GROUP_7 &&
	           !insn.has_mem) { // SMSW r: the whole register in 64-bit operand size
		uint64_t value = trunc_bytes(cr_read(vcpu, 0), insn.operand_bytes);
		uint64_t keep = insn.operand_bytes == 2 ? gpr_get(vcpu, a->gpr) & ~UINT64_C(0xffff) : 0;
		gpr_set(vcpu, a->gpr, keep | value);
		ops->advance(vcpu, insn.length);
		return false;
	} else if (insn.opcode == OPCODE_GROUP_7) {
		uint16_t word = (uint16_t)cr_read(vcpu, 0);
		if (guest_operand_write(vcpu, &insn, &word, sizeof word)) ops->advance(vcpu, insn.length);
		return false;
	} else {
		guest_ud(vcpu);
		return false;
	}
	return true;
}

void cr_exit(struct vcpu *vcpu, const struct exit *exit) {
	struct cr_access a;
	if (!access_decode(vcpu, exit, &a)) return;
	bool allowed = true;
	struct guest_paging p;
	ops->paging_get(vcpu, &p);
	uint64_t operand_mask = (guest_mode(&p) == EMUL_64) ? UINT64_MAX : UINT32_MAX;
	switch (a.op) {
	case EXIT_CR_READ: gpr_set(vcpu, a.gpr, cr_read(vcpu, a.reg) & operand_mask); break;
	case EXIT_CR_WRITE: allowed = cr_write(vcpu, a.reg, gpr_get(vcpu, a.gpr) & operand_mask); break;
	case EXIT_CR_CLTS: allowed = cr0_write(vcpu, p.cr0 & ~CR0_TS); break;
	default: // LMSW sets PE, MP, EM, TS and cannot clear PE (SDM vol. 2, "LMSW")
		allowed = cr0_write(vcpu, (p.cr0 & ~(CR0_MP | CR0_EM | CR0_TS)) |
		                              (a.lmsw & (CR0_PE | CR0_MP | CR0_EM | CR0_TS)));
		break;
	}
	if (allowed)
		guest_skip(vcpu, &(struct exit){.insn_len = a.length});
	else
		guest_gp(vcpu);
}

void xsetbv_exit(struct vcpu *vcpu, const struct exit *exit) {
	struct arch_vcpu *arch = vcpu->arch;
	uint64_t value = (arch->gpr[GPR_RDX] << 32) | (arch->gpr[GPR_RAX] & UINT32_MAX);
	struct guest_paging p;
	ops->paging_get(vcpu, &p);
	if ((p.cr4 & CR4_OSXSAVE) == 0) {
		guest_ud(vcpu);
		return;
	}
	if (p.cpl != 0 || (uint32_t)arch->gpr[GPR_RCX] != 0 ||
	    !vcpu_record_xcr0_valid(value, cpuid_xcr0_mask(&vcpu->vm->arch->cpuid))) {
		guest_gp(vcpu);
		return;
	}
	arch->xcr0 = value;
	xsetbv(0, value);
	guest_skip(vcpu, exit);
}
