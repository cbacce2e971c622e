// SPDX-License-Identifier: Apache-2.0
// The checks that a CPU makes before it runs a guest, in software: the CPU only says that one of them failed. A
// backend describes its manual's rules as data (vmx/check.c, svm/check.c) over an array of the values they are
// about; one loop tries them. Pure functions, host and target.
#pragma once

#include "kernel/lib/bits.h"

// Every array of values begins with what the CPU can address.
enum entry_limit {
	ENTRY_BEYOND_PHYSICAL, // the bits above MAXPHYADDR
	ENTRY_LINEAR_BITS,     // 48 or 57
	ENTRY_LIMITS,
};

// A condition: (value[field] & mask) == value. By lane: of the segment that the rule is tried on.
struct entry_fact {
	uint64_t mask, value;
	uint8_t field;
	bool by_lane;
};

// What a value has to be: no bit of mask, and so on. Mask is the rule's; other is another value, which the rule names.
enum entry_test {
	ENTRY_NEVER,       // the conditions together are what must not be
	ENTRY_ZERO,        // no bit of mask
	ENTRY_ONES,        // every bit of mask
	ENTRY_NONZERO,     // some bit of mask
	ENTRY_EQUAL,       // mask itself
	ENTRY_AT_MOST,     // mask at most
	ENTRY_IN_SET,      // its low byte is the number of a bit of mask
	ENTRY_NOT_IN_SET,  // and of none
	ENTRY_CANONICAL,   // but for `mask` bits: 1 leaves the highest linear bit free
	ENTRY_ADDRESS,     // physical, no bit of mask
	ENTRY_AREA,        // the same, and so is the last byte of `other` times 16 bytes
	ENTRY_PAT,         // eight memory types
	ENTRY_CAPABLE,     // other: bits that must be 1 in its low half, that may be 1 in its high half
	ENTRY_HAS,         // every bit of other, but for those of mask
	ENTRY_ONLY,        // no bit but those of other and mask
	ENTRY_SAME,        // as other in the bits of mask
	ENTRY_NOT_ABOVE,   // in the bits of mask, other at most
	ENTRY_BASE,        // other, a selector, times 16
	ENTRY_GRANULARITY, // of a segment limit; other: its access rights
	ENTRY_DPL_IS_RPL,  // of access rights; other: the selector
	ENTRY_DPL_COVERS_RPL,
};

#define ENTRY_CONDITIONS 5u
struct entry_rule {
	const char *text;
	uint64_t mask;
	int8_t when[ENTRY_CONDITIONS]; // facts that have to hold, negative: not to hold, for the rule to apply
	uint8_t section, test, field, other;
	uint8_t
	    lanes; // segments it is tried on, by enum guest_seg; `field` is then the one of ES. 0: it is of none
};

// What the CPU says of an entry, by what it names as wrong.
enum entry_verdict {
	ENTRY_BAD_CONTROLS,
	ENTRY_BAD_HOST,
	ENTRY_BAD_GUEST,
	ENTRY_BAD_MSR,
	ENTRY_TAKEN,
	ENTRY_STRANGE, // none of these
	ENTRY_VERDICTS,
};

struct entry_section {
	const char *title; // number and title in the manual
	enum entry_verdict verdict;
};

struct entry_rules {
	const struct entry_section *section;
	const struct entry_fact *fact; // [0] is not used
	const struct entry_rule *rule;
	unsigned rules;
};

struct entry_broken {
	const struct entry_rule *rule;
	const struct entry_section *section;
	const char *subject; // the segment, or ""
};

#define ENTRY_BROKEN_MAX 16u
// Fills broken[] in the order of the rules, at most ENTRY_BROKEN_MAX; returns how many. 0: the CPU should enter.
unsigned entry_check(const struct entry_rules *rules, const uint64_t *value,
                     struct entry_broken broken[static ENTRY_BROKEN_MAX]);

// A line of the log for each, "refused: section: segment: rule". In report.c.
__cold void entry_report(const struct entry_broken *broken, unsigned count);
