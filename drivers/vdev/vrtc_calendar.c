// SPDX-License-Identifier: Apache-2.0
// Calendar arithmetic without tables or loops: years are counted from 1 March, so that the leap day is the
// last of its year and the months before it follow a line of 153 days in five months; 400 years are one
// period of 146097 days. One period is added throughout, so that nothing is negative.
#include "drivers/vdev/vrtc_calendar.h"

#define SECONDS_PER_DAY 86400
#define DAYS_PER_PERIOD 146097
#define YEARS_PER_PERIOD 400
#define DAYS_BEFORE_1970 719468 // from 0000-03-01
#define WEEKDAY_1970 4          // a Thursday

static int64_t limit(int64_t v, int64_t low, int64_t high) { return v < low ? low : v > high ? high : v; }

// Days from 1 March to the first of the month that is `index` months after March.
static unsigned month_start(unsigned index) { return (153 * index + 2) / 5; }

void calendar_from_seconds(int64_t seconds, struct calendar *out) {
	uint64_t shifted = (uint64_t)(limit(seconds, CALENDAR_MIN, CALENDAR_MAX) +
	                              (int64_t)(DAYS_BEFORE_1970 + DAYS_PER_PERIOD) * SECONDS_PER_DAY);
	uint64_t days = shifted / SECONDS_PER_DAY;
	unsigned rest = (unsigned)(shifted % SECONDS_PER_DAY);
	unsigned day = (unsigned)(days % DAYS_PER_PERIOD);
	// Takes out the leap days that have passed: one in 1461 days, less one in 36524, and the last of all.
	unsigned year = (day - day / 1460 + day / 36524 - day / (DAYS_PER_PERIOD - 1)) / 365;
	day -= 365 * year + year / 4 - year / 100;
	unsigned month = (5 * day + 2) / 153; // after March
	bool next_year = month >= 10;         // January and February
	out->year = (unsigned)(days / DAYS_PER_PERIOD) * YEARS_PER_PERIOD + year + next_year - YEARS_PER_PERIOD;
	out->month = next_year ? month - 9 : month + 3;
	out->day = day - month_start(month) + 1;
	// 146097 is a multiple of 7, so whole periods do not move the weekday.
	out->weekday = (unsigned)((days + 7 + WEEKDAY_1970 - DAYS_BEFORE_1970 % 7) % 7);
	out->hour = rest / 3600;
	out->minute = rest / 60 % 60;
	out->second = rest % 60;
}

int64_t calendar_to_seconds(const struct calendar *in) {
	unsigned month = (unsigned)limit(in->month, 1, 12), day = (unsigned)limit(in->day, 1, 31);
	bool next_year = month < 3;
	unsigned year = in->year + YEARS_PER_PERIOD - next_year;
	unsigned period = year / YEARS_PER_PERIOD, in_period = year % YEARS_PER_PERIOD;
	int64_t days = (int64_t)period * DAYS_PER_PERIOD + 365 * in_period + in_period / 4 - in_period / 100 +
	               month_start(next_year ? month + 9 : month - 3) + day - 1;
	days -= DAYS_BEFORE_1970 + DAYS_PER_PERIOD;
	int64_t seconds = days * SECONDS_PER_DAY + in->hour * 3600 + in->minute * 60 + in->second;
	return limit(seconds, CALENDAR_MIN, CALENDAR_MAX);
}
