// SPDX-License-Identifier: Apache-2.0
// Ranges of addresses as base + length, with every sum checked. A range may end exactly at 2^64, so its
// last byte is always representable and its end is not: ends never appear here.
#pragma once

#include "kernel/lib/bits.h"
#include "kernel/lib/types.h"

struct range {
	uint64_t base, len; // bytes
};

// Not empty and not wrapping. The functions below ask for valid ranges.
static inline bool range_valid(struct range r) { return r.len != 0 && !range_wraps(r.base, r.len); }

static inline uint64_t range_last(struct range r) { return r.base + (r.len - 1); }

static inline bool range_overlaps(struct range a, struct range b) {
	return a.base <= range_last(b) && b.base <= range_last(a);
}

// The common part of two ranges; len 0 when there is none.
static inline struct range range_intersect(struct range a, struct range b) {
	if (!range_overlaps(a, b)) return (struct range){0, 0};
	uint64_t base = max_u64(a.base, b.base), last = min_u64(range_last(a), range_last(b));

	return (struct range){base, last - base + 1};
}
