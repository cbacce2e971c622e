// SPDX-License-Identifier: Apache-2.0
// Characters, escapes and integers of TOML 1.0.
#include "kernel/tomlstring.h"

#include "kernel/lib/err.h"
#include "kernel/lib/string.h"

// Well-formed sequences (Unicode 15, table 3-7): the second byte's range depends on the first.
static size_t utf8_sequence(const uint8_t *at, size_t left) {
	uint8_t low = 0x80, high = 0xbf;
	size_t len;

	if (at[0] < 0x80) return 1;
	if (at[0] >= 0xc2 && at[0] <= 0xdf)
		len = 2;
	else if (at[0] >= 0xe0 && at[0] <= 0xef)
		len = 3;
	else if (at[0] >= 0xf0 && at[0] <= 0xf4)
		len = 4;
	else
		return 0;
	if (at[0] == 0xe0) low = 0xa0;
	if (at[0] == 0xed) high = 0x9f;
	if (at[0] == 0xf0) low = 0x90;
	if (at[0] == 0xf4) high = 0x8f;
	if (left < len || at[1] < low || at[1] > high) return 0;
	for (size_t i = 2; i < len; i++)
		if ((at[i] & 0xc0) != 0x80) return 0;
	return len;
}

size_t utf8_valid_bytes(const void *text, size_t bytes) {
	size_t at = 0;

	while (at < bytes) {
		size_t len = utf8_sequence((const uint8_t *)text + at, bytes - at);

		if (len == 0) break;
		at += len;
	}
	return at;
}

static void append(struct toml_string *string, uint32_t byte) {
	if (string->length < string->room) string->pool[string->length] = (char)byte;
	string->length++;
}

static void append_scalar(struct toml_string *string, uint32_t c) {
	if (c < 0x80) {
		append(string, c);
	} else if (c < 0x800) {
		append(string, 0xc0 | c >> 6);
		append(string, 0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		append(string, 0xe0 | c >> 12);
		append(string, 0x80 | (c >> 6 & 0x3f));
		append(string, 0x80 | (c & 0x3f));
	} else {
		append(string, 0xf0 | c >> 18);
		append(string, 0x80 | (c >> 12 & 0x3f));
		append(string, 0x80 | (c >> 6 & 0x3f));
		append(string, 0x80 | (c & 0x3f));
	}
}

static unsigned digit(char c) {
	if (c >= '0' && c <= '9') return (unsigned)(c - '0');
	if (c >= 'a' && c <= 'f') return (unsigned)(c - 'a') + 10;
	if (c >= 'A' && c <= 'F') return (unsigned)(c - 'A') + 10;
	return 99;
}

size_t tomlstring_unit(struct toml_string *string, const char *text, size_t bytes, bool basic,
                       const char **problem) {
	static const char names[] = "btnfr\"\\", codes[] = "\b\t\n\f\r\"\\";

	if (!basic || text[0] != '\\') {
		append(string, (uint8_t)text[0]);
		return 1;
	}
	string->escaped = true;
	*problem = "unknown escape: \\b \\t \\n \\f \\r \\\" \\\\ \\uXXXX and \\UXXXXXXXX are allowed";
	if (bytes < 2 || text[1] == 0) return 0;

	const char *found = strchr(names, text[1]);
	if (found != NULL) {
		append(string, (uint8_t)codes[found - names]);
		return 2;
	}
	if (text[1] != 'u' && text[1] != 'U') return 0;

	size_t digits = text[1] == 'u' ? 4 : 8;
	uint32_t c = 0;
	for (size_t i = 0; i < digits; i++) {
		unsigned d = 2 + i < bytes ? digit(text[2 + i]) : 99;

		if (d > 15) return 0;
		c = c << 4 | d;
	}
	*problem = "the escape is no character: U+0001 to U+D7FF and U+E000 to U+10FFFF are allowed";
	if (c == 0 || (c >= 0xd800 && c <= 0xdfff) || c > 0x10ffff) return 0;
	append_scalar(string, c);
	return 2 + digits;
}

int tomlstring_integer(const char *text, size_t len, int64_t *value) {
	bool negative = len != 0 && text[0] == '-', sign = negative || (len != 0 && text[0] == '+');
	unsigned base = 10;
	size_t at = sign ? 1 : 0;
	uint64_t limit = (uint64_t)INT64_MAX + (negative ? 1 : 0), sum = 0;
	bool overflow = false, after_digit = false;

	if (!sign && len > 2 && text[0] == '0') {
		base = text[1] == 'x' ? 16 : text[1] == 'o' ? 8 : text[1] == 'b' ? 2 : 10;
		if (base != 10) at = 2;
	}
	if (base == 10 && len - at > 1 && text[at] == '0') return -ERR_FORMAT; // no leading zeros
	for (; at < len; at++) {
		unsigned d = digit(text[at]);

		if (text[at] == '_' && after_digit) { // only between two digits
			after_digit = false;
			continue;
		}
		if (d >= base) return -ERR_FORMAT;
		after_digit = true;
		if (sum > (limit - d) / base)
			overflow = true;
		else
			sum = sum * base + d;
	}
	if (!after_digit) return -ERR_FORMAT;
	if (overflow) return -ERR_RANGE;
	*value = (int64_t)(negative ? 0 - sum : sum);
	return 0;
}
