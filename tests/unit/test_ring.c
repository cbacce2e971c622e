// SPDX-License-Identifier: Apache-2.0
// kernel/lib/ring: order, limits, index wrap-around, and two threads.
#include "tests/unit/support.h"

#include <pthread.h>
#include <sched.h>

#include "kernel/lib/ring.h"

static void put_full_takes_what_fits(void **state __unused_arg) {
	uint8_t buffer[8], out[16];
	struct ring ring;

	ring_init(&ring, buffer, sizeof buffer, 1);
	assert_int_equal(ring_put(&ring, "abcdefghij", 10), 8);
	assert_int_equal(ring_free(&ring), 0);
	assert_int_equal(ring_put(&ring, "x", 1), 0);
	assert_int_equal(ring_get(&ring, out, 3), 3);
	assert_int_equal(ring_put(&ring, "XYZW", 4), 3);
	assert_int_equal(ring_get(&ring, out, sizeof out), 8);
	assert_memory_equal(out, "defghXYZ", 8);
	assert_int_equal(ring_get(&ring, out, 1), 0);
}

static void records_keep_order_over_index_wrap(void **state __unused_arg) {
	struct record {
		uint16_t a, b, c;
	} buffer[4], out[4];
	struct ring ring;
	uint16_t put = 0, got = 0;
	struct rng rng;

	rng_init(&rng, 1);
	ring_init(&ring, buffer, 4, sizeof buffer[0]);
	ring.head = ring.tail = UINT32_MAX - 5; // the free-running indices pass 2^32
	for (int round = 0; round < 1000; round++) {
		struct record in[4];
		uint32_t count = (uint32_t)rng_below(&rng, 5);

		for (uint32_t i = 0; i < count; i++) in[i] = (struct record){(uint16_t)(put + i), 1, 2};
		put = (uint16_t)(put + ring_put(&ring, in, count));
		count = ring_get(&ring, out, (uint32_t)rng_below(&rng, 5));
		for (uint32_t i = 0; i < count; i++) {
			assert_int_equal(out[i].a, got++);
			assert_int_equal(out[i].c, 2);
		}
		assert_int_equal(ring_used(&ring), (uint16_t)(put - got));
	}
}

#define THREAD_RECORDS 200000u

static void *produce(void *arg) {
	for (uint32_t i = 0; i < THREAD_RECORDS;) {
		if (ring_put(arg, &i, 1) != 0)
			i++;
		else
			sched_yield();
	}
	return NULL;
}

static void two_threads_lose_nothing(void **state __unused_arg) {
	uint32_t buffer[64], expected = 0, out[16];
	struct ring ring;
	pthread_t producer;

	ring_init(&ring, buffer, 64, sizeof buffer[0]);
	assert_int_equal(pthread_create(&producer, NULL, produce, &ring), 0);
	while (expected < THREAD_RECORDS) {
		uint32_t count = ring_get(&ring, out, 16);

		if (count == 0) sched_yield();
		for (uint32_t i = 0; i < count; i++) assert_int_equal(out[i], expected++);
	}
	pthread_join(producer, NULL);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(put_full_takes_what_fits),
	    cmocka_unit_test(records_keep_order_over_index_wrap),
	    cmocka_unit_test(two_threads_lose_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
