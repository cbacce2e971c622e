// SPDX-License-Identifier: Apache-2.0
// The reader of the TOML subset. One cursor over text that toml_open has proved to be UTF-8, so all later
// code looks at bytes; columns are counted when an error needs one.
#include "kernel/toml.h"

#include "kernel/lib/err.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/string.h"
#include "kernel/tomlstring.h"

#define ERROR_LINE_BYTES 384u

void toml_error(const char *file, struct toml_report *report, struct toml_at at, const char *format, ...) {
	char line[ERROR_LINE_BYTES];
	va_list args;
	size_t len;

	if (at.line != 0)
		len = fmt_print(line, sizeof line, "%s:%u:%u: ", file, at.line, at.column);
	else
		len = fmt_print(line, sizeof line, "%s: ", file);
	if (len >= sizeof line) len = sizeof line - 1;
	va_start(args, format);
	fmt_vprint(line + len, sizeof line - len, format, args);
	va_end(args);
	report->errors++;
	report->line(report->context, line);
}

static struct toml_at at_offset(const struct toml *toml, size_t offset) {
	uint32_t column = 1;

	for (size_t i = toml->line_offset; i < offset; i++)
		if (((uint8_t)toml->text[i] & 0xc0) != 0x80) column++; // not a UTF-8 continuation byte
	return (struct toml_at){toml->line, column};
}

static struct toml_at at_here(const struct toml *toml) { return at_offset(toml, toml->offset); }

#define fail_at(toml, at, ...) (toml_error((toml)->file, (toml)->report, at, __VA_ARGS__), -ERR_FORMAT)
#define fail_here(toml, ...) fail_at(toml, at_here(toml), __VA_ARGS__)

// 0 at the end; a 0 byte in the file is refused like every other control character.
static char peek(const struct toml *toml) {
	return toml->offset < toml->bytes ? toml->text[toml->offset] : (char)0;
}
static bool at_end(const struct toml *toml) { return toml->offset >= toml->bytes; }

static bool is_control(char c) { return ((uint8_t)c < 0x20 && c != '\t') || c == 0x7f; }
static bool is_bare(char c) {
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
}

static bool at_newline(const struct toml *toml) {
	return peek(toml) == '\n' ||
	       (peek(toml) == '\r' && toml->offset + 1 < toml->bytes && toml->text[toml->offset + 1] == '\n');
}

static void skip_newline(struct toml *toml) {
	toml->offset += peek(toml) == '\r' ? 2 : 1;
	toml->line++;
	toml->line_offset = toml->offset;
}

static void skip_space(struct toml *toml) {
	while (peek(toml) == ' ' || peek(toml) == '\t') toml->offset++;
}

// Spaces and a comment; stops before the newline or at the end.
static int skip_rest(struct toml *toml) {
	skip_space(toml);
	if (peek(toml) != '#') return 0;
	while (!at_end(toml) && !at_newline(toml)) {
		if (is_control(peek(toml))) return fail_here(toml, "control character in a comment");
		toml->offset++;
	}
	return 0;
}

// After a statement nothing but a comment may stand on its line.
static int end_of_line(struct toml *toml, const char *after) {
	int rc = skip_rest(toml);

	if (rc != 0) return rc;
	if (at_end(toml)) return 0;
	if (!at_newline(toml))
		return fail_here(toml, "unexpected text after %s: only a # comment may follow", after);
	skip_newline(toml);
	return 0;
}

