// SPDX-License-Identifier: Apache-2.0
// kernel/toml and tomlstring: events and positions, UTF-8, integers, escapes. The comparison with another
// reader of the language is tests/system/test_config_toml.py.
#include "tests/unit/support.h"

#include "kernel/lib/err.h"
#include "kernel/toml.h"
#include "kernel/tomlstring.h"

static char last_error[512];
static void keep_line(void *context __unused_arg, const char *text) {
	snprintf(last_error, sizeof last_error, "%s", text);
}
static struct toml_report report = {.line = keep_line};
static char pool[256];

static struct toml open_text(const char *text) {
	struct toml toml;

	last_error[0] = 0;
	assert_int_equal(toml_open(&toml, "f", text, strlen(text), pool, sizeof pool, &report), 0);
	return toml;
}

static void next_statements_come_in_order_with_positions(void **state __unused_arg) {
	struct toml toml = open_text("# c\n\n[a]\r\n  key = 1 # c\n[[b]]\nx = 'é'");
	struct toml_value value;

	assert_int_equal(toml_next(&toml), TOML_TABLE);
	assert_memory_equal(toml.name, "a", 1);
	assert_int_equal(toml.name_at.line, 3);
	assert_int_equal(toml_next(&toml), TOML_KEY);
	assert_int_equal(toml.name_bytes, 3);
	assert_int_equal(toml.name_at.column, 3);
	assert_int_equal(toml_value(&toml, &value), 0);
	assert_int_equal(value.type, TOML_INTEGER);
	assert_int_equal(value.integer, 1);
	assert_int_equal(value.at.line, 4);
	assert_int_equal(value.at.column, 9);
	assert_int_equal(toml_next(&toml), TOML_TABLE_ARRAY);
	assert_int_equal(toml_next(&toml), TOML_KEY);
	assert_int_equal(toml_value(&toml, &value), 0);
	assert_string_equal(value.string, "é");
	assert_int_equal(value.length, 2);
	assert_int_equal(toml_next(&toml), TOML_END);
	assert_int_equal(toml_next(&toml), TOML_END);
	assert_string_equal(last_error, "");
}

static void element_list_over_lines_is_read(void **state __unused_arg) {
	struct toml toml = open_text("l = [1, # one\n\t'two' ,\n]\nm = []");
	struct toml_value value;

	assert_int_equal(toml_next(&toml), TOML_KEY);
	assert_int_equal(toml_value(&toml, &value), 0);
	assert_int_equal(value.type, TOML_LIST);
	assert_int_equal(toml_element(&toml, &value), 0);
	assert_int_equal(value.integer, 1);
	assert_int_equal(toml_element(&toml, &value), 0);
	assert_string_equal(value.string, "two");
	assert_int_equal(value.at.line, 2);
	assert_int_equal(toml_element(&toml, &value), 0);
	assert_int_equal(value.type, TOML_NONE);
	assert_int_equal(toml_next(&toml), TOML_KEY);
	assert_int_equal(toml.name_at.line, 4);
	assert_int_equal(toml_value(&toml, &value), 0);
	assert_int_equal(toml_element(&toml, &value), 0);
	assert_int_equal(value.type, TOML_NONE);
}

static void value_pool_exhausted_is_refused(void **state __unused_arg) {
	struct toml toml;
	struct toml_value value;
	char small[4];

	assert_int_equal(toml_open(&toml, "f", "a = 'abc'\nb = ''", 16, small, sizeof small, &report), 0);
	assert_int_equal(toml_next(&toml), TOML_KEY);
	assert_int_equal(toml_value(&toml, &value), 0);
	assert_string_equal(value.string, "abc");
	assert_int_equal(toml_next(&toml), TOML_KEY);
	assert_int_equal(toml_value(&toml, &value), -ERR_FORMAT);
	assert_string_equal(last_error, "f:2:5: the strings of this file are too long");
}

static void open_text_ending_inside_a_sequence_is_refused(void **state __unused_arg) {
	struct toml toml;

	assert_int_equal(toml_open(&toml, "f", "a\nb\xe6\xbc", 5, pool, sizeof pool, &report), -ERR_FORMAT);
	assert_string_equal(last_error, "f:2:2: byte 0xe6 is not UTF-8");
}

