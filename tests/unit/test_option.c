// SPDX-License-Identifier: Apache-2.0
// The hypervisor's own command line.
#include "arch/x86/guest/feature.h"
#include "kernel/arch.h"
#include "kernel/lib/bits.h"
#include "kernel/option.h"
#include "kernel/lib/err.h"
#include "tests/unit/support.h"

static int parse(const char *text, struct option *option, struct option_why *why) {
	// Exactly as long as it says, so that a read past the end is seen.
	size_t bytes = strlen(text);
	char *copy = malloc(bytes > 0 ? bytes : 1);
	memcpy(copy, text, bytes);
	int err = option_parse(option, NULL, copy, bytes, why);
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
#define FAULT                                                                                                \
	", stress=fault:KIND with KIND ud, pf, stack, assert, nmi or entry, "                                    \
	"stress=entry:SEED,N with both from 1 to 1000000000"
#define MAX_RUN "max_run_us=N with N from 1 to 1000000000"
#define OFF "off=NAME,NAME... with NAME"

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
	assert_int_equal(option_parse(&option, NULL, "stress=fault:stack", 18, &why), 0);
	assert_int_equal(option.stress_fault, OPTION_FAULT_STACK);
	assert_int_equal(option_parse(&option, NULL, "stress=fault:nmi", 16, &why), 0);
	assert_int_equal(option.stress_fault, OPTION_FAULT_NMI);
	refuses("stress=fault:", "option \"stress=fault:\": allowed is stress=fault:KIND with KIND ud, pf, "
	                         "stack, assert, nmi or entry");
	refuses("stress=fault:u", "option \"stress=fault:u\": allowed is stress=fault:KIND with KIND ud, pf, "
	                          "stack, assert, nmi or entry");
}

// The line ends with the features' names, all of them.
static void refuses_with_names(const char *text, const char *line) {
	struct option option = {0};
	struct option_why why;
	char whole[sizeof why.text], names[sizeof why.text];
	feature_names(UINT64_MAX, FEATURE_BOTH, names, sizeof names);
	assert_in_range(snprintf(whole, sizeof whole, "%s %s", line, names), 0, sizeof whole - 1);
	assert_int_equal(parse(text, &option, &why), -ERR_INVAL);
	assert_string_equal(why.text, whole);
}

static void option_parse_max_run_is_a_count(void **state) {
	(void)state;
	struct option option = {0};
	struct option_why why;
	assert_int_equal(parse("max_run_us=500", &option, &why), 0);
	assert_int_equal(option.max_run_us, 500);
	refuses("max_run_us=0", "option \"max_run_us=0\": allowed is " MAX_RUN);
	refuses("max_run_us=", "option \"max_run_us=\": allowed is " MAX_RUN);
}

static void option_parse_entry_takes_seed_and_count(void **state) {
	(void)state;
	struct option option = {0};
	struct option_why why;
	assert_int_equal(option_parse(&option, NULL, "stress=entry:7,3000", 19, &why), 0);
	assert_int_equal(option.stress_entry_seed, 7);
	assert_int_equal(option.stress_entry, 3000);
#define ENTRY_ALLOWED "allowed is stress=entry:SEED,N with both from 1 to 1000000000"
	refuses("stress=entry:7", "option \"stress=entry:7\": " ENTRY_ALLOWED);
	refuses("stress=entry:7,", "option \"stress=entry:7,\": " ENTRY_ALLOWED);
	refuses("stress=entry:,7", "option \"stress=entry:,7\": " ENTRY_ALLOWED);
	refuses("stress=entry:0,7", "option \"stress=entry:0,7\": " ENTRY_ALLOWED);
	refuses("stress=entry:7,3,1", "option \"stress=entry:7,3,1\": " ENTRY_ALLOWED);
}

static void option_parse_unknown_word_is_named(void **state) {
	(void)state;
	refuses_with_names("quiet", "unknown option \"quiet\": there is " USAGE FAULT ", " MAX_RUN ", " OFF);
	refuses_with_names("stress=save:4 stress",
	                   "unknown option \"stress\": there is " USAGE FAULT ", " MAX_RUN ", " OFF);
	refuses_with_names("Stress=save:4",
	                   "unknown option \"Stress=save:4\": there is " USAGE FAULT ", " MAX_RUN ", " OFF);
	refuses_with_names("aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeee",
	                   "unknown option \"aaaaaaaaaabbbbbbbbbbccccccccccdddddddddd\": there is " USAGE FAULT
	                   ", " MAX_RUN ", " OFF);
}

