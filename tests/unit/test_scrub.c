// SPDX-License-Identifier: Apache-2.0
// The scrubbing of a VM's memory: every byte of the map and no other, in steps that keep their bound.
#include "kernel/scrub.h"

#include "kernel/lib/err.h"
#include "tests/unit/support.h"

#define SPACE_BYTES (1 * MIB)
#define DIRT 0xa5

static uint8_t guest[SPACE_BYTES];
static struct gspace space;
static const struct load_range map[] = {
    {.base = 0, .bytes = 0x9fc00, .type = LOAD_RAM},
    {.base = 0xa0000, .bytes = 0x1000, .type = LOAD_RESERVED},
    {.base = 0xf0000, .bytes = 0x10000, .type = LOAD_ACPI},
};

static int setup(void **state) {
	(void)state;
	gspace_init_arena(&space, guest, SPACE_BYTES, NULL);
	memset(guest, DIRT, sizeof guest);
	return 0;
}

static uint64_t dirty_bytes(void) {
	uint64_t count = 0;
	for (uint64_t i = 0; i < SPACE_BYTES; i++) count += guest[i] != 0;
	return count;
}

static bool in_map(uint64_t at) {
	for (unsigned i = 0; i < array_count(map); i++)
		if (at >= map[i].base && at - map[i].base < map[i].bytes) return true;
	return false;
}

static void scrub_step_zeroes_the_map_and_nothing_else(void **state) {
	(void)state;
	static const uint64_t sizes[] = {1000, PAGE_BYTES, 0x9fc00, SPACE_BYTES};
	for (unsigned s = 0; s < array_count(sizes); s++) {
		struct scrub job;
		int more = 1;
		setup(NULL);
		scrub_start(&job, &space, map, array_count(map));
		for (uint64_t before = SPACE_BYTES; more > 0; before = dirty_bytes()) {
			more = scrub_step(&job, sizes[s]);
			assert_in_range(before - dirty_bytes(), 1, sizes[s]);
		}
		assert_int_equal(more, 0);
		for (uint64_t i = 0; i < SPACE_BYTES; i++) assert_int_equal(guest[i], in_map(i) ? 0 : DIRT);
		assert_int_equal(scrub_step(&job, sizes[s]), 0);
	}
}

static void scrub_step_again_is_whole_after_a_dropped_job(void **state) {
	(void)state;
	struct scrub job;
	scrub_start(&job, &space, map, array_count(map));
	assert_int_equal(scrub_step(&job, PAGE_BYTES), 1);
	memset(guest, DIRT, sizeof guest);
	scrub_start(&job, &space, map, array_count(map));
	while (scrub_step(&job, PAGE_BYTES) > 0) continue;
	for (uint64_t i = 0; i < SPACE_BYTES; i++) assert_int_equal(guest[i], in_map(i) ? 0 : DIRT);
}

static void scrub_step_empty_map_is_done(void **state) {
	(void)state;
	struct scrub job;
	scrub_start(&job, &space, map, 0);
	assert_int_equal(scrub_step(&job, PAGE_BYTES), 0);
	assert_int_equal(dirty_bytes(), SPACE_BYTES);
}

static void scrub_step_outside_memory_is_an_error(void **state) {
	(void)state;
	const struct load_range wild[] = {{.base = SPACE_BYTES, .bytes = PAGE_BYTES, .type = LOAD_RAM}};
	struct scrub job;
	scrub_start(&job, &space, wild, 1);
	assert_int_equal(scrub_step(&job, PAGE_BYTES), -ERR_FAULT);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(scrub_step_zeroes_the_map_and_nothing_else, setup),
	    cmocka_unit_test_setup(scrub_step_again_is_whole_after_a_dropped_job, setup),
	    cmocka_unit_test_setup(scrub_step_empty_map_is_done, setup),
	    cmocka_unit_test_setup(scrub_step_outside_memory_is_an_error, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
