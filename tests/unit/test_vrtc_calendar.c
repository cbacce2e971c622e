// SPDX-License-Identifier: Apache-2.0
// drivers/vdev/vrtc_calendar.c against the C library's calendar, and beyond its ends.
#include "tests/unit/support.h"

#include <time.h>

#include "drivers/vdev/vrtc_calendar.h"

static void calendar_equals_the_c_library(void **state) {
	(void)state;
	struct rng rng;
	rng_init(&rng, 3);
	for (unsigned i = 0; i < 200000; i++) {
		int64_t seconds =
		    CALENDAR_MIN + (int64_t)rng_below(&rng, (uint64_t)(CALENDAR_MAX - CALENDAR_MIN) + 1);
		time_t t = (time_t)seconds;
		struct tm tm;
		struct calendar c;
		assert_non_null(gmtime_r(&t, &tm));
		calendar_from_seconds(seconds, &c);
		assert_int_equal(c.year, tm.tm_year + 1900);
		assert_int_equal(c.month, tm.tm_mon + 1);
		assert_int_equal(c.day, tm.tm_mday);
		assert_int_equal(c.weekday, tm.tm_wday);
		assert_int_equal(c.hour, tm.tm_hour);
		assert_int_equal(c.minute, tm.tm_min);
		assert_int_equal(c.second, tm.tm_sec);
		assert_true(calendar_to_seconds(&c) == seconds);
	}
}

static void calendar_out_of_range_is_limited(void **state) {
	(void)state;
	struct calendar c;
	calendar_from_seconds(INT64_MAX, &c);
	assert_int_equal(c.year * 10000 + c.month * 100 + c.day, 99991231);
	calendar_from_seconds(INT64_MIN, &c);
	assert_int_equal(c.year * 10000 + c.month * 100 + c.day, 101);
	c = (struct calendar){.year = 16665, .month = 165, .day = 165, .hour = 255, .minute = 255, .second = 255};
	assert_true(calendar_to_seconds(&c) == CALENDAR_MAX);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(calendar_equals_the_c_library),
	    cmocka_unit_test(calendar_out_of_range_is_limited),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
