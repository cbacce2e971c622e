// SPDX-License-Identifier: Apache-2.0
// The guest's own page tables walked in software (SDM vol. 3, ch. 4): for instruction fetch without
// decode assists and for the emulator's memory operands. Reads tables through mm/gmem only.
#pragma once

#include "arch/x86/guest/vcpu.h"

enum walk_access { WALK_WRITE = PF_WRITE, WALK_USER = PF_USER, WALK_FETCH = PF_FETCH };

struct walk_fault {
	uint32_t error;  // #PF error code
	bool unreadable; // a table lies where no memory is: not a #PF, the guest cannot go on
};

// Translates a linear address for an access (enum walk_access bits; 0 = supervisor read) and sets the
// accessed and, for a write, dirty bits as the CPU does. -ERR_FAULT: *fault says how.
__must_check int guest_walk(struct vcpu *vcpu, const struct guest_paging *paging, uint64_t linear,
                            uint32_t access, gpa_t *out, struct walk_fault *fault);
// Code at CS:RIP into code[16], zeroes behind; returns how many bytes could be fetched, 16 at most (a page that
// does not translate ends it; 0 and *fault filled when the first byte cannot).
unsigned guest_fetch(struct vcpu *vcpu, const struct guest_paging *paging,
                     uint64_t code[static CODE_BYTES / 8], struct walk_fault *fault);
// The four code bytes at a linear address, by the remembered walk; false when there is none that still holds, or
// they cross a page: use guest_fetch, which remembers its walk.
bool guest_fetch_word(struct vcpu *vcpu, const struct guest_paging *paging, uint64_t linear, uint32_t *word);
enum emul_mode guest_mode(const struct guest_paging *paging);
