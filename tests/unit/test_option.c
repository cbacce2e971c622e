// SPDX-License-Identifier: Apache-2.0
// The hypervisor's own command line.
#include "kernel/option.h"
#include "kernel/lib/err.h"
#include "tests/unit/support.h"

static int parse(const char *text, struct option *option, struct option_why *why) {
	// Exactly as long as it says, so that a read past the end is seen.
	size_t bytes = strlen(text);
	char *copy = malloc(bytes > 0 ? bytes : 1);
	memcpy(copy, text, bytes);
	int err = option_parse(option, copy, bytes, why);
	free(copy);
	return err;
}

static void accepts(const char *text, uint32_t stress_save) {
	struct option option = {0};
	struct option_why why;
	assert_int_equal(parse(text, &option, &why), 0);
	assert_int_equal(option.stress_save, stress_save);
}

static void refuses(const char *text, const char *line) {
	struct option option = {0};
	struct option_why why;
	assert_int_equal(parse(text, &option, &why), -ERR_INVAL);
	assert_string_equal(why.text, line);
}

static void option_parse_empty_changes_nothing(void **state) {
	(void)state;
	accepts("", 0);
	accepts("  \t\r\n ", 0);
}

static void option_parse_known_words_are_taken(void **state) {
	(void)state;
	accepts("stress=save:1", 1);
	accepts("\tstress=save:250\r\n", 250);
	accepts("stress=save:1000000000", 1000000000);
	accepts("stress=save:3 stress=save:5", 5);
}

#define USAGE "stress=save:N with N from 1 to 1000000000"
#define FAULT " and stress=fault:KIND with KIND ud, pf, stack or assert"

static void option_parse_bad_value_is_named(void **state) {
	(void)state;
	refuses("stress=save:", "option \"stress=save:\": allowed is " USAGE);
	refuses("stress=save:0", "option \"stress=save:0\": allowed is " USAGE);
	refuses("stress=save:-1", "option \"stress=save:-1\": allowed is " USAGE);
	refuses("stress=save:1x", "option \"stress=save:1x\": allowed is " USAGE);
	refuses("stress=save:1000000001", "option \"stress=save:1000000001\": allowed is " USAGE);
	refuses("stress=save:18446744073709551617",
	        "option \"stress=save:18446744073709551617\": allowed is " USAGE);
}

static void option_parse_fault_kind_is_taken_or_named(void **state) {
	(void)state;
	struct option option = {0};
	struct option_why why;
	assert_int_equal(option_parse(&option, "stress=fault:stack", 18, &why), 0);
	assert_int_equal(option.stress_fault, OPTION_FAULT_STACK);
	refuses("stress=fault:",
	        "option \"stress=fault:\": allowed is stress=fault:KIND with KIND ud, pf, stack or assert");
	refuses("stress=fault:u",
	        "option \"stress=fault:u\": allowed is stress=fault:KIND with KIND ud, pf, stack or assert");
}

static void option_parse_unknown_word_is_named(void **state) {
	(void)state;
	refuses("quiet", "unknown option \"quiet\": there is " USAGE FAULT);
	refuses("stress=save:4 stress", "unknown option \"stress\": there is " USAGE FAULT);
	refuses("Stress=save:4", "unknown option \"Stress=save:4\": there is " USAGE FAULT);
	refuses("aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeee",
	        "unknown option \"aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd\": there is " USAGE FAULT);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(option_parse_empty_changes_nothing),
	    cmocka_unit_test(option_parse_known_words_are_taken),
	    cmocka_unit_test(option_parse_bad_value_is_named),
	    cmocka_unit_test(option_parse_fault_kind_is_taken_or_named),
	    cmocka_unit_test(option_parse_unknown_word_is_named),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
