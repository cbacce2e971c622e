// SPDX-License-Identifier: Apache-2.0
// Scales between TSC ticks and nanoseconds in 8.56 fixed point, 128 bits wide in between: fine enough that years of
// ticks are off by less than one, so that no timer fires before its time and has to be armed again and again.
#include "kernel/clock.h"

#include "arch/x86/cpu/insn.h"

#define NS_PER_MS UINT64_C(1000000)

#define FRACTION_BITS 56u

static uint64_t tsc_khz, ns_per_tick, ticks_per_ns; // 8.56: a TSC of 4 MHz to 256 GHz

static uint64_t scale(uint64_t v, uint64_t factor) {
	return (uint64_t)(((unsigned __int128)v * factor) >> FRACTION_BITS);
}

// dividend / divisor in 8.56, above rather than below, as a long division of two steps; both below 2^32.
static __cold __attribute__((noinline)) uint64_t ratio(uint64_t dividend, uint64_t divisor) {
	uint64_t high = (dividend << 32) / divisor, rest = (dividend << 32) % divisor;
	return (high << (FRACTION_BITS - 32) | (rest << (FRACTION_BITS - 32)) / divisor) + 1;
}

__cold void clock_init(uint64_t khz) {
	tsc_khz = khz;
	ns_per_tick = ratio(NS_PER_MS, khz);
	ticks_per_ns = ratio(khz, NS_PER_MS);
}

uint64_t clock_tsc_khz(void) { return tsc_khz; }
uint64_t clock_tsc_to_ns(uint64_t ticks) { return scale(ticks, ns_per_tick); }
uint64_t clock_ns_to_tsc(uint64_t ns) { return scale(ns, ticks_per_ns) + 1; }
uint64_t clock_now_ns(void) { return clock_tsc_to_ns(rdtsc()); }

__cold void clock_pv_scale(uint32_t *mult, int8_t *shift) {
	// 32.64 fixed point: the second half of a long division.
	uint64_t whole = (NS_PER_MS << 32) / tsc_khz, fraction = ((NS_PER_MS << 32) % tsc_khz << 32) / tsc_khz;
	unsigned __int128 factor = (unsigned __int128)whole << 32 | fraction;
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