// Encodes every scalar value by the definition and checks its neighbourhood.
static void utf8_every_scalar_is_valid_and_surrogates_are_not(void **state __unused_arg) {
	for (uint32_t c = 0; c <= 0x110000; c++) {
		uint8_t raw[4];
		size_t len;

		if (c < 0x80) {
			raw[0] = (uint8_t)c;
			len = 1;
		} else if (c < 0x800) {
			raw[0] = (uint8_t)(0xc0 | c >> 6);
			raw[1] = (uint8_t)(0x80 | (c & 63));
			len = 2;
		} else if (c < 0x10000) {
			raw[0] = (uint8_t)(0xe0 | c >> 12);
			raw[1] = (uint8_t)(0x80 | (c >> 6 & 63));
			raw[2] = (uint8_t)(0x80 | (c & 63));
			len = 3;
		} else {
			raw[0] = (uint8_t)(0xf0 | c >> 18);
			raw[1] = (uint8_t)(0x80 | (c >> 12 & 63));
			raw[2] = (uint8_t)(0x80 | (c >> 6 & 63));
			raw[3] = (uint8_t)(0x80 | (c & 63));
			len = 4;
		}
		bool scalar = c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
		assert_int_equal(utf8_valid_bytes(raw, len), scalar ? len : 0);
		if (len > 1) assert_int_equal(utf8_valid_bytes(raw, len - 1), 0);
	}
}

static void integer_forms_and_limits(void **state __unused_arg) {
	static const struct {
		const char *text;
		int rc;
		int64_t value;
	} cases[] = {
	    {"0", 0, 0},
	    {"-0", 0, 0},
	    {"+17", 0, 17},
	    {"1_000", 0, 1000},
	    {"0xDEAD_beef", 0, 0xdeadbeef},
	    {"0o17", 0, 15},
	    {"0b101", 0, 5},
	    {"9223372036854775807", 0, INT64_MAX},
	    {"-9223372036854775808", 0, INT64_MIN},
	    {"0x7fffffffffffffff", 0, INT64_MAX},
	    {"9223372036854775808", -ERR_RANGE, 0},
	    {"-9223372036854775809", -ERR_RANGE, 0},
	    {"0xffffffffffffffff", -ERR_RANGE, 0},
	    {"99999999999999999999999", -ERR_RANGE, 0},
	    {"", -ERR_FORMAT, 0},
	    {"+", -ERR_FORMAT, 0},
	    {"-", -ERR_FORMAT, 0},
	    {"01", -ERR_FORMAT, 0},
	    {"-01", -ERR_FORMAT, 0},
	    {"0x", -ERR_FORMAT, 0},
	    {"0x_1", -ERR_FORMAT, 0},
	    {"0X1", -ERR_FORMAT, 0},
	    {"-0x1", -ERR_FORMAT, 0},
	    {"0o8", -ERR_FORMAT, 0},
	    {"0b2", -ERR_FORMAT, 0},
	    {"_1", -ERR_FORMAT, 0},
	    {"1_", -ERR_FORMAT, 0},
	    {"1__0", -ERR_FORMAT, 0},
	    {"1a", -ERR_FORMAT, 0},
	    {"1.5", -ERR_FORMAT, 0},
	    {"99999999999999999999999x", -ERR_FORMAT, 0},
	};

	for (size_t i = 0; i < array_count(cases); i++) {
		int64_t value = 0;
		int rc = tomlstring_integer(cases[i].text, strlen(cases[i].text), &value);

		if (rc != cases[i].rc || value != cases[i].value)
			fail_msg("%s: %d, %ld", cases[i].text, rc, (long)value);
	}
}

static void string_escapes_are_decoded(void **state __unused_arg) {
	struct toml toml = open_text("s = \"\\b\\t\\n\\f\\r\\\"\\\\\\u00e9\\u6f22\\U0001F600\"");
	struct toml_value value;

	assert_int_equal(toml_next(&toml), TOML_KEY);
	assert_int_equal(toml_value(&toml, &value), 0);
	assert_string_equal(value.string, "\b\t\n\f\r\"\\é漢😀");
	assert_true(value.escaped);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(next_statements_come_in_order_with_positions),
	    cmocka_unit_test(element_list_over_lines_is_read),
	    cmocka_unit_test(value_pool_exhausted_is_refused),
	    cmocka_unit_test(open_text_ending_inside_a_sequence_is_refused),
	    cmocka_unit_test(utf8_every_scalar_is_valid_and_surrogates_are_not),
	    cmocka_unit_test(integer_forms_and_limits),
	    cmocka_unit_test(string_escapes_are_decoded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
