// SPDX-License-Identifier: Apache-2.0
// File names in a configuration, see names.h. The text is foreign: any bytes, no terminator.
#include "boot/efi/names.h"

#include "kernel/lib/string.h"

void names_init(struct names *names, const void *text, size_t bytes) {
	names->at = text;
	names->end = names->at + bytes;
}

static bool allowed(char c) { return (uint8_t)c >= ' ' && c != 0x7f && !strchr("\"\\*?", c); }

static bool is_path(const char *name, size_t len) {
	if (len == 0 || len >= BOOT_NAME_BYTES) return false;
	size_t part = 0; // start of the current part
	for (size_t i = 0; i <= len; i++) {
		if (i < len && name[i] != '/') {
			if (!allowed(name[i])) return false;
			continue;
		}
		size_t part_len = i - part;
		bool dots = part_len > 0 && part_len <= 2 && name[part] == '.' && name[i - 1] == '.';
		if (part_len == 0 || dots) return false;
		part = i + 1;
	}
	return true;
}

// Steps over the string whose opening quote was just passed; *len = its bytes, the quotes not counted.
static const char *take_string(struct names *names, char quote, size_t *len) {
	const char *start = names->at;
	while (names->at < names->end && *names->at != quote && *names->at != '\n') {
		if (quote == '"' && *names->at == '\\' && names->end - names->at > 1) names->at++;
		names->at++;
	}
	*len = (size_t)(names->at - start);
	bool closed = names->at < names->end && *names->at == quote;
	if (closed) names->at++;
	return closed ? start : NULL;
}

bool names_next(struct names *names, char name[BOOT_NAME_BYTES]) {
	while (names->at < names->end) {
		char c = *names->at++;
		if (c == '#') { // a comment: quotes in it open nothing
			while (names->at < names->end && *names->at != '\n') names->at++;
			continue;
		}
		if (c != '"' && c != '\'') continue;
		size_t len;
		const char *start = take_string(names, c, &len);
		if (!start || !is_path(start, len)) continue;
		memcpy(name, start, len);
		name[len] = 0;
		return true;
	}
	return false;
}

// Decodes one character of a terminated string; 0 when it is not UTF-8 of the basic plane.
static uint16_t utf8_unit(const uint8_t **at) {
	const uint8_t *p = *at;
	if (p[0] < 0x80) {
		*at += 1;
		return p[0];
	}
	if (p[0] >= 0xc2 && p[0] < 0xe0 && (p[1] & 0xc0) == 0x80) {
		*at += 2;
		return (uint16_t)((p[0] & 0x1f) << 6 | (p[1] & 0x3f));
	}
	if ((p[0] & 0xf0) == 0xe0 && (p[1] & 0xc0) == 0x80 && (p[2] & 0xc0) == 0x80) {
		*at += 3;
		uint16_t unit = (uint16_t)((p[0] & 0x0f) << 12 | (p[1] & 0x3f) << 6 | (p[2] & 0x3f));
		bool surrogate = unit >= 0xd800 && unit < 0xe000;
		return unit < 0x800 || surrogate ? 0 : unit;
	}
	return 0;
}

bool names_path(uint16_t *path, size_t count, const char *prefix, const char *name) {
	size_t used = 0;
	const char *const parts[] = {prefix, name};
	for (size_t i = 0; i < array_count(parts); i++) {
		for (const uint8_t *at = (const uint8_t *)parts[i]; *at;) {
			uint16_t unit = utf8_unit(&at);
			if (unit == 0 || used + 1 >= count) return false;
			path[used++] = unit == '/' ? '\\' : unit;
		}
	}
	if (used >= count) return false;
	path[used] = 0;
	return true;
}
