// SPDX-License-Identifier: Apache-2.0
// Paging modes: none, 32-bit, PAE, 4-level and 5-level, one loop for the 8-byte formats. Rights accumulate
// over the levels and are judged once at the end (SDM vol. 3, 4.6 "Access Rights", 4.7 "Page-Fault
// Exceptions").
#include "arch/x86/guest/walk.h"

#include "arch/x86/cpu/features.h"
#include "arch/x86/guest/ops.h"
#include "mm/gmem.h"

#define PTE_P BIT64(0)
#define PTE_W BIT64(1)
#define PTE_U BIT64(2)
#define PTE_A BIT64(5)
#define PTE_D BIT64(6)
#define PTE_PS BIT64(7)
#define PTE_NX BIT64(63)
#define PTE_ADDR MASK64(51, 12)
#define PTE_LEAF_LOW MASK64(12, 0)      // of a large page: what is no address and not reserved, PAT at bit 12
#define PTE_PAE_RESERVED MASK64(62, 52) // ignored by 4- and 5-level paging
#define PDE_4M_RESERVED BIT64(21)

enum emul_mode guest_mode(const struct guest_paging *p) {
	return emul_mode_of((p->cr0 & CR0_PE) != 0, (p->rflags & RFLAGS_VM) != 0,
	                    (p->efer & EFER_LMA) != 0 && (p->cs_access & SEG_L) != 0,
	                    (p->cs_access & SEG_DB) != 0);
}

static bool rights_allow(const struct guest_paging *p, uint64_t rights, bool nx, uint32_t access) {
	bool user_page = (rights & PTE_U) != 0;
	if ((access & PF_USER) != 0) {
		if (!user_page) return false;
		if ((access & PF_WRITE) != 0 && (rights & PTE_W) == 0) return false;
	} else {
		if ((access & PF_WRITE) != 0 && (rights & PTE_W) == 0 && (p->cr0 & CR0_WP) != 0) return false;
		if (user_page && (access & PF_FETCH) != 0 && (p->cr4 & CR4_SMEP) != 0) return false;
		if (user_page && (access & PF_FETCH) == 0 && (p->cr4 & CR4_SMAP) != 0 && (p->rflags & RFLAGS_AC) == 0)
			return false;
	}
	return (access & PF_FETCH) == 0 || !nx;
}

static int fail(struct walk_fault *fault, const struct guest_paging *p, uint32_t access, uint32_t bits) {
	// The fetch bit is reported only where fetches are distinguished (SDM vol. 3, 4.7).
	if ((p->efer & EFER_NXE) == 0 && (p->cr4 & CR4_SMEP) == 0) access &= ~(uint32_t)PF_FETCH;
	*fault = (struct walk_fault){.error = access | bits};
	return -ERR_FAULT;
}

static int unreadable(struct walk_fault *fault) {
	*fault = (struct walk_fault){.unreadable = true};
	return -ERR_FAULT;
}

static int mark64(struct gspace *g, gpa_t at, uint64_t entry, uint64_t bits) {
	while ((entry & bits) != bits) {
		uint64_t seen = entry;
		int err = gmem_cmpxchg64(g, at, &seen, entry | bits);
		if (err < 0) return err;
		if (seen == entry) return 0;
		if ((seen & PTE_P) == 0) return 0; // changed under us: the guest's next access walks again
		entry = seen;
	}
	return 0;
}

