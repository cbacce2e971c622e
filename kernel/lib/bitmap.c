// SPDX-License-Identifier: Apache-2.0
// The search in a bit set, a word at a time.
#include "kernel/lib/bitmap.h"

size_t bitmap_next_set(const uint64_t *map, size_t bits, size_t from) {
	for (size_t at = from; at < bits; at = (at / 64 + 1) * 64) {
		uint64_t found = map[at / 64] >> at % 64;
		if (found == 0) continue;
		at += bit_first(found);
		return at < bits ? at : BITMAP_NONE;
	}
	return BITMAP_NONE;
}