static void option_parse_of_a_file_says_where(void **state) {
	(void)state;
	struct option option = {0};
	struct option_why why;
	const char text[] = "stress=save:4\n\n\t off=vpid stress=save:x";
	assert_int_equal(option_parse(&option, "o.txt", text, sizeof text - 1, &why), -ERR_INVAL);
	assert_string_equal(why.text, "o.txt:3:12: option \"stress=save:x\": allowed is " USAGE);
	assert_int_equal(option_parse(&option, "o.txt", "x", 1, &why), -ERR_INVAL);
	assert_int_equal(strncmp(why.text, "o.txt:1:1: unknown option \"x\": there is ", 39), 0);
}

// Whatever is named, the line stays in its room.
static void option_parse_long_names_are_cut(void **state) {
	(void)state;
	struct option option = {0};
	struct option_why why;
	char name[1000];
	memset(name, 'n', sizeof name);
	name[sizeof name - 1] = '\0';
	assert_int_equal(option_parse(&option, name, name, sizeof name - 1, &why), -ERR_INVAL);
	assert_true(strnlen(why.text, sizeof why.text) < sizeof why.text);
	assert_int_equal(strncmp(why.text + 40, ":1:1: unknown", 13), 0);
}

static void features_off(const char *text, uint64_t mask) {
	struct option option = {0};
	struct option_why why;
	assert_int_equal(parse(text, &option, &why), 0);
	assert_int_equal(option.features_off, mask);
}

static void option_parse_off_names_features(void **state) {
	(void)state;
	features_off("off=vpid", BIT64(FEATURE_VPID));
	features_off("off=vpid,ept-1g,next-rip",
	             BIT64(FEATURE_VPID) | BIT64(FEATURE_EPT_1G) | BIT64(FEATURE_NEXT_RIP));
	features_off("off=vpid off=rdtscp stress=save:2", BIT64(FEATURE_VPID) | BIT64(FEATURE_RDTSCP));
}

static void option_parse_off_of_no_feature_is_named(void **state) {
	(void)state;
	static const char *const bad[] = {"off=",      "off=vpi",          "off=vpidd", "off=vpid,",
	                                  "off=,vpid", "off=vpid,,ept-ad", "off=VPID"};
	for (unsigned i = 0; i < array_count(bad); i++) {
		char line[128];
		snprintf(line, sizeof line, "option \"%s\": allowed is " OFF, bad[i]);
		refuses_with_names(bad[i], line);
	}
}

// A name stands once, in the letters an option can have, and finds its own bit.
static void arch_feature_bit_of_every_name_is_its_own(void **state) {
	(void)state;
	char names[sizeof(struct option_why)];
	unsigned count = 0;
	arch_feature_names(names, sizeof names);
	for (char *rest = names, *name; (name = strsep(&rest, " ")) != NULL; count++) {
		assert_int_equal(arch_feature_bit(name, strlen(name)), BIT64(count));
		assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-"), strlen(name));
	}
	assert_int_equal(count, FEATURE_COUNT);
}

static void feature_names_are_those_of_mask_and_vendor(void **state) {
	(void)state;
	char names[64];
	uint64_t mask = BIT64(FEATURE_VPID) | BIT64(FEATURE_RDTSCP) | BIT64(FEATURE_NEXT_RIP);
	feature_names(mask, FEATURE_VMX, names, sizeof names);
	assert_string_equal(names, "vpid rdtscp");
	feature_names(mask, FEATURE_SVM, names, sizeof names);
	assert_string_equal(names, "rdtscp next-rip");
	feature_names(0, FEATURE_BOTH, names, sizeof names);
	assert_string_equal(names, "");
	feature_names(mask, FEATURE_BOTH, names, 6);
	assert_string_equal(names, "vpid ");
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(option_parse_empty_changes_nothing),
	    cmocka_unit_test(option_parse_known_words_are_taken),
	    cmocka_unit_test(option_parse_bad_value_is_named),
	    cmocka_unit_test(option_parse_fault_kind_is_taken_or_named),
	    cmocka_unit_test(option_parse_max_run_is_a_count),
	    cmocka_unit_test(option_parse_entry_takes_seed_and_count),
	    cmocka_unit_test(option_parse_unknown_word_is_named),
	    cmocka_unit_test(option_parse_of_a_file_says_where),
	    cmocka_unit_test(option_parse_long_names_are_cut),
	    cmocka_unit_test(option_parse_off_names_features),
	    cmocka_unit_test(option_parse_off_of_no_feature_is_named),
	    cmocka_unit_test(arch_feature_bit_of_every_name_is_its_own),
	    cmocka_unit_test(feature_names_are_those_of_mask_and_vendor),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
