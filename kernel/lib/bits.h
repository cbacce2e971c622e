// SPDX-License-Identifier: Apache-2.0
// Bit, alignment and little-endian helpers; pure functions, host and target.
#pragma once

#include "kernel/lib/types.h"

#define BIT64(n) (UINT64_C(1) << (n))
#define BIT32(n) (UINT32_C(1) << (n))
// Mask with bits hi..lo set, inclusive, as the manuals write ranges.
#define MASK64(hi, lo) ((UINT64_MAX >> (63 - (hi))) & (UINT64_MAX << (lo)))

static inline uint64_t align_down(uint64_t v, uint64_t align) { return v & ~(align - 1); }
static inline uint64_t align_up(uint64_t v, uint64_t align) { return (v + align - 1) & ~(align - 1); }
static inline bool is_aligned(uint64_t v, uint64_t align) { return (v & (align - 1)) == 0; }
static inline bool is_pow2(uint64_t v) { return v != 0 && (v & (v - 1)) == 0; }
static inline uint64_t bits_get(uint64_t v, unsigned hi, unsigned lo) { return (v & MASK64(hi, lo)) >> lo; }

// Index of the lowest / highest set bit; v must not be 0.
static inline unsigned bit_first(uint64_t v) { return (unsigned)__builtin_ctzll(v); }
static inline unsigned bit_last(uint64_t v) { return 63u - (unsigned)__builtin_clzll(v); }

// v limited to `bytes` (1, 2, 4 or 8) low bytes.
static inline uint64_t trunc_bytes(uint64_t v, unsigned bytes) {
	return bytes >= 8 ? v : v & ((UINT64_C(1) << (8 * bytes)) - 1);
}
static inline uint64_t min_u64(uint64_t a, uint64_t b) { return a < b ? a : b; }
static inline uint64_t max_u64(uint64_t a, uint64_t b) { return a > b ? a : b; }
// True when base + len (bytes) wraps past 2^64.
static inline bool range_wraps(uint64_t base, uint64_t len) { return len != 0 && base + (len - 1) < base; }

// Unaligned little-endian access to foreign bytes.
// clang-format off
static inline uint16_t le16(const void *p) { uint16_t v; __builtin_memcpy(&v, p, sizeof v); return v; }
static inline uint32_t le32(const void *p) { uint32_t v; __builtin_memcpy(&v, p, sizeof v); return v; }
static inline uint64_t le64(const void *p) { uint64_t v; __builtin_memcpy(&v, p, sizeof v); return v; }
// clang-format on
static inline void put_le16(void *p, uint16_t v) { __builtin_memcpy(p, &v, sizeof v); }
static inline void put_le32(void *p, uint32_t v) { __builtin_memcpy(p, &v, sizeof v); }
static inline void put_le64(void *p, uint64_t v) { __builtin_memcpy(p, &v, sizeof v); }
