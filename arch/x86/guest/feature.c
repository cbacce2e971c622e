// SPDX-License-Identifier: Apache-2.0
// The table of feature.h by name and by number.
#include "arch/x86/guest/feature.h"

#include "kernel/arch.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/string.h"

#define FEATURE_ROW(id, feature_name, by) {.name = feature_name, .vendors = by},
static const struct {
	const char *name;
	uint32_t vendors;
} table[FEATURE_COUNT] = {FEATURE_ROWS(FEATURE_ROW)};

static uint64_t off;
struct guest_features guest_features;

bool feature_off(enum feature feature) { return (off >> feature & 1) != 0; }
void feature_off_set(uint64_t mask) { off = mask; }

void feature_names(uint64_t mask, uint32_t vendors, char *text, size_t bytes) {
	size_t at = 0;
	text[0] = '\0';
	for (unsigned i = 0; i < FEATURE_COUNT; i++)
		if ((mask >> i & 1) != 0 && (table[i].vendors & vendors) != 0 && at < bytes)
			at += fmt_print(text + at, bytes - at, at > 0 ? " %s" : "%s", table[i].name);
}

uint64_t arch_feature_bit(const char *name, size_t len) {
	for (unsigned i = 0; i < FEATURE_COUNT; i++)
		if (strlen(table[i].name) == len && memcmp(table[i].name, name, len) == 0) return BIT64(i);
	return 0;
}

void arch_feature_names(char *text, size_t bytes) { feature_names(UINT64_MAX, FEATURE_BOTH, text, bytes); }
