// SPDX-License-Identifier: Apache-2.0
// Fixed-size objects: aligned, zeroed, disjoint, all frames back at the end, exhaustion without a leak.
#include "mm/pool.h"

#include "kernel/lib/err.h"
#include "tests/unit/mm_arena.h"

#define ARENA_BYTES (128 * MIB)

static struct frames frames;

static int setup(void **state) {
	*state = arena_map(ARENA_BYTES);
	return 0;
}
static int teardown(void **state) {
	arena_unmap(*state, ARENA_BYTES);
	return 0;
}

static void pool_alloc_random_sequence_is_disjoint_and_zeroed(void **state) {
	(void)state;
	static const struct {
		uint32_t bytes, align;
	} kinds[] = {{1, 1}, {24, 8}, {64, 64}, {200, 16}, {1000, 64}, {4096, 4096}, {5000, 8}, {65536, 4096}};
	struct rng rng;
	rng_init(&rng, 0x706f);
	arena_frames(&frames, MIB, 100 * MIB, 32 * MIB);
	uint64_t free = frames_free_count(&frames, FRAMES_POOL);
	for (unsigned k = 0; k < array_count(kinds); k++) {
		struct pool pool;
		static uint8_t *held[100];
		unsigned count = 0;
		assert_int_equal(pool_init(&pool, "test", &frames, kinds[k].bytes, kinds[k].align), 0);
		for (unsigned step = 0; step < 2000; step++) {
			if (count == 100 || (count > 0 && rng_below(&rng, 2))) {
				unsigned i = (unsigned)rng_below(&rng, count);
				for (uint32_t b = 0; b < kinds[k].bytes; b += 97) assert_int_equal(held[i][b], held[i][0]);
				pool_free(&pool, held[i]);
				held[i] = held[--count];
			} else {
				void *object;
				assert_int_equal(pool_alloc(&pool, &object), 0);
				assert_true(is_aligned((uintptr_t)object, kinds[k].align));
				held[count] = object;
				for (uint32_t b = 0; b < kinds[k].bytes; b++) assert_int_equal(held[count][b], 0);
				memset(held[count++], (int)(1 + step % 250), kinds[k].bytes);
			}
			assert_int_equal(pool.used, count);
			assert_int_equal(frames_free_count(&frames, FRAMES_POOL),
			                 free - (uint64_t)pool.slabs * pool.slab_pages);
		}
		while (count > 0) pool_free(&pool, held[--count]);
		pool_destroy(&pool);
		assert_int_equal(frames_free_count(&frames, FRAMES_POOL), free);
	}
}

static void pool_alloc_exhausted_gives_nomem(void **state) {
	(void)state;
	arena_frames(&frames, MIB, 8 * MIB, 2 * MIB);
	uint64_t free = frames_free_count(&frames, FRAMES_POOL);
	struct pool pool;
	assert_int_equal(pool_init(&pool, "test", &frames, 512, 8), 0);
	static void *held[10000];
	unsigned count = 0;
	while (pool_alloc(&pool, &held[count]) == 0) count++;
	assert_true(count > 2000);
	void *object;
	assert_int_equal(pool_alloc(&pool, &object), -ERR_NOMEM);
	pool_free(&pool, held[--count]);
	assert_int_equal(pool_alloc(&pool, &held[count++]), 0);
	while (count > 0) pool_free(&pool, held[--count]);
	assert_int_equal(frames_free_count(&frames, FRAMES_POOL), free);
}

static void pool_init_bad_sizes_are_refused(void **state) {
	(void)state;
	struct pool pool;
	assert_int_equal(pool_init(&pool, "test", &frames, 0, 8), -ERR_INVAL);
	assert_int_equal(pool_init(&pool, "test", &frames, 65537, 8), -ERR_INVAL);
	assert_int_equal(pool_init(&pool, "test", &frames, 8, 3), -ERR_INVAL);
	assert_int_equal(pool_init(&pool, "test", &frames, 8, 8192), -ERR_INVAL);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(pool_alloc_random_sequence_is_disjoint_and_zeroed),
	    cmocka_unit_test(pool_alloc_exhausted_gives_nomem),
	    cmocka_unit_test(pool_init_bad_sizes_are_refused),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