int toml_open(struct toml *toml, const char *file, const void *text, size_t bytes, char *pool,
              size_t pool_bytes, struct toml_report *report) {
	size_t valid = utf8_valid_bytes(text, bytes);

	*toml = (struct toml){.file = file,
	                      .report = report,
	                      .text = text,
	                      .bytes = bytes,
	                      .line = 1,
	                      .pool = pool,
	                      .pool_bytes = pool_bytes};
	if (bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		return fail_here(toml, "the file begins with a byte order mark; save it as plain UTF-8");
	if (valid == bytes) return 0;
	for (; toml->offset < valid; toml->offset++) {
		if (peek(toml) != '\n') continue;
		toml->line++;
		toml->line_offset = toml->offset + 1;
	}
	return fail_here(toml, "byte 0x%02x is not UTF-8", (unsigned)(uint8_t)toml->text[valid]);
}

static int read_name(struct toml *toml) {
	toml->name_at = at_here(toml);
	toml->name = toml->text + toml->offset;
	while (is_bare(peek(toml))) toml->offset++;
	toml->name_bytes = (size_t)(toml->text + toml->offset - toml->name);
	return 0;
}

static enum toml_event table_header(struct toml *toml) {
	struct toml_at start = at_here(toml);
	bool array = toml->offset + 1 < toml->bytes && toml->text[toml->offset + 1] == '[';

	toml->offset += array ? 2 : 1;
	skip_space(toml);
	read_name(toml);
	if (toml->name_bytes == 0) {
		(void)fail_here(toml, "a table name is expected: letters, digits, _ and -");
		return TOML_ERROR;
	}
	skip_space(toml);
	if (peek(toml) == '.') {
		(void)fail_here(toml, "nested tables are not supported");
		return TOML_ERROR;
	}
	for (int i = 0; i < (array ? 2 : 1); i++, toml->offset++) {
		if (peek(toml) == ']') continue;
		(void)fail_here(toml, "%s is expected after the table name", array ? "]]" : "]");
		return TOML_ERROR;
	}
	if (end_of_line(toml, "a table header") != 0) return TOML_ERROR;
	toml->name_at = start; // errors about a table point at its bracket
	return array ? TOML_TABLE_ARRAY : TOML_TABLE;
}

static enum toml_event key(struct toml *toml) {
	read_name(toml);
	if (toml->name_bytes == 0) {
		if (peek(toml) == '"' || peek(toml) == '\'')
			(void)fail_here(toml, "write the key without quotes");
		else
			(void)fail_here(toml, "a key, [table] or # comment is expected");
		return TOML_ERROR;
	}
	skip_space(toml);
	if (peek(toml) == '.') {
		(void)fail_here(toml, "dotted keys are not supported: write [table], then key = value");
		return TOML_ERROR;
	}
	if (peek(toml) != '=') {
		(void)fail_here(toml, "= is expected after the key \"%.*s\"",
		                (int)(toml->name_bytes < 40 ? toml->name_bytes : 40), toml->name);
		return TOML_ERROR;
	}
	toml->offset++;
	skip_space(toml);
	return TOML_KEY;
}

enum toml_event toml_next(struct toml *toml) {
	for (;;) {
		if (skip_rest(toml) != 0) return TOML_ERROR;
		if (at_end(toml)) return TOML_END;
		if (!at_newline(toml)) break;
		skip_newline(toml);
	}
	return peek(toml) == '[' ? table_header(toml) : key(toml);
}

static int string_value(struct toml *toml, struct toml_value *value) {
	struct toml_string string = {.pool = toml->pool + toml->pool_used,
	                             .room = toml->pool_bytes - toml->pool_used};
	char quote = peek(toml);

	if (toml->bytes - toml->offset >= 3 && toml->text[toml->offset + 1] == quote &&
	    toml->text[toml->offset + 2] == quote)
		return fail_here(toml, "multi-line strings are not supported: use one pair of quotes");
	toml->offset++;
	while (peek(toml) != quote || at_end(toml)) {
		if (at_end(toml) || at_newline(toml))
			return fail_at(toml, value->at, "the string is not closed before the end of its line");
		if (is_control(peek(toml))) return fail_here(toml, "control character in a string");

		const char *problem;
		size_t used = tomlstring_unit(&string, toml->text + toml->offset, toml->bytes - toml->offset,
		                              quote == '"', &problem);
		if (used == 0) return fail_here(toml, "%s", problem);
		toml->offset += used;
	}
	toml->offset++;
	if (string.length >= string.room)
		return fail_at(toml, value->at, "the strings of this file are too long");
	string.pool[string.length] = 0;
	toml->pool_used += string.length + 1;
	value->type = TOML_STRING;
	value->string = string.pool;
	value->length = string.length;
	value->escaped = string.escaped;
	return 0;
}

// Integers and booleans: the longest run of characters that any TOML scalar of this kind may have.
static int word_value(struct toml *toml, struct toml_value *value) {
	const char *word = toml->text + toml->offset;
	size_t len = 0;

	while (toml->offset < toml->bytes && (is_bare(peek(toml)) || strchr("+.:", peek(toml)) != NULL)) {
		if (peek(toml) == 0) break;
		toml->offset++;
		len++;
	}
	if (len == 0) {
		if (peek(toml) == '{') return fail_at(toml, value->at, "inline tables are not supported");
		return fail_at(toml, value->at, "a value is expected: \"text\", a number, true, false or [a list]");
	}
	if ((len == 4 && memcmp(word, "true", 4) == 0) || (len == 5 && memcmp(word, "false", 5) == 0)) {
		value->type = TOML_BOOLEAN;
		value->integer = len == 4;
		return 0;
	}
	switch (tomlstring_integer(word, len, &value->integer)) {
	case 0: value->type = TOML_INTEGER; return 0;
	case -ERR_RANGE: return fail_at(toml, value->at, "the number does not fit in 64 bits");
	default:
		return fail_at(toml, value->at,
		               "\"%.*s\" is not a value: \"text\", a whole number, true, false or [a list]",
		               (int)(len < 40 ? len : 40), word);
	}
}

static int scalar(struct toml *toml, struct toml_value *value) {
	*value = (struct toml_value){.at = at_here(toml)};
	return peek(toml) == '"' || peek(toml) == '\'' ? string_value(toml, value) : word_value(toml, value);
}

int toml_value(struct toml *toml, struct toml_value *value) {
	if (peek(toml) == '[') {
		*value = (struct toml_value){.type = TOML_LIST, .at = at_here(toml)};
		toml->list_at = value->at;
		toml->in_list = toml->list_first = true;
		toml->offset++;
		return 0;
	}
	int rc = scalar(toml, value);

	return rc != 0 ? rc : end_of_line(toml, "the value");
}

// Inside a list, comments and newlines count as space.
static int skip_list_space(struct toml *toml) {
	for (;;) {
		int rc = skip_rest(toml);

		if (rc != 0 || at_end(toml) || !at_newline(toml)) return rc;
		skip_newline(toml);
	}
}

int toml_element(struct toml *toml, struct toml_value *value) {
	int rc = skip_list_space(toml);

	if (rc == 0 && !toml->list_first && peek(toml) == ',') {
		toml->offset++;
		rc = skip_list_space(toml);
	} else if (rc == 0 && !toml->list_first && !at_end(toml) && peek(toml) != ']') {
		return fail_here(toml, ", or ] is expected in the list");
	}
	if (rc != 0) return rc;
	if (at_end(toml)) return fail_at(toml, toml->list_at, "the list is not closed: ] is missing");
	if (peek(toml) == ']') {
		toml->offset++;
		*value = (struct toml_value){.type = TOML_NONE};
		toml->in_list = false;
		return end_of_line(toml, "the list");
	}
	if (peek(toml) == '[') return fail_here(toml, "lists of lists are not supported");
	toml->list_first = false;
	return scalar(toml, value);
}
