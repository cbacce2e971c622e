// SPDX-License-Identifier: Apache-2.0
// Bit sets in arrays of 64-bit words: frames, ids, CPUs, dirty pages. Plain functions without locking;
// the _atomic ones are for bitmaps that several CPUs mark at the same time.
#pragma once

#include "kernel/lib/bits.h"
#include "kernel/lib/types.h"

#define BITMAP_WORDS(bits) (((bits) + 63) / 64)
#define BITMAP_NONE SIZE_MAX

static inline bool bitmap_test(const uint64_t *map, size_t bit) { return (map[bit / 64] >> (bit % 64)) & 1; }
static inline void bitmap_set(uint64_t *map, size_t bit) { map[bit / 64] |= BIT64(bit % 64); }
static inline void bitmap_clear(uint64_t *map, size_t bit) { map[bit / 64] &= ~BIT64(bit % 64); }

// Relaxed: the bit says only that something happened, whoever collects it orders the data.
static inline void bitmap_set_atomic(uint64_t *map, size_t bit) {
	__atomic_fetch_or(&map[bit / 64], BIT64(bit % 64), __ATOMIC_RELAXED);
}
// Returns a word's bits and clears them in one step; pairs with bitmap_set_atomic.
static inline uint64_t bitmap_take_word(uint64_t *map, size_t word) {
	return __atomic_exchange_n(&map[word], 0, __ATOMIC_ACQ_REL);
}

// first <= bits and count <= bits - first, in bits.
void bitmap_set_range(uint64_t *map, size_t first, size_t count);
void bitmap_clear_range(uint64_t *map, size_t first, size_t count);

// First bit at or after `from` that is set / clear, below `bits`; BITMAP_NONE when there is none.
size_t bitmap_next_set(const uint64_t *map, size_t bits, size_t from);
size_t bitmap_next_clear(const uint64_t *map, size_t bits, size_t from);
// How many of the first `bits` bits are set.
size_t bitmap_count(const uint64_t *map, size_t bits);
