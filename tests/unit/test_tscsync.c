// SPDX-License-Identifier: Apache-2.0
// Two threads compare TSCs that are one counter and a known difference: the step backwards is seen, the difference is
// found to half a round trip, and taking it off makes them agree.
#include <pthread.h>
#include <sched.h>

#include "kernel/tscsync.h"
#include "tests/unit/support.h"

static uint64_t ticks; // of the machine; each reading takes one
static int64_t ahead;  // of the other CPU

static uint64_t read_boot(void) {
	return __atomic_add_fetch(&ticks, 1, __ATOMIC_SEQ_CST) + (UINT64_C(1) << 40);
}
static uint64_t read_other(void) { return read_boot() + (uint64_t)ahead; }

static void *other(void *s) {
	tscsync_other(s, read_other);
	return NULL;
}

static struct tscsync_result compare(int64_t difference) {
	struct tscsync s = {.turn = 0};
	struct tscsync_result result;
	pthread_t thread;
	ahead = difference;
	assert_int_equal(pthread_create(&thread, NULL, other, &s), 0);
	tscsync_boot(&s, read_boot, &result);
	assert_int_equal(pthread_join(thread, NULL), 0);
	return result;
}

static void tscsync_equal_tscs_agree(void **state) {
	(void)state;
	struct tscsync_result result = compare(0);
	assert_int_equal(result.warp, 0);
	assert_int_equal(result.round_trip, 2); // the other's reading and the second of ours
	assert_int_equal(result.ahead, 0);
}

static void tscsync_finds_difference(void **state) {
	(void)state;
	static const int64_t difference[] = {1000, -1000, INT64_C(1) << 50, -(INT64_C(1) << 39), 3, -3};
	for (unsigned i = 0; i < sizeof difference / sizeof difference[0]; i++) {
		struct tscsync_result result = compare(difference[i]);
		uint64_t size = (uint64_t)(difference[i] < 0 ? -difference[i] : difference[i]);
		// The reading on the far side was made one tick away.
		assert_int_equal(result.warp, size - 1);
		assert_int_equal(result.ahead, difference[i]);
		assert_int_equal(compare(difference[i] - result.ahead).warp, 0);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(tscsync_equal_tscs_agree),
	    cmocka_unit_test(tscsync_finds_difference),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
