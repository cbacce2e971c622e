// SPDX-License-Identifier: Apache-2.0
// Bit sets in arrays of 64-bit words. Plain functions without locking.
#pragma once

#include "kernel/lib/bits.h"
#include "kernel/lib/types.h"

#define BITMAP_WORDS(bits) (((bits) + 63) / 64)
#define BITMAP_NONE SIZE_MAX

static inline bool bitmap_test(const uint64_t *map, size_t bit) { return (map[bit / 64] >> (bit % 64)) & 1; }
static inline void bitmap_set(uint64_t *map, size_t bit) { map[bit / 64] |= BIT64(bit % 64); }

// First bit at or after `from` that is set, below `bits`; BITMAP_NONE when there is none.
size_t bitmap_next_set(const uint64_t *map, size_t bits, size_t from);
