// SPDX-License-Identifier: Apache-2.0
// One table of the options there are.
#include "kernel/option.h"

#include "kernel/arch.h"
#include "kernel/lib/err.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/string.h"

struct word {
	const char *text;
	size_t len;
};

#define COUNT_MAX 1000000000u

// A whole word of decimal digits, 1 to COUNT_MAX.
static bool count_read(struct word w, uint32_t *value) {
	uint64_t v = 0;
	if (w.len == 0) return false;
	for (size_t i = 0; i < w.len; i++) {
		if (w.text[i] < '0' || w.text[i] > '9') return false;
		v = v * 10 + (uint64_t)(w.text[i] - '0');
		if (v > COUNT_MAX) return false;
	}
	*value = (uint32_t)v;
	return v > 0;
}

static bool stress_save_read(struct option *o, struct word value) {
	return count_read(value, &o->stress_save);
}

static bool stress_fault_read(struct option *o, struct word value) {
	static const char *const name[] = {"", "ud", "pf", "stack", "assert"};
	for (uint32_t i = 1; i < array_count(name); i++)
		if (strlen(name[i]) == value.len && memcmp(name[i], value.text, value.len) == 0) {
			o->stress_fault = i;
			return true;
		}
	return false;
}

// Names, separated by commas; those of several words add up.
static bool off_read(struct option *o, struct word value) {
	for (size_t at = 0; at <= value.len;) {
		size_t end = at;
		while (end < value.len && value.text[end] != ',') end++;
		uint64_t bit = arch_feature_bit(value.text + at, end - at);
		if (bit == 0) return false;
		o->features_off |= bit;
		at = end + 1;
	}
	return true;
}

static const struct {
	const char *prefix, *usage;
	bool (*read)(struct option *o, struct word value);
} table[] = {
    {"stress=save:", "stress=save:N with N from 1 to 1000000000", stress_save_read},
    {"stress=fault:", "stress=fault:KIND with KIND ud, pf, stack or assert", stress_fault_read},
    {"off=", "off=NAME,NAME... with NAME", off_read},
};

static bool starts_with(struct word w, const char *prefix, size_t len) {
	return w.len >= len && memcmp(w.text, prefix, len) == 0;
}

#define SHOWN_MAX 40
#define OPTION_OFF (array_count(table) - 1) // the last row

// The line's end: how the words are written, or how this one is. Only the features' names come from elsewhere.
static void usage_append(struct option_why *why, size_t at, unsigned first, unsigned last) {
	for (unsigned i = first; i <= last; i++)
		at += fmt_print(why->text + at, sizeof why->text - at, i > first ? ", %s" : "%s", table[i].usage);
	if (last != OPTION_OFF) return;
	at += fmt_print(why->text + at, sizeof why->text - at, " ");
	arch_feature_names(why->text + at, sizeof why->text - at);
}

static int word_take(struct option *o, struct word w, struct option_why *why) {
	int shown = w.len > SHOWN_MAX ? SHOWN_MAX : (int)w.len;
	for (unsigned i = 0; i < array_count(table); i++) {
		size_t len = strlen(table[i].prefix);
		if (!starts_with(w, table[i].prefix, len)) continue;
		if (table[i].read(o, (struct word){.text = w.text + len, .len = w.len - len})) return 0;
		usage_append(
		    why, fmt_print(why->text, sizeof why->text, "option \"%.*s\": allowed is ", shown, w.text), i, i);
		return -ERR_INVAL;
	}
	usage_append(why,
	             fmt_print(why->text, sizeof why->text, "unknown option \"%.*s\": there is ", shown, w.text),
	             0, OPTION_OFF);
	return -ERR_INVAL;
}

static bool separates(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\0'; }

int option_parse(struct option *option, const char *text, size_t bytes, struct option_why *why) {
	for (size_t at = 0; at < bytes;) {
		size_t end = at;
		while (end < bytes && !separates(text[end])) end++;
		if (end > at) {
			int err = word_take(option, (struct word){.text = text + at, .len = end - at}, why);
			if (err < 0) return err;
		}
		at = end + 1;
	}
	return 0;
}
