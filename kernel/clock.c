// SPDX-License-Identifier: Apache-2.0
// Scales between TSC ticks and nanoseconds in 32.32 fixed point, 128 bits wide in between.
#include "kernel/clock.h"

#include "arch/x86/cpu/insn.h"

#define NS_PER_MS UINT64_C(1000000)

static uint64_t tsc_khz, ns_per_tick, ticks_per_ns; // 32.32

static uint64_t scale(uint64_t v, uint64_t factor) {
	return (uint64_t)(((unsigned __int128)v * factor) >> 32);
}

void clock_init(uint64_t khz) {
	tsc_khz = khz;
	ns_per_tick = (NS_PER_MS << 32) / khz;
	ticks_per_ns = ((khz << 32) + NS_PER_MS - 1) / NS_PER_MS;
}

uint64_t clock_tsc_khz(void) { return tsc_khz; }
uint64_t clock_tsc_to_ns(uint64_t ticks) { return scale(ticks, ns_per_tick); }
uint64_t clock_ns_to_tsc(uint64_t ns) { return scale(ns, ticks_per_ns) + 1; }
uint64_t clock_now_ns(void) { return clock_tsc_to_ns(rdtsc()); }

void clock_pv_scale(uint32_t *mult, int8_t *shift) {
	// 32.64 fixed point: the second half of a long division.
	uint64_t fraction = ((NS_PER_MS << 32) % tsc_khz << 32) / tsc_khz;
	unsigned __int128 factor = (unsigned __int128)ns_per_tick << 32 | fraction;
	// Wanted: factor = mult * 2^shift * 2^32 with mult in [2^31, 2^32).
	int8_t s = 0;
	while (factor >> 64 != 0) {
		factor >>= 1;
		s++;
	}
	while (factor >> 63 == 0) {
		factor <<= 1;
		s--;
	}
	*mult = (uint32_t)(factor >> 32);
	*shift = s;
}
