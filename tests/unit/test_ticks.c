// SPDX-License-Identifier: Apache-2.0
// drivers/vdev/ticks.h against 128-bit arithmetic, for the crystals that the devices have.
#include "tests/unit/support.h"

#include "drivers/vdev/ticks.h"

static const uint32_t crystals[] = {1193182, 3579545, 32768, 1843200, 1, 999999999};

static void conversions_are_exact(void **state) {
	(void)state;
	struct rng rng;
	rng_init(&rng, 5);
	for (unsigned i = 0; i < 200000; i++) {
		uint32_t hz = crystals[i % array_count(crystals)];
		uint64_t ns = rng_next(&rng) >> rng_below(&rng, 64);
		unsigned __int128 ticks = (unsigned __int128)ns * hz / NS_PER_SECOND;
		assert_true(ns_to_ticks(ns, hz) == ticks);
		uint64_t back = ticks_to_ns((uint64_t)ticks, hz);
		assert_true(back <= ns && ns_to_ticks(back, hz) == ticks);
		assert_true(ticks == 0 || ns_to_ticks(back - 1, hz) == ticks - 1);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {cmocka_unit_test(conversions_are_exact)};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
