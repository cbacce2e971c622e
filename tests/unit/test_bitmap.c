// SPDX-License-Identifier: Apache-2.0
// kernel/lib/bitmap against a plain array of bools.
#include "tests/unit/support.h"

#include "kernel/lib/bitmap.h"

#define BITS 200u

static size_t model_next(const bool *model, size_t bits, size_t from, bool value) {
	for (size_t i = from; i < bits; i++)
		if (model[i] == value) return i;
	return BITMAP_NONE;
}

static void operations_random_match_model(void **state __unused_arg) {
	uint64_t map[BITMAP_WORDS(BITS)] = {0};
	bool model[BITS] = {false};
	struct rng rng;

	rng_init(&rng, 1);
	for (int round = 0; round < 20000; round++) {
		size_t first = rng_below(&rng, BITS), count = rng_below(&rng, BITS - first + 1), set = 0;
		size_t bits = rng_below(&rng, BITS + 1), from = rng_below(&rng, BITS);

		switch (rng_below(&rng, 5)) {
		case 0:
			bitmap_set_range(map, first, count);
			for (size_t i = 0; i < count; i++) model[first + i] = true;
			break;
		case 1:
			bitmap_clear_range(map, first, count);
			for (size_t i = 0; i < count; i++) model[first + i] = false;
			break;
		case 2:
			bitmap_set(map, first);
			model[first] = true;
			break;
		case 3:
			bitmap_clear(map, first);
			model[first] = false;
			break;
		default: bitmap_set_atomic(map, first); model[first] = true;
		}
		for (size_t i = 0; i < BITS; i++) assert_int_equal(bitmap_test(map, i), model[i]);
		for (size_t i = 0; i < bits; i++) set += model[i];
		assert_int_equal(bitmap_count(map, bits), set);
		assert_int_equal(bitmap_next_set(map, bits, from), model_next(model, bits, from, true));
		assert_int_equal(bitmap_next_clear(map, bits, from), model_next(model, bits, from, false));
	}
}

static void take_word_returns_and_clears(void **state __unused_arg) {
	uint64_t map[2] = {5, 7};

	assert_int_equal(bitmap_take_word(map, 1), 7);
	assert_int_equal(map[1], 0);
	assert_int_equal(map[0], 5);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(operations_random_match_model),
	    cmocka_unit_test(take_word_returns_and_clears),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
