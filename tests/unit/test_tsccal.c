// SPDX-License-Identifier: Apache-2.0
// drivers/host/tsccal against a simulated machine: one true time that advances with every reading, from which
// counter and reference are derived.
#include "tests/unit/support.h"

#include "drivers/host/tsccal.h"
#include "kernel/lib/err.h"

struct machine {
	uint64_t now_ps;
	uint64_t read_ps; // what one reading costs
	uint64_t counter_hz;
	uint64_t reference_hz; // 0: stands still
	uint64_t reference_at; // offset, for wraps
	uint64_t reads;
	uint64_t stall_every, stall_ps; // a long interruption before every n-th reading
};

static uint64_t at(const struct machine *m, uint64_t hz) {
	return (uint64_t)((unsigned __int128)m->now_ps * hz / 1000000000000u);
}

static void advance(struct machine *m) {
	m->now_ps += m->read_ps;
	m->reads++;
	if (m->stall_every != 0 && m->reads % m->stall_every == 0) m->now_ps += m->stall_ps;
}

static uint64_t counter_read(void *ctx) {
	struct machine *m = ctx;
	advance(m);
	return at(m, m->counter_hz);
}

static uint64_t reference_read(void *ctx) {
	struct machine *m = ctx;
	advance(m);
	return m->reference_at + at(m, m->reference_hz);
}

static int measure(struct machine *m, struct tsccal_result *result, uint64_t claimed_hz, unsigned bits) {
	const struct tsccal_counter counter = {counter_read, m};
	const struct refclock reference = {
	    .name = "simulated", .read = reference_read, .ctx = m, .hz = claimed_hz, .bits = bits};
	return tsccal_measure(result, &counter, &reference);
}

static void assert_within_ppm(uint64_t khz, uint64_t hz, uint64_t ppm) {
	const uint64_t wanted = hz / 1000, off = khz > wanted ? khz - wanted : wanted - khz;
	assert_true(off * 1000000 <= ppm * wanted);
}

static void measure_each_reference_is_exact(void **state) {
	(void)state;
	static const struct {
		uint64_t hz;
		unsigned bits;
	} references[] = {{14318180, 32}, {100000000, 32}, {3579545, 24}, {1193182, 16}, {2400000000, 64}};
	static const uint64_t counters[] = {1000000000, 2100000000, 3693123456, 62500000, 5000000000};
	for (unsigned r = 0; r < array_count(references); r++) {
		for (unsigned c = 0; c < array_count(counters); c++) {
			struct machine m = {
			    .read_ps = 400000, .counter_hz = counters[c], .reference_hz = references[r].hz};
			// The wrap falls into the first window.
			m.reference_at =
			    (references[r].bits == 64 ? 0 : UINT64_C(1) << references[r].bits) - references[r].hz / 400;
			struct tsccal_result result;
			assert_int_equal(measure(&m, &result, references[r].hz, references[r].bits), 0);
			assert_within_ppm(result.khz, counters[c], 250);
			assert_string_equal(result.source, "simulated");
			assert_true(m.now_ps < UINT64_C(20000000000)); // three samples: under 20 ms
		}
	}
}

static void measure_rejects_disturbed_samples(void **state) {
	(void)state;
	// Every 40,000 readings 1 ms is lost, somewhere: edges choose the undisturbed reading.
	struct machine m = {.read_ps = 300000,
	                    .counter_hz = 3000000000,
	                    .reference_hz = 3579545,
	                    .stall_every = 7001,
	                    .stall_ps = UINT64_C(1000000000)};
	struct tsccal_result result;
	assert_int_equal(measure(&m, &result, 3579545, 24), 0);
	assert_within_ppm(result.khz, 3000000000, 300);
}

static void measure_reference_stands_still_times_out(void **state) {
	(void)state;
	struct machine m = {
	    .read_ps = 1000000, .counter_hz = 3000000000, .reference_hz = 0, .reference_at = 0xffffffff};
	struct tsccal_result result;
	assert_int_equal(measure(&m, &result, 3579545, 24), -ERR_TIMEOUT);
	assert_true(m.reads < 200000);
}

