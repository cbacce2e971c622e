// SPDX-License-Identifier: Apache-2.0
// How the engine (pt.c, pt_walk.c, nobody else) reads entries of any format.
#pragma once

#include "kernel/lib/err.h"
#include "mm/pt.h"

static inline unsigned pt_index(uint64_t va, unsigned level) {
	return (unsigned)(va >> (12 + 9 * (level - 1))) & (PT_ENTRIES - 1);
}

// First address after the entry that holds `at`, or after `last` when that comes first. May be 0 (2^64).
static inline uint64_t pt_entry_next(uint64_t at, uint64_t last, unsigned level) {
	return min_u64(last, at | (pt_level_bytes(level) - 1)) + 1;
}

static inline bool pt_present(const struct pt_format *f, uint64_t entry) { return (entry & f->present) != 0; }
static inline bool pt_is_leaf(const struct pt_format *f, unsigned level, uint64_t entry) {
	return level == 1 || (entry & f->large_bit) != 0;
}
// Of a table or a leaf.
static inline hpa_t pt_entry_pa(const struct pt_format *f, uint64_t entry) {
	return hpa(entry & f->addr_mask);
}

// Bits that say these rights; their absence is said by absent bits, or by noexec.
static inline uint64_t pt_rights_bits(const struct pt_format *f, uint32_t attr) {
	uint64_t bits = (attr & PT_EXEC) != 0 ? f->exec : f->noexec;
	if ((attr & PT_READ) != 0) bits |= f->read;
	if ((attr & PT_WRITE) != 0) bits |= f->write;
	return bits;
}
static inline uint32_t pt_rights(const struct pt_format *f, uint64_t entry) {
	uint32_t rights = (entry & f->read) != 0 ? PT_READ : 0;
	if ((entry & f->write) != 0) rights |= PT_WRITE;
	if (f->exec != 0 ? (entry & f->exec) != 0 : (entry & f->noexec) == 0) rights |= PT_EXEC;
	return rights;
}

// Page-aligned, not empty, inside what the levels span (canonical for formats that want it).
static inline int pt_range_check(const struct pt *pt, uint64_t va, uint64_t bytes) {
	if (bytes == 0 || !is_aligned(va | bytes, PAGE_BYTES)) return -ERR_INVAL;
	if (range_wraps(va, bytes)) return -ERR_RANGE;
	unsigned bits = 12u + 9u * pt->levels;
	uint64_t last = va + (bytes - 1);
	if (!pt->format->sign_extended || pt->levels == 3) return last >> bits == 0 ? 0 : -ERR_RANGE;
	uint64_t half = va >> (bits - 1), top = UINT64_MAX >> (bits - 1);
	return half == last >> (bits - 1) && (half == 0 || half == top) ? 0 : -ERR_RANGE;
}
