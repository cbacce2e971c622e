// SPDX-License-Identifier: Apache-2.0
// kernel/lib/range, its edges at 0 and 2^64 above all; 128-bit arithmetic is the oracle.
#include "tests/unit/support.h"

#include "kernel/lib/range.h"

typedef unsigned __int128 wide;

static struct range random_range(struct rng *rng) {
	struct range r;

	do {
		uint64_t near = rng_below(rng, 2) ? UINT64_MAX - 40 : 0;
		r = (struct range){near + rng_below(rng, 40), rng_below(rng, 40)};
		if (rng_below(rng, 16) == 0) r.len = UINT64_MAX - rng_below(rng, 4);
	} while (!range_valid(r));
	return r;
}

static void valid_edges(void **state __unused_arg) {
	assert_false(range_valid((struct range){0, 0}));
	assert_true(range_valid((struct range){0, UINT64_MAX}));
	assert_true(range_valid((struct range){UINT64_MAX, 1}));
	assert_false(range_valid((struct range){UINT64_MAX, 2}));
	assert_int_equal(range_last((struct range){UINT64_MAX, 1}), UINT64_MAX);
}

static void relations_random_match_wide_arithmetic(void **state __unused_arg) {
	struct rng rng;

	rng_init(&rng, 1);
	for (int round = 0; round < 100000; round++) {
		struct range a = random_range(&rng), b = random_range(&rng);
		wide a_end = (wide)a.base + a.len, b_end = (wide)b.base + b.len;
		bool overlap = a.base < b_end && b.base < a_end;

		assert_int_equal(range_overlaps(a, b), overlap);
		struct range common = range_intersect(a, b);
		if (!overlap) {
			assert_int_equal(common.len, 0);
			continue;
		}
		assert_true(common.base == (a.base > b.base ? a.base : b.base));
		assert_true((wide)common.base + common.len == (a_end < b_end ? a_end : b_end));
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(valid_edges),
	    cmocka_unit_test(relations_random_match_wide_arithmetic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
