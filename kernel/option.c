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

// Decimal digits, 1 to COUNT_MAX.
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

static bool stress_entry_read(struct option *o, struct word value) {
	size_t len = 0;
	while (len < value.len && value.text[len] != ',') len++;
	return len < value.len && count_read((struct word){value.text, len}, &o->stress_entry_seed) &&
	       count_read((struct word){value.text + len + 1, value.len - len - 1}, &o->stress_entry);
}

static bool stress_fault_read(struct option *o, struct word value) {
	static const char *const name[] = {"", "ud", "pf", "stack", "assert", "nmi", "entry"};
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

static bool max_run_read(struct option *o, struct word value) { return count_read(value, &o->max_run_us); }

static const struct {
	const char *prefix, *usage;
	bool (*read)(struct option *o, struct word value);
} table[] = {
    {"stress=save:", "stress=save:N with N from 1 to 1000000000", stress_save_read},
    {"stress=fault:", "stress=fault:KIND with KIND ud, pf, stack, assert, nmi or entry", stress_fault_read},
    {"stress=entry:", "stress=entry:SEED,N with both from 1 to 1000000000", stress_entry_read},
    {"max_run_us=", "max_run_us=N with N from 1 to 1000000000", max_run_read},
    {"off=", "off=NAME,NAME... with NAME", off_read},
};

#define SHOWN_MAX 40                        // of a name in messages
#define OPTION_OFF (array_count(table) - 1) // the last row

// The row for the word; array_count(table) when there is none.
static unsigned word_row(struct word w) {
	unsigned i = 0;
	for (; i < array_count(table); i++) {
		size_t len = strlen(table[i].prefix);
		if (w.len >= len && memcmp(w.text, table[i].prefix, len) == 0) break;
	}
	return i;
}

// The line's end: how the words are written, or how this one is. Only the features' names come from elsewhere.
static int word_refuse(struct word w, unsigned row, size_t at, struct option_why *why) {
	bool known = row <= OPTION_OFF;
	const char *format = known ? "option \"%.*s\": allowed is %s" : "unknown option \"%.*s\": there is %s";
	unsigned i = known ? row : 0;
	at += fmt_print(why->text + at, sizeof why->text - at, format, w.len > SHOWN_MAX ? SHOWN_MAX : (int)w.len,
	                w.text, table[i].usage);
	while (!known && ++i <= OPTION_OFF && at < sizeof why->text)
		at += fmt_print(why->text + at, sizeof why->text - at, ", %s", table[i].usage);
	if (i >= OPTION_OFF && at < sizeof why->text - 1) {
		why->text[at++] = ' ';
		arch_feature_names(why->text + at, sizeof why->text - at);
	}
	return -ERR_INVAL;
}

// "file:line:column: " of the byte at `offset`; returns its length.
static size_t place_print(const char *file, const char *text, size_t offset, struct option_why *why) {
	unsigned line = 1, column = 1;
	if (file == NULL) return 0;
	for (size_t i = 0; i < offset; i++) {
		column++;
		if (text[i] != '\n') continue;
		line++;
		column = 1;
	}
	return fmt_print(why->text, sizeof why->text, "%.*s:%u:%u: ", SHOWN_MAX, file, line, column);
}

static bool separates(char c) { return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\0'; }

int option_parse(struct option *option, const char *file, const char *text, size_t bytes,
                 struct option_why *why) {
	for (size_t at = 0, end; at < bytes; at = end + 1) {
		for (end = at; end < bytes && !separates(text[end]);) end++;
		if (end == at) continue;
		struct word w = {.text = text + at, .len = end - at}, value = w;
		unsigned row = word_row(w);
		if (row <= OPTION_OFF) {
			size_t len = strlen(table[row].prefix);
			value.text += len;
			value.len -= len;
			if (table[row].read(option, value)) continue;
		}
		return word_refuse(w, row, place_print(file, text, at, why), why);
	}
	return 0;
}
