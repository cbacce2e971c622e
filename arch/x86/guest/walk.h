// SPDX-License-Identifier: Apache-2.0
// The guest's own page tables walked in software (SDM vol. 3, ch. 4): for instruction fetch without
// decode assists and for the emulator's memory operands. Reads tables through mm/gmem only.
#pragma once

#include "arch/x86/guest/vcpu.h"
#include "mm/gmem.h"

struct walk_fault {
	uint32_t error;  // #PF error code
	bool unreadable; // a table lies where no memory is: not a #PF, the guest cannot go on
	uint64_t linear; // of the first byte that could not be fetched (guest_fetch only)
};

// Translates a linear address for an access (PF_WRITE, PF_USER, PF_FETCH; 0 = supervisor read) and sets the
// accessed and, for a write, dirty bits as the CPU does. -ERR_FAULT: *fault says how.
__must_check int guest_walk(struct vcpu *vcpu, const struct guest_paging *paging, uint64_t linear,
                            uint32_t access, gpa_t *out, struct walk_fault *fault);
// Code at CS:RIP into code[16], zeroes behind; returns how many bytes could be fetched, 16 at most (a page that
// does not translate ends it; 0 and *fault filled when the first byte cannot).
unsigned guest_fetch(struct vcpu *vcpu, const struct guest_paging *paging,
                     uint64_t code[static CODE_BYTES / 8], struct walk_fault *fault);
static inline uint32_t guest_fetch_access(const struct guest_paging *p) {
	return PF_FETCH | (p->cpl == 3 ? PF_USER : 0u);
}

// The code page's translation by the remembered walk, when nothing it depended on has changed: no more and no less
// than a walk would give.
static inline bool guest_fetch_remembered(const struct vcpu *vcpu, const struct guest_paging *p,
                                          uint64_t linear, uint64_t *gpa_page) {
	const struct fetch_walk *w = &vcpu->arch->fetch[(linear >> PAGE_SHIFT) % FETCH_WALKS];
	if (w->linear_page != (linear & ~(PAGE_BYTES - 1)) || w->cr3 != p->cr3 || w->cr0 != p->cr0 ||
	    w->cr4 != p->cr4 || w->efer != p->efer || w->access != guest_fetch_access(p))
		return false;
	for (unsigned i = 0; i < w->levels; i++) {
		uint64_t now;
		if (gmem_read64(&vcpu->vm->space, gpa(w->at[i]), &now) < 0 || now != w->entry[i]) return false;
	}
	*gpa_page = w->gpa_page;
	return true;
}

// The four code bytes at a linear address, by the remembered walk; false when there is none that still holds, or
// they cross a page: use guest_fetch, which remembers its walk.
static inline bool guest_fetch_word(struct vcpu *vcpu, const struct guest_paging *paging, uint64_t linear,
                                    uint32_t *word) {
	uint64_t page;
	if (page_offset(linear) > PAGE_BYTES - sizeof *word ||
	    !guest_fetch_remembered(vcpu, paging, linear, &page))
		return false;
	return gmem_read32(&vcpu->vm->space, gpa(page + page_offset(linear)), word) == 0;
}
enum emul_mode guest_mode(const struct guest_paging *paging);
