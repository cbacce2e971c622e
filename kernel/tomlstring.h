// SPDX-License-Identifier: Apache-2.0
// The character level of the TOML reader: UTF-8, string escapes, integers. Used by kernel/toml only.
#pragma once

#include "kernel/lib/types.h"

// How many of the bytes form well-formed UTF-8 (no overlong forms, no surrogates, at most U+10FFFF).
size_t utf8_valid_bytes(const void *text, size_t bytes);

struct toml_string {
	char *pool;
	size_t room, length; // bytes; length may pass room, what does not fit is dropped
	bool escaped;
};

// Decodes one unit (a byte, or with `basic` an escape sequence) and appends it. Returns the bytes used, or 0
// with *problem set.
size_t tomlstring_unit(struct toml_string *string, const char *text, size_t bytes, bool basic,
                       const char **problem);

// A whole TOML integer: decimal with optional sign, 0x, 0o, 0b, single underscores between digits.
// -ERR_FORMAT, or -ERR_RANGE when it does not fit.
__must_check int tomlstring_integer(const char *text, size_t len, int64_t *value);
