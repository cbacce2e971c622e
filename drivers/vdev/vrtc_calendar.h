// SPDX-License-Identifier: Apache-2.0
// The Gregorian calendar of the virtual clock: seconds since 1970 and their fields. Pure functions.
// Years 0..9999, which is what two digits of century and two of year can hold.
#pragma once

#include "kernel/lib/types.h"

#define CALENDAR_MIN INT64_C(-62167219200) // 0000-01-01 00:00:00
#define CALENDAR_MAX INT64_C(253402300799) // 9999-12-31 23:59:59

struct calendar {
	unsigned year;    // 0..9999
	unsigned month;   // 1..12
	unsigned day;     // 1..31
	unsigned weekday; // 0 is Sunday
	unsigned hour, minute, second;
};

// `seconds` outside the range is taken as the nearest end.
void calendar_from_seconds(int64_t seconds, struct calendar *out);
// Month and day outside their range count as the nearest; the other fields may carry over. weekday is
// ignored. The result is limited to the range.
int64_t calendar_to_seconds(const struct calendar *in);
