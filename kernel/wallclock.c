// SPDX-License-Identifier: Apache-2.0
// MC146818 RTC at ports 0x70/0x71: two equal readings outside an update, BCD or binary, 12 or 24 hours.
#include "kernel/wallclock.h"

#include "arch/x86/cpu/insn.h"
#include "kernel/clock.h"
#include "kernel/lib/log.h"
#include "kernel/lib/string.h"

#define RTC_INDEX 0x70u
#define RTC_DATA 0x71u
#define RTC_A 0x0au
#define RTC_B 0x0bu
#define RTC_A_UIP 0x80u
#define RTC_B_24H 0x02u
#define RTC_B_BINARY 0x04u
#define RTC_HOUR_PM 0x80u
#define TRIES 1000000u
#define NS_PER_S UINT64_C(1000000000)

enum { SECOND, MINUTE, HOUR, DAY, MONTH, YEAR, FIELDS };
static const uint8_t field_index[FIELDS] = {0x00, 0x02, 0x04, 0x07, 0x08, 0x09};

static uint64_t wall_base_ns, clock_base_ns;

static uint8_t rtc_read(uint8_t index) {
	out8(RTC_INDEX, index);
	return in8(RTC_DATA);
}

static bool fields_read(uint8_t now[FIELDS]) {
	uint8_t again[FIELDS];
	for (unsigned tries = 0; tries < TRIES; tries++) {
		if ((rtc_read(RTC_A) & RTC_A_UIP) != 0) continue;
		for (unsigned i = 0; i < FIELDS; i++) now[i] = rtc_read(field_index[i]);
		for (unsigned i = 0; i < FIELDS; i++) again[i] = rtc_read(field_index[i]);
		if (memcmp(now, again, FIELDS) == 0) return true;
	}
	return false;
}

static unsigned from_bcd(uint8_t v) { return (v >> 4) * 10u + (v & 15u); }

// Days since 1970-01-01 of a date in the Gregorian calendar.
static uint64_t days_of(unsigned year, unsigned month, unsigned day) {
	static const uint16_t before[12] = {0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334};
	uint64_t days = (uint64_t)(year - 1970) * 365 + (year - 1969) / 4 + before[month - 1] + day - 1;
	bool leap = year % 4 == 0;
	return days + (leap && month > 2 ? 1 : 0);
}

void wallclock_init(void) {
	uint8_t f[FIELDS];
	bool valid = fields_read(f);
	uint8_t b = rtc_read(RTC_B);
	unsigned v[FIELDS];
	bool pm = (f[HOUR] & RTC_HOUR_PM) != 0 && (b & RTC_B_24H) == 0;
	f[HOUR] = (uint8_t)(f[HOUR] & (pm ? ~RTC_HOUR_PM : 0xffu));
	for (unsigned i = 0; i < FIELDS; i++) v[i] = (b & RTC_B_BINARY) != 0 ? f[i] : from_bcd(f[i]);
	if ((b & RTC_B_24H) == 0) v[HOUR] = v[HOUR] % 12 + (pm ? 12 : 0);
	valid = valid && v[MONTH] >= 1 && v[MONTH] <= 12 && v[DAY] >= 1 && v[DAY] <= 31 && v[HOUR] < 24 &&
	        v[MINUTE] < 60 && v[SECOND] < 60 && v[YEAR] < 100;
	clock_base_ns = clock_now_ns();
	uint64_t base_s = 0;
	if (valid)
		base_s =
		    ((days_of(2000 + v[YEAR], v[MONTH], v[DAY]) * 24 + v[HOUR]) * 60 + v[MINUTE]) * 60 + v[SECOND];
	else
		log_warn("clock", "the RTC gives no plausible time: guests start at 1970-01-01");
	// Read somewhere within that second: waiting for its end would cost the boot half of one.
	wall_base_ns = base_s * NS_PER_S + NS_PER_S / 2;
}

uint64_t wallclock_now_ns(void) { return wall_base_ns + (clock_now_ns() - clock_base_ns); }