static void measure_reference_too_slow_times_out(void **state) {
	(void)state;
	struct machine m = {.read_ps = 1000, .counter_hz = 3000000000, .reference_hz = 20000};
	struct tsccal_result result;
	assert_int_equal(measure(&m, &result, 3579545, 24), -ERR_TIMEOUT);
}

static void measure_counter_stands_still_is_refused(void **state) {
	(void)state;
	struct machine m = {.read_ps = 1000000, .counter_hz = 0, .reference_hz = 3579545};
	struct tsccal_result result;
	assert_int_equal(measure(&m, &result, 3579545, 24), -ERR_RANGE);
}

static uint64_t random_read(void *ctx) { return rng_next(ctx); }

static void measure_noise_is_refused(void **state) {
	(void)state;
	struct rng rng;
	rng_init(&rng, 99);
	struct machine m = {.read_ps = 1000000, .reference_hz = 3579545};
	const struct tsccal_counter counter = {random_read, &rng};
	const struct refclock reference = {
	    .name = "ok", .read = reference_read, .ctx = &m, .hz = 3579545, .bits = 24};
	struct tsccal_result result;
	assert_int_equal(tsccal_measure(&result, &counter, &reference), -ERR_RANGE);
	// And a reference of noise against a good counter: ends, with whatever error.
	const struct tsccal_counter good = {counter_read, &m};
	const struct refclock noise = {
	    .name = "noise", .read = random_read, .ctx = &rng, .hz = 3579545, .bits = 24};
	m.counter_hz = 3000000000;
	assert_true(tsccal_measure(&result, &good, &noise) < 0);
}

static void run_second_reference_serves(void **state) {
	(void)state;
	struct machine m = {.read_ps = 500000, .counter_hz = 2500000000, .reference_hz = 1193182};
	struct machine dead = {.read_ps = 500000};
	const struct tsccal_counter counter = {counter_read, &m};
	const struct refclock references[] = {
	    {.name = "dead", .read = reference_read, .ctx = &dead, .hz = 14318180, .bits = 32},
	    {.name = "PIT", .read = reference_read, .ctx = &m, .hz = 1193182, .bits = 16}};
	struct tsccal_result result;
	assert_int_equal(tsccal_run(&result, &counter, references, 2, 0), 0);
	assert_string_equal(result.source, "PIT");
	assert_within_ppm(result.khz, 2500000000, 400);
	assert_int_equal(tsccal_run(&result, &counter, references, 1, 2500000), -ERR_TIMEOUT);
	assert_int_equal(tsccal_run(&result, &counter, references, 0, 0), -ERR_TIMEOUT);
}

static void run_nominal_is_only_a_cross_check(void **state) {
	(void)state;
	struct machine m = {.read_ps = 500000, .counter_hz = 2500100000, .reference_hz = 14318180};
	const struct tsccal_counter counter = {counter_read, &m};
	const struct refclock reference = {
	    .name = "HPET", .read = reference_read, .ctx = &m, .hz = 14318180, .bits = 32};
	struct tsccal_result result;
	assert_int_equal(tsccal_run(&result, &counter, &reference, 1, 2500000), 0);
	assert_int_equal(result.khz, 2500000); // agrees: the exact figure
	assert_int_equal(tsccal_run(&result, &counter, &reference, 1, 71428), 0);
	assert_within_ppm(result.khz, 2500100000, 250); // a claim 35 times off
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(measure_each_reference_is_exact),
	    cmocka_unit_test(measure_rejects_disturbed_samples),
	    cmocka_unit_test(measure_reference_stands_still_times_out),
	    cmocka_unit_test(measure_reference_too_slow_times_out),
	    cmocka_unit_test(measure_counter_stands_still_is_refused),
	    cmocka_unit_test(measure_noise_is_refused),
	    cmocka_unit_test(run_second_reference_serves),
	    cmocka_unit_test(run_nominal_is_only_a_cross_check),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
