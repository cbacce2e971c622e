// SPDX-License-Identifier: Apache-2.0
// Binary search in the generated table: offsets from the image's start in ascending order, names in one string.
#include "kernel/symbols.h"

struct symbol {
	uint32_t offset, name;
};
extern const struct symbol symbol_table[];
extern const uint32_t symbol_count;
extern const char symbol_names[];
extern const unsigned char __image_start[], __text_end[];

const char *symbol_find(uint64_t address, uint64_t *offset) {
	uint64_t base = (uint64_t)(uintptr_t)__image_start;
	if (address < base || address >= (uint64_t)(uintptr_t)__text_end || symbol_count == 0) return NULL;
	uint64_t at = address - base;
	uint32_t low = 0, high = symbol_count;
	while (high - low > 1) {
		uint32_t middle = (low + high) / 2;
		if (symbol_table[middle].offset <= at)
			low = middle;
		else
			high = middle;
	}
	if (symbol_table[low].offset > at) return NULL;
	*offset = at - symbol_table[low].offset;
	return symbol_names + symbol_table[low].name;
}