// The 8-byte formats: `level` tables from `table` down, shift of the top one first.
// `trace` (may be NULL) gets the entries gone through.
static int walk64(struct vcpu *vcpu, const struct guest_paging *p, uint64_t table, unsigned level,
                  uint64_t linear, uint32_t access, gpa_t *out, struct walk_fault *fault,
                  struct fetch_walk *trace) {
	struct gspace *g = &vcpu->vm->space;
	uint64_t rights = PTE_U | PTE_W;
	bool nx = false;
	uint64_t reserved = MASK64(51, 0) & ~MASK64(features.phys_bits - 1u, 0);
	if ((p->efer & EFER_NXE) == 0) reserved |= PTE_NX;
	if ((p->efer & EFER_LMA) == 0) reserved |= PTE_PAE_RESERVED;
	const unsigned leaf_max = features.page_1g ? 3 : 2;
	for (;; level--) {
		unsigned shift = 12 + 9 * (level - 1);
		uint64_t offset = (UINT64_C(1) << shift) - 1;
		gpa_t at = gpa((table & PTE_ADDR) + (linear >> shift & 511) * 8);
		uint64_t entry;
		if (gmem_read64(g, at, &entry) < 0) return unreadable(fault);
		if (trace != NULL) {
			trace->at[trace->levels] = at.v;
			trace->entry[trace->levels++] = entry | PTE_A; // as it stands after this walk
		}
		if ((entry & PTE_P) == 0) return fail(fault, p, access, 0);
		bool leaf = level == 1 || (level <= leaf_max && (entry & PTE_PS) != 0);
		uint64_t here = leaf ? offset & ~PTE_LEAF_LOW : level > leaf_max ? PTE_PS : 0;
		if ((entry & (reserved | here)) != 0) return fail(fault, p, access, PF_PRESENT | PF_RSVD);
		rights &= entry;
		nx = nx || (entry & PTE_NX) != 0;
		if (!leaf) {
			if (mark64(g, at, entry, PTE_A) < 0) return unreadable(fault);
			table = entry;
			continue;
		}
		if (!rights_allow(p, rights, nx, access)) return fail(fault, p, access, PF_PRESENT);
		if (mark64(g, at, entry, PTE_A | ((access & PF_WRITE) != 0 ? PTE_D : 0)) < 0)
			return unreadable(fault);
		*out = gpa((entry & PTE_ADDR & ~offset) | (linear & offset));
		return 0;
	}
}

static int mark32(struct gspace *g, gpa_t at, uint32_t entry, uint32_t bits) {
	uint32_t seen = entry;
	if ((entry & bits) == bits) return 0;
	return gmem_cmpxchg32(g, at, &seen, entry | bits); // lost a race: the CPU sets it at the next access
}

// 32-bit paging with 4 KiB and, by CR4.PSE, 4 MiB pages (SDM vol. 3, 4.3).
static int walk32(struct vcpu *vcpu, const struct guest_paging *p, uint32_t linear, uint32_t access,
                  gpa_t *out, struct walk_fault *fault) {
	struct gspace *g = &vcpu->vm->space;
	gpa_t at = gpa((p->cr3 & 0xfffff000u) + (linear >> 22) * 4);
	uint32_t dirty = (access & PF_WRITE) != 0 ? (uint32_t)PTE_D : 0;
	uint32_t pde, pte;
	if (gmem_read32(g, at, &pde) < 0) return unreadable(fault);
	if ((pde & PTE_P) == 0) return fail(fault, p, access, 0);
	if ((pde & PTE_PS) != 0 && (p->cr4 & CR4_PSE) != 0) {
		if ((pde & PDE_4M_RESERVED) != 0) return fail(fault, p, access, PF_PRESENT | PF_RSVD);
		if (!rights_allow(p, pde, false, access)) return fail(fault, p, access, PF_PRESENT);
		if (mark32(g, at, pde, (uint32_t)PTE_A | dirty) < 0) return unreadable(fault);
		uint64_t high = (uint64_t)bits_get(pde, 20, 13) << 32; // PSE-36
		*out = gpa(high | (pde & 0xffc00000u) | (linear & 0x3fffffu));
		return 0;
	}
	if (mark32(g, at, pde, (uint32_t)PTE_A) < 0) return unreadable(fault);
	at = gpa((pde & 0xfffff000u) + (linear >> 12 & 0x3ff) * 4);
	if (gmem_read32(g, at, &pte) < 0) return unreadable(fault);
	if ((pte & PTE_P) == 0) return fail(fault, p, access, 0);
	if (!rights_allow(p, pde & pte, false, access)) return fail(fault, p, access, PF_PRESENT);
	if (mark32(g, at, pte, (uint32_t)PTE_A | dirty) < 0) return unreadable(fault);
	*out = gpa((pte & 0xfffff000u) | (linear & 0xfffu));
	return 0;
}

