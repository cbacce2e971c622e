// SPDX-License-Identifier: Apache-2.0
// boot/efi/names: which strings of a configuration are taken for files, and their UCS-2 paths.
#include "tests/unit/support.h"

#include "boot/efi/names.h"

// All names of `text`, joined by '|'. The copy has no terminator, so that reading too far is seen.
static const char *names_of(const char *text) {
	static char joined[1024];
	size_t len = strlen(text);
	char *copy = malloc(len + (len == 0));
	memcpy(copy, text, len);
	struct names names;
	char name[BOOT_NAME_BYTES];
	joined[0] = 0;
	names_init(&names, copy, len);
	while (names_next(&names, name)) {
		if (joined[0]) strcat(joined, "|");
		strcat(joined, name);
	}
	free(copy);
	return joined;
}

static void next_finds_both_kinds_of_string(void **state __unused_arg) {
	assert_string_equal(names_of("kernel = \"vmlinuz\"\ninitrd = 'boot/initrd.img'\nlist = [\"a\", 'b']"),
	                    "vmlinuz|boot/initrd.img|a|b");
	assert_string_equal(names_of(""), "");
	assert_string_equal(names_of("x = 1"), "");
}

static void next_comment_quotes_open_nothing(void **state __unused_arg) {
	assert_string_equal(names_of("# don't \"read\nkernel = \"a\" # it's \"b\"\ninitrd = 'c'"), "a|c");
	assert_string_equal(names_of("kernel = \"a#b\""), "a#b");
}

static void next_unclosed_string_ends_with_its_line(void **state __unused_arg) {
	assert_string_equal(names_of("a = \"open\nb = 'x'"), "x");
	assert_string_equal(names_of("a = 'open"), "");
	assert_string_equal(names_of("a = \""), "");
	assert_string_equal(names_of("a = \"\\"), "");
}

static void next_paths_that_leave_the_folder_are_no_names(void **state __unused_arg) {
	assert_string_equal(names_of("'/a' '../a' 'a/../b' './a' 'a/.' 'a//b' 'a/' '' '..' '.' 'a\\b' 'a*' 'a?'"),
	                    "");
	assert_string_equal(names_of("'...' '..a' 'a..' '.a' 'a/.b/c'"), "...|..a|a..|.a|a/.b/c");
}

static void next_escaped_string_is_passed_over_whole(void **state __unused_arg) {
	assert_string_equal(names_of("a = \"x\\\"y\" b = 'z'"), "z");
}

static void next_name_length_is_bounded(void **state __unused_arg) {
	char text[BOOT_NAME_BYTES + 3];
	memset(text, 'n', sizeof text);
	text[0] = text[BOOT_NAME_BYTES + 1] = '"';
	text[BOOT_NAME_BYTES + 2] = 0;
	assert_string_equal(names_of(text), "");
	text[BOOT_NAME_BYTES] = '"';
	text[BOOT_NAME_BYTES + 1] = 0;
	assert_int_equal(strlen(names_of(text)), BOOT_NAME_BYTES - 1);
}

static void path_has_prefix_and_backslashes(void **state __unused_arg) {
	uint16_t path[32];
	assert_true(names_path(path, array_count(path), "\\b\\", "s/\xc3\xa4\xe2\x82\xac"));
	static const uint16_t expected[] = {'\\', 'b', '\\', 's', '\\', 0xe4, 0x20ac, 0};
	assert_memory_equal(path, expected, sizeof expected);
}

static void path_that_does_not_fit_is_refused(void **state __unused_arg) {
	uint16_t path[6];
	assert_true(names_path(path, 6, "ab", "cde"));
	assert_false(names_path(path, 5, "ab", "cde"));
	assert_false(names_path(path, 0, "", ""));
	assert_true(names_path(path, 1, "", ""));
}

static void path_bad_utf8_is_refused(void **state __unused_arg) {
	uint16_t path[16];
	static const char *const bad[] = {"\x80",         "\xc0\x80",         "\xc3", "\xe2\x82", "\xed\xa0\x80",
	                                  "\xe0\x80\x80", "\xf0\x9f\x98\x80", "\xff"};
	for (size_t i = 0; i < array_count(bad); i++)
		assert_false(names_path(path, array_count(path), "", bad[i]));
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(next_finds_both_kinds_of_string),
	    cmocka_unit_test(next_comment_quotes_open_nothing),
	    cmocka_unit_test(next_unclosed_string_ends_with_its_line),
	    cmocka_unit_test(next_paths_that_leave_the_folder_are_no_names),
	    cmocka_unit_test(next_escaped_string_is_passed_over_whole),
	    cmocka_unit_test(next_name_length_is_bounded),
	    cmocka_unit_test(path_has_prefix_and_backslashes),
	    cmocka_unit_test(path_that_does_not_fit_is_refused),
	    cmocka_unit_test(path_bad_utf8_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
