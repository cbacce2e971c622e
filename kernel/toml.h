// SPDX-License-Identifier: Apache-2.0
// A pull reader of a strict subset of TOML 1.0: comments, [table], [[table]], bare keys, one-line basic and
// literal strings, integers, booleans, and flat lists that may span lines. Whatever it accepts, python3's
// tomllib reads to the same values; what TOML allows beyond the subset is refused by name. No allocation:
// decoded strings go into a pool of the caller. Errors become lines `file:line:column: text`.
#pragma once

#include "kernel/lib/types.h"

// 1-based; column counts characters, not bytes. line 0: nowhere in the file.
struct toml_at {
	uint32_t line, column;
};

// Takes one whole error line without newline; the text is gone after the call.
struct toml_report {
	void (*line)(void *context, const char *text);
	void *context;
	unsigned errors; // reported so far
};

enum toml_type { TOML_NONE, TOML_STRING, TOML_INTEGER, TOML_BOOLEAN, TOML_LIST };

struct toml_value {
	enum toml_type type;
	struct toml_at at;
	const char *string; // TOML_STRING: in the pool, valid UTF-8 without U+0000, terminated
	size_t length;      // TOML_STRING: bytes
	bool escaped;       // TOML_STRING: written with an escape sequence
	int64_t integer;    // TOML_INTEGER, TOML_BOOLEAN (0 or 1)
};

enum toml_event {
	TOML_ERROR = -1, // reported; reading cannot go on
	TOML_END,
	TOML_TABLE,       // [name]
	TOML_TABLE_ARRAY, // [[name]]
	TOML_KEY,         // name =, the value comes from toml_value
};

struct toml {
	const char *file; // for messages
	struct toml_report *report;
	const char *text; // the whole file
	size_t bytes, offset;
	uint32_t line;
	size_t line_offset; // where the line begins
	char *pool;
	size_t pool_bytes, pool_used;
	bool in_list;    // between toml_value's TOML_LIST and the TOML_NONE of toml_element
	bool list_first; // no element of the list read yet
	struct toml_at list_at;
	// Of the last table or key event; points into text, not terminated.
	const char *name;
	size_t name_bytes;
	struct toml_at name_at;
};

// Checks that the text is UTF-8 without a byte order mark. A pool as large as the text never runs out.
// Returns 0 or -ERR_FORMAT (reported).
__must_check int toml_open(struct toml *toml, const char *file, const void *text, size_t bytes, char *pool,
                           size_t pool_bytes, struct toml_report *report);
// The next statement. After TOML_KEY its value must be read, to the end of the list if it is one.
enum toml_event toml_next(struct toml *toml);
// The value of the key just read: a scalar, or TOML_LIST, whose elements toml_element returns. Both return
// 0 or -ERR_FORMAT (reported, reading cannot go on); toml_element gives TOML_NONE after the last element.
__must_check int toml_value(struct toml *toml, struct toml_value *value);
__must_check int toml_element(struct toml *toml, struct toml_value *value);

// Reports `file:line:column: ` and the formatted text; line and column are left out when at.line is 0.
void toml_error(const char *file, struct toml_report *report, struct toml_at at, const char *format, ...)
    __printf_like(4, 5);