static int walk_traced(struct vcpu *vcpu, const struct guest_paging *p, uint64_t linear, uint32_t access,
                       gpa_t *out, struct walk_fault *fault, struct fetch_walk *trace) {
	if ((p->cr0 & CR0_PG) == 0) {
		*out = gpa(linear & UINT32_MAX);
		return 0;
	}
	if ((p->efer & EFER_LMA) != 0)
		return walk64(vcpu, p, p->cr3, (p->cr4 & CR4_LA57) != 0 ? 5 : 4, linear, access, out, fault, trace);
	if ((p->cr4 & CR4_PAE) == 0) return walk32(vcpu, p, (uint32_t)linear, access, out, fault);
	// PAE: CR3 points at four entries, 32-byte aligned. The CPU keeps them loaded; reading them again is
	// the same for every guest that reloads CR3 after changing them.
	uint64_t pdpte;
	gpa_t at = gpa((p->cr3 & 0xffffffe0u) + bits_get(linear, 31, 30) * 8);
	if (gmem_read64(&vcpu->vm->space, at, &pdpte) < 0) return unreadable(fault);
	if ((pdpte & PTE_P) == 0) return fail(fault, p, access, 0);
	return walk64(vcpu, p, pdpte, 2, linear & UINT32_MAX, access, out, fault, NULL);
}

int guest_walk(struct vcpu *vcpu, const struct guest_paging *p, uint64_t linear, uint32_t access, gpa_t *out,
               struct walk_fault *fault) {
	return walk_traced(vcpu, p, linear, access, out, fault, NULL);
}

// ---- instruction fetch -----------------------------------------------------------------------------------------

// Walks and remembers; without paging, and in the other formats, there is nothing to remember.
static int fetch_walk(struct vcpu *vcpu, const struct guest_paging *p, uint64_t linear, gpa_t *out,
                      struct walk_fault *fault) {
	struct fetch_walk *w = &vcpu->arch->fetch[(linear >> PAGE_SHIFT) % FETCH_WALKS];
	uint64_t page;
	if (guest_fetch_remembered(vcpu, p, linear, &page)) {
		*out = gpa(page + page_offset(linear));
		return 0;
	}
	w->levels = 0;
	w->linear_page = FETCH_WALK_NONE;
	int err = walk_traced(vcpu, p, linear, guest_fetch_access(p), out, fault, w);
	bool exact = w->levels > 0 || (p->cr0 & CR0_PG) == 0;
	if (err < 0 || !exact) return err;
	w->linear_page = linear & ~(PAGE_BYTES - 1);
	w->cr0 = p->cr0;
	w->cr3 = p->cr3;
	w->cr4 = p->cr4;
	w->efer = p->efer;
	w->access = guest_fetch_access(p);
	w->gpa_page = out->v & ~(PAGE_BYTES - 1);
	return 0;
}

unsigned guest_fetch(struct vcpu *vcpu, const struct guest_paging *p, uint64_t code[static CODE_BYTES / 8],
                     struct walk_fault *fault) {
	const struct gspace *g = &vcpu->vm->space;
	uint64_t linear = ops->rip_get(vcpu);
	if ((p->efer & EFER_LMA) == 0 || (p->cs_access & SEG_L) == 0) {
		struct guest_segment cs;
		ops->seg_get(vcpu, SEG_CS, &cs);
		linear = (linear + cs.base) & UINT32_MAX;
	}
	gpa_t at;
	if (likely(page_offset(linear) <= PAGE_BYTES - CODE_BYTES)) {
		if (fetch_walk(vcpu, p, linear, &at, fault) < 0) {
			fault->linear = linear;
			return 0;
		}
		if (likely(gmem_read64(g, at, &code[0]) == 0 && gmem_read64(g, gpa_add(at, 8), &code[1]) == 0))
			return CODE_BYTES;
	}
	code[0] = code[1] = 0;
	unsigned have = 0;
	while (have < CODE_BYTES) {
		unsigned run = (unsigned)min_u64(PAGE_BYTES - page_offset(linear + have), CODE_BYTES - have);
		if (fetch_walk(vcpu, p, linear + have, &at, fault) < 0) break;
		if (gmem_read(g, at, (uint8_t *)code + have, run) < 0) {
			*fault = (struct walk_fault){.unreadable = true};
			break;
		}
		have += run;
	}
	fault->linear = linear + have;
	return have;
}
