// SPDX-License-Identifier: Apache-2.0
// kernel/lib/bitmap against a plain array of bools.
#include "tests/unit/support.h"

#include "kernel/lib/bitmap.h"

#define BITS 200u

static size_t model_next(const bool *model, size_t bits, size_t from) {
	for (size_t i = from; i < bits; i++)
		if (model[i]) return i;
	return BITMAP_NONE;
}

// From empty to full, a bit at a time, so that few set bits and few clear ones are both seen.
static void operations_random_match_model(void **state __unused_arg) {
	struct rng rng;

	rng_init(&rng, 1);
	for (int round = 0; round < 20; round++) {
		uint64_t map[BITMAP_WORDS(BITS)] = {0};
		bool model[BITS] = {false};

		for (int step = 0; step < 1000; step++) {
			size_t bit = rng_below(&rng, BITS), bits = rng_below(&rng, BITS + 1),
			       from = rng_below(&rng, BITS);

			assert_int_equal(bitmap_next_set(map, bits, from), model_next(model, bits, from));
			bitmap_set(map, bit);
			model[bit] = true;
			for (size_t i = 0; i < BITS; i++) assert_int_equal(bitmap_test(map, i), model[i]);
		}
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(operations_random_match_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
