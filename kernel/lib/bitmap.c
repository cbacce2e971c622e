// SPDX-License-Identifier: Apache-2.0
// Bit set operations that work a word at a time.
#include "kernel/lib/bitmap.h"

// Bits of word `word` that lie inside [first, end).
static uint64_t word_mask(size_t word, size_t first, size_t end) {
	uint64_t mask = UINT64_MAX;

	if (first > word * 64) mask &= UINT64_MAX << (first - word * 64);
	if (end < word * 64 + 64) mask &= UINT64_MAX >> (word * 64 + 64 - end);
	return mask;
}

void bitmap_set_range(uint64_t *map, size_t first, size_t count) {
	if (count == 0) return;
	for (size_t word = first / 64; word * 64 < first + count; word++)
		map[word] |= word_mask(word, first, first + count);
}

void bitmap_clear_range(uint64_t *map, size_t first, size_t count) {
	if (count == 0) return;
	for (size_t word = first / 64; word * 64 < first + count; word++)
		map[word] &= ~word_mask(word, first, first + count);
}

// flip = 0 looks for set bits, all ones for clear ones.
static size_t next_bit(const uint64_t *map, size_t bits, size_t from, uint64_t flip) {
	if (from >= bits) return BITMAP_NONE;
	for (size_t word = from / 64; word * 64 < bits; word++) {
		uint64_t found = (map[word] ^ flip) & word_mask(word, from, bits);

		if (found != 0) return word * 64 + bit_first(found);
	}
	return BITMAP_NONE;
}

size_t bitmap_next_set(const uint64_t *map, size_t bits, size_t from) { return next_bit(map, bits, from, 0); }

size_t bitmap_next_clear(const uint64_t *map, size_t bits, size_t from) {
	return next_bit(map, bits, from, UINT64_MAX);
}

// SWAR population count: no POPCNT is assumed and no helper of the compiler's library is linked.
static unsigned word_count(uint64_t v) {
	v -= (v >> 1) & UINT64_C(0x5555555555555555);
	v = (v & UINT64_C(0x3333333333333333)) + ((v >> 2) & UINT64_C(0x3333333333333333));
	v = (v + (v >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	return (unsigned)((v * UINT64_C(0x0101010101010101)) >> 56);
}

size_t bitmap_count(const uint64_t *map, size_t bits) {
	size_t count = 0;

	for (size_t word = 0; word * 64 < bits; word++) count += word_count(map[word] & word_mask(word, 0, bits));
	return count;
}
