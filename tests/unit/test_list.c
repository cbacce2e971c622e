// SPDX-License-Identifier: Apache-2.0
// kernel/lib/list against an array, and the names of kernel/lib/err.
#include "tests/unit/support.h"

#include "kernel/lib/err.h"
#include "kernel/lib/list.h"

#define NODES 8u

static void operations_random_match_array(void **state __unused_arg) {
	struct list head, node[NODES];
	unsigned order[NODES], count = 0;
	bool linked[NODES] = {false};
	struct rng rng;

	rng_init(&rng, 1);
	list_init(&head);
	for (unsigned i = 0; i < NODES; i++) list_init(&node[i]);
	for (int round = 0; round < 20000; round++) {
		unsigned n = (unsigned)rng_below(&rng, NODES), at = 0;

		if (linked[n]) {
			while (order[at] != n) at++;
			memmove(order + at, order + at + 1, (--count - at) * sizeof order[0]);
			list_remove(&node[n]);
			list_remove(&node[n]); // twice is harmless
		} else if (rng_below(&rng, 2) == 0) {
			list_push_back(&head, &node[n]);
			order[count++] = n;
		} else {
			list_push_front(&head, &node[n]);
			memmove(order + 1, order, count++ * sizeof order[0]);
			order[0] = n;
		}
		linked[n] = !linked[n];
		unsigned seen = 0;
		list_for_each(it, &head) {
			assert_true(seen < count && it == &node[order[seen]]);
			assert_ptr_equal(it->next->prev, it);
			seen++;
		}
		assert_int_equal(seen, count);
		assert_int_equal(list_empty(&head), count == 0);
	}
}

static void err_name_every_code_has_one(void **state __unused_arg) {
	for (int code = 0; code < ERR_COUNT; code++) {
		assert_non_null(err_name(code));
		assert_string_equal(err_name(code), err_name(-code));
		assert_true(strcmp(err_name(code), "unknown error") != 0);
		assert_null(strstr(err_name(code), "ERR_")); // words for a person
	}
	assert_string_equal(err_name(-ERR_NOMEM), "out of memory");
	assert_string_equal(err_name(ERR_COUNT), "unknown error");
	assert_string_equal(err_name(INT_MIN), "unknown error");
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(operations_random_match_array),
	    cmocka_unit_test(err_name_every_code_has_one),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
