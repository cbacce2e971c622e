// SPDX-License-Identifier: Apache-2.0
// kernel/lib/log: the form of a line, levels, cutting, and the bucket that limits what guests trigger.
#include "tests/unit/support.h"

#include "kernel/lib/log.h"

static char last_line[LOG_LINE_BYTES * 2];
static enum log_level last_level;
static unsigned line_count;

static void capture(enum log_level level, const char *line, size_t len) {
	assert_int_equal(strlen(line), len);
	assert_true(len < sizeof last_line);
	memcpy(last_line, line, len + 1);
	last_level = level;
	line_count++;
}

static int setup(void **state __unused_arg) {
	log_sink_set(capture);
	log_level_set(LOG_INFO);
	last_line[0] = 0;
	line_count = 0;
	return 0;
}

static void print_line_has_level_and_subsystem(void **state __unused_arg) {
	log_warn("vuart", "vm=%d dropped %u", 3, 7u);
	assert_string_equal(last_line, "warn vuart: vm=3 dropped 7");
	assert_int_equal(last_level, LOG_WARN);
	assert_int_equal(line_count, 1);
}

static void line_is_bare_and_of_level_info(void **state __unused_arg) {
	log_line("vm \"%s\" stopped", "a");
	assert_string_equal(last_line, "vm \"a\" stopped");
	assert_int_equal(last_level, LOG_INFO);
	log_level_set(LOG_WARN);
	log_line("no");
	assert_int_equal(line_count, 1);
}

static void print_above_level_is_dropped(void **state __unused_arg) {
	log_debug("x", "no");
	assert_int_equal(line_count, 0);
	log_level_set(LOG_DEBUG);
	log_debug("x", "yes");
	assert_string_equal(last_line, "debug x: yes");
	log_level_set(LOG_ERROR);
	log_info("x", "no");
	log_error("x", "bad");
	assert_string_equal(last_line, "error x: bad");
	assert_int_equal(line_count, 2);
}

static void print_without_sink_is_dropped(void **state __unused_arg) {
	log_sink_set(NULL);
	log_error("x", "nobody hears");
	assert_int_equal(line_count, 0);
}

static void print_long_line_ends_in_dots(void **state __unused_arg) {
	char text[LOG_LINE_BYTES * 2];

	memset(text, 'a', sizeof text);
	text[sizeof text - 1] = 0;
	log_info("x", "%s", text);
	assert_int_equal(strlen(last_line), LOG_LINE_BYTES - 1);
	assert_string_equal(last_line + LOG_LINE_BYTES - 5, "a...");
	log_line("%s", text);
	assert_int_equal(strlen(last_line), LOG_LINE_BYTES - 1);
}

static void print_longest_line_stays_whole(void **state __unused_arg) {
	char text[LOG_LINE_BYTES];
	size_t fits = LOG_LINE_BYTES - 1 - strlen("info x: ");

	memset(text, 'b', fits);
	text[fits] = 0;
	log_info("x", "%s", text);
	assert_int_equal(last_line[LOG_LINE_BYTES - 2], 'b');
}

static void allow_burst_is_bounded_and_counted(void **state __unused_arg) {
	struct log_bucket bucket = {.used = 0};
	const uint64_t start = 5000000000u, second = 1000000000u;

	for (unsigned i = 0; i < LOG_BURST; i++) assert_true(log_allow(&bucket, LOG_WARN, start + i));
	for (unsigned i = 0; i < 5; i++) assert_false(log_allow(&bucket, LOG_WARN, start + second - 1));
	assert_int_equal(line_count, 0);

	assert_true(log_allow(&bucket, LOG_WARN, start + second));
	assert_string_equal(last_line, "warn log: 5 lines suppressed before the next one");
	assert_true(log_allow(&bucket, LOG_WARN, start + second));
	assert_int_equal(line_count, 1);
}

static void allow_unwanted_level_takes_no_place(void **state __unused_arg) {
	struct log_bucket bucket = {.used = 0};

	for (unsigned i = 0; i < 2 * LOG_BURST; i++) assert_false(log_allow(&bucket, LOG_DEBUG, 0));
	assert_true(log_allow(&bucket, LOG_INFO, 0));
	assert_int_equal(line_count, 0);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(print_line_has_level_and_subsystem, setup),
	    cmocka_unit_test_setup(line_is_bare_and_of_level_info, setup),
	    cmocka_unit_test_setup(print_above_level_is_dropped, setup),
	    cmocka_unit_test_setup(print_without_sink_is_dropped, setup),
	    cmocka_unit_test_setup(print_long_line_ends_in_dots, setup),
	    cmocka_unit_test_setup(print_longest_line_stays_whole, setup),
	    cmocka_unit_test_setup(allow_burst_is_bounded_and_counted, setup),
	    cmocka_unit_test_setup(allow_unwanted_level_takes_no_place, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
