// SPDX-License-Identifier: Apache-2.0
// kernel/clock.c against exact arithmetic, for slow and fast TSCs, and what a guest computes from the scale it is given.
#include "kernel/clock.h"
#include "kernel/lib/bits.h"
#include "tests/unit/support.h"

typedef unsigned __int128 u128;

static const uint64_t khz_list[] = {4000, 999999, 1000000, 1193182, 2599998, 3000000, 4700123, 100000};

static void clock_conversions_are_exact_and_never_early(void **state) {
	(void)state;
	struct rng rng;
	rng_init(&rng, 21);
	for (unsigned k = 0; k < array_count(khz_list); k++) {
		uint64_t khz = khz_list[k];
		clock_init(khz);
		for (unsigned n = 0; n < 20000; n++) {
			uint64_t ticks = rng_next(&rng) >> (10 + rng_below(&rng, 50));
			uint64_t ns = clock_tsc_to_ns(ticks), exact = (uint64_t)((u128)ticks * 1000000 / khz);
			assert_true(ns - exact <= 1); // and not below: a timer armed for a time would find itself early
			// A timer armed for a time fires when that time has come.
			assert_true(clock_tsc_to_ns(clock_ns_to_tsc(ns)) >= ns);
			assert_true(clock_ns_to_tsc(ns) <= ticks + 2 + khz / 1000000 + (ticks >> 40)); // and hardly later
		}
	}
}

static void clock_pv_scale_gives_the_guest_the_same_time(void **state) {
	(void)state;
	struct rng rng;
	rng_init(&rng, 22);
	for (unsigned k = 0; k < array_count(khz_list); k++) {
		uint32_t mult;
		int8_t shift;
		clock_init(khz_list[k]);
		clock_pv_scale(&mult, &shift);
		assert_true(mult >= BIT32(31));
		for (unsigned n = 0; n < 10000; n++) {
			uint64_t ticks = rng_next(&rng) >> (16 + rng_below(&rng, 40));
			uint64_t shifted = shift < 0 ? ticks >> -shift : ticks << shift;
			uint64_t ns = (uint64_t)((u128)shifted * mult >> 32);
			uint64_t exact = (uint64_t)((u128)ticks * 1000000 / khz_list[k]);
			uint64_t off = ns > exact ? ns - exact : exact - ns;
			assert_true(off <= 2 + exact / 1000000000);
		}
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(clock_conversions_are_exact_and_never_early),
	    cmocka_unit_test(clock_pv_scale_gives_the_guest_the_same_time),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
