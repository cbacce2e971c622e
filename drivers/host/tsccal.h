// SPDX-License-Identifier: Apache-2.0
// Calibration of a fast counter (the TSC) against a reference clock: several samples, each end bracketed by
// two readings of the counter so that an interrupted sample shows, the odd one out rejected. Every loop is
// bounded by a count of readings, so a reference that stands still is an error, not a hang. Pure: clocks are
// callbacks.
#pragma once

#include "kernel/lib/types.h"

// A free-running up-counter with a known frequency.
struct refclock {
	const char *name;            // "HPET", "PM timer", "PIT"
	uint64_t (*read)(void *ctx); // the low `bits` bits are valid
	void *ctx;
	uint64_t hz;   // ticks a second
	unsigned bits; // width after which it wraps, at most 64
};

struct tsccal_counter {
	uint64_t (*read)(void *ctx);
	void *ctx;
};

struct tsccal_result {
	uint64_t khz;
	uint32_t spread_ppm; // between the samples that were used
	const char *source;  // name of the reference
};

// Frequency of `counter` against one reference. -ERR_TIMEOUT: the reference stands still or is too slow;
// -ERR_RANGE: samples never agree, or the result is no plausible frequency (1 MHz to 100 GHz).
__must_check __step int tsccal_measure(struct tsccal_result *result, const struct tsccal_counter *counter,
                                       const struct refclock *reference);

// The first reference of the list that works. nominal_khz: what CPUID claims (leaf 15h), 0 when nothing; it
// is never believed alone, but replaces the measured figure when both agree within 0.1 %.
// -ERR_TIMEOUT: none works (each has had its log line).
__must_check int tsccal_run(struct tsccal_result *result, const struct tsccal_counter *counter,
                            const struct refclock *references, unsigned count, uint64_t nominal_khz);
