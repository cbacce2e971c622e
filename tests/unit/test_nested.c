// SPDX-License-Identifier: Apache-2.0
// Nested page tables of a VM: slots in all formats, exact give-back of tables after a flush, running out of
// memory, and dirty logging by flag and by write protection against a model that plays the guest's writes.
#include "mm/ept/nested.h"

#include "kernel/lib/err.h"
#include "mm/ept/ept.h"
#include "mm/ept/npt.h"
#include "tests/unit/mm_arena.h"

#define ARENA_BYTES (4 * GIB)
#define LOG_PAGES 1500u

static const struct pt_format *const formats[] = {&ept_format, &ept_format_ad, &npt_format};
static struct frames frames;
static struct nested nested;

static void build(const struct pt_format *format, unsigned leaf_levels) {
	arena_frames(&frames, MIB, 3 * GIB, 16 * MIB);
	assert_int_equal(nested_init(&nested, &frames, format, 4, leaf_levels), 0);
}

static void expect(uint64_t at, uint64_t pa, unsigned level, uint32_t rights, enum pt_type type) {
	struct pt_mapping m;
	assert_int_equal(nested_translate(&nested, gpa(at), &m), 0);
	assert_int_equal(m.pa.v, pa);
	assert_int_equal(m.level, level);
	assert_int_equal(m.attr & PT_RIGHTS, rights);
	assert_int_equal(pt_attr_type(m.attr), type);
}

static void nested_map_slot_flags_give_rights_and_largest_pages(void **state) {
	(void)state;
	const struct extent ram_extents[] = {{0, {0x140000}, 0x40000}, {0x40000, {0x9000}, 0x201}};
	const struct memslot ram = {.base = {0}, .pages = 0x40201, .extent_count = 2, .extents = ram_extents};
	const struct extent one[] = {{0, {0x77}, 1}};
	const struct memslot rom = {
	    .base = {0xfffff}, .pages = 1, .flags = MEMSLOT_RO, .extent_count = 1, .extents = one};
	const struct memslot bar = {
	    .base = {0xc0000}, .pages = 1, .flags = MEMSLOT_MMIO, .extent_count = 1, .extents = one};
	for (unsigned i = 0; i < array_count(formats); i++) {
		for (unsigned large = 0; large < 2; large++) {
			build(formats[i], large ? PT_LEAF_1G : PT_LEAF_2M);
			uint64_t generation = nested_generation(&nested);
			assert_int_equal(nested_map_slot(&nested, &ram), 0);
			assert_int_equal(nested_map_slot(&nested, &rom), 0);
			assert_int_equal(nested_map_slot(&nested, &bar), 0);
			assert_int_equal(nested_map_slot(&nested, &ram), -ERR_EXIST);
			assert_int_equal(nested_generation(&nested), generation); // nothing to flush after building
			expect(0x1234567, 0x141234567, large ? PT_LEVEL_1G : PT_LEVEL_2M, PT_RIGHTS, PT_WB);
			expect(GIB, 0x9000000, PT_LEVEL_2M, PT_RIGHTS, PT_WB);
			expect(GIB + 2 * MIB, 0x9200000, PT_LEVEL_4K, PT_RIGHTS, PT_WB);
			expect(0xfffff010, 0x77010, PT_LEVEL_4K, PT_READ | PT_EXEC, PT_WB);
			expect(0xc0000000, 0x77000, PT_LEVEL_4K, PT_READ | PT_WRITE, PT_UC);
			assert_int_equal(nested_protect(&nested, (gfn_t){1}, 1, PT_READ), 0);
			expect(0x1000, 0x140001000, PT_LEVEL_4K, PT_READ, PT_WB);
			expect(0x2000, 0x140002000, PT_LEVEL_4K, PT_RIGHTS, PT_WB);
			assert_true(nested_generation(&nested) > generation);
		}
	}
}

static void nested_unmap_slot_tables_wait_for_flush(void **state) {
	(void)state;
	const struct extent extents[] = {{0, {0x9001}, 3000}};
	const struct memslot slot = {.base = {5000}, .pages = 3000, .extent_count = 1, .extents = extents};
	build(&npt_format, PT_LEAF_1G);
	uint64_t free = frames_free_count(&frames, FRAMES_POOL);
	assert_int_equal(nested_map_slot(&nested, &slot), 0);
	uint64_t tables = nested.pt.tables;
	assert_int_equal(frames_free_count(&frames, FRAMES_POOL), free - (tables - 1));
	uint64_t before = nested_generation(&nested);
	nested_unmap_slot(&nested, &slot);
	assert_true(nested_generation(&nested) > before);
	nested_reclaim(&nested, before); // a CPU has not flushed since
	assert_int_equal(frames_free_count(&frames, FRAMES_POOL), free - (tables - 1));
	nested_reclaim(&nested, nested_generation(&nested));
	assert_int_equal(frames_free_count(&frames, FRAMES_POOL), free);
	nested_destroy(&nested);
	assert_int_equal(frames_free_count(&frames, FRAMES_POOL), free + 1);
}

static void nested_map_slot_out_of_memory_maps_nothing(void **state) {
	(void)state;
	const struct extent extents[] = {{0, {0x9000}, 512}, {512, {0x20001}, 4096}};
	const struct memslot slot = {.base = {512}, .pages = 4608, .extent_count = 2, .extents = extents};
	build(&ept_format, PT_LEAF_2M);
	pfn_t pfn;
	while (frames_free_count(&frames, FRAMES_POOL) > 5)
		assert_int_equal(frames_alloc(&frames, &FRAMES_REQUEST(FRAMES_POOL, 1), &pfn), 0);
	assert_int_equal(nested_map_slot(&nested, &slot), -ERR_NOMEM);
	struct pt_mapping m;
	for (uint64_t page = 0; page < 6000; page++)
		assert_int_equal(nested_translate(&nested, gpa(page * PAGE_BYTES), &m), -ERR_NOENT);
	nested_reclaim(&nested, UINT64_MAX);
	assert_int_equal(frames_free_count(&frames, FRAMES_POOL), 5);
}

// The guest writes a page: the CPU sets the dirty flag, or faults.
static void guest_write(const struct memslot_table *table, uint64_t page) {
	struct pt_mapping m;
	assert_int_equal(nested_translate(&nested, gpa(page * PAGE_BYTES), &m), 0);
	if ((m.attr & PT_WRITE) == 0) {
		assert_true(nested_log_fault(&nested, table, gpa(page * PAGE_BYTES + 8)));
		assert_int_equal(nested_translate(&nested, gpa(page * PAGE_BYTES), &m), 0);
	}
	assert_true((m.attr & PT_WRITE) != 0);
	uint64_t entry_table = nested.pt.root.v;
	for (unsigned level = 4; nested.pt.format->dirty != 0; level--) {
		uint64_t *entry = (uint64_t *)frame_ptr(hpa(entry_table)) + (page >> (9 * (level - 1)) & 511);
		if (level == m.level) {
			*entry |= nested.pt.format->dirty;
			return;
		}
		entry_table = *entry & nested.pt.format->addr_mask;
	}
}

static void nested_log_collect_finds_exactly_the_written_pages(void **state) {
	(void)state;
	struct rng rng;
	rng_init(&rng, 0x6c6f);
	static uint64_t dirty[(LOG_PAGES + 63) / 64];
	const struct extent extents[] = {{0, {0x9000}, 1024}, {1024, {0x20001}, LOG_PAGES - 1024}};
	const struct extent other[] = {{0, {0x9400}, 512}};
	for (unsigned i = 0; i < array_count(formats); i++) {
		struct memslot_table table = {
		    .count = 2,
		    .slot = {{.base = {512},
		              .pages = LOG_PAGES,
		              .flags = MEMSLOT_LOG,
		              .extent_count = 2,
		              .extents = extents,
		              .dirty = dirty},
		             {.base = {512 + LOG_PAGES}, .pages = 512, .extent_count = 1, .extents = other}}};
		const struct memslot *slot = &table.slot[0];
		build(formats[i], PT_LEAF_2M);
		assert_int_equal(nested_map_slot(&nested, &table.slot[0]), 0);
		assert_int_equal(nested_map_slot(&nested, &table.slot[1]), 0);
		uint64_t tables = nested.pt.tables;
		assert_int_equal(nested_log_start(&nested, slot), 0);
		for (unsigned round = 0; round < 20; round++) {
			static uint8_t written[LOG_PAGES];
			memset(written, 0, sizeof written);
			memset(dirty, 0, sizeof dirty);
			for (unsigned w = 0; w < 100; w++) {
				uint64_t page = rng_below(&rng, LOG_PAGES);
				guest_write(&table, 512 + page);
				written[page] = 1;
			}
			uint64_t generation = nested_generation(&nested);
			nested_log_collect(&nested, slot);
			assert_true(nested_generation(&nested) > generation); // or the next write goes unseen
			for (uint64_t page = 0; page < LOG_PAGES; page++)
				assert_int_equal(dirty[page / 64] >> page % 64 & 1, written[page]);
		}
		assert_false(nested_log_fault(&nested, &table, gpa((512 + LOG_PAGES) * PAGE_BYTES))); // not logged
		assert_false(nested_log_fault(&nested, &table, gpa(0)));                              // not memory
		nested_log_stop(&nested, slot);
		assert_int_equal(nested.pt.tables, tables);
		expect(512 * PAGE_BYTES, 0x9000 * PAGE_BYTES, PT_LEVEL_2M, PT_RIGHTS, PT_WB);
	}
}

static void nested_log_start_out_of_memory_changes_nothing(void **state) {
	(void)state;
	static uint64_t dirty[64];
	const struct extent extents[] = {{0, {0x9000}, 4096}};
	const struct memslot slot = {.base = {0},
	                             .pages = 4096,
	                             .flags = MEMSLOT_LOG,
	                             .extent_count = 1,
	                             .extents = extents,
	                             .dirty = dirty};
	build(&ept_format, PT_LEAF_2M);
	assert_int_equal(nested_map_slot(&nested, &slot), 0);
	pfn_t pfn;
	while (frames_free_count(&frames, FRAMES_POOL) > 3)
		assert_int_equal(frames_alloc(&frames, &FRAMES_REQUEST(FRAMES_POOL, 1), &pfn), 0);
	assert_int_equal(nested_log_start(&nested, &slot), -ERR_NOMEM);
	expect(0, 0x9000 * PAGE_BYTES, PT_LEVEL_2M, PT_RIGHTS, PT_WB);
	nested_reclaim(&nested, UINT64_MAX);
	assert_int_equal(frames_free_count(&frames, FRAMES_POOL), 3);
}

static int setup(void **state) {
	*state = arena_map(ARENA_BYTES);
	return 0;
}
static int teardown(void **state) {
	arena_unmap(*state, ARENA_BYTES);
	return 0;
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(nested_map_slot_flags_give_rights_and_largest_pages),
	    cmocka_unit_test(nested_unmap_slot_tables_wait_for_flush),
	    cmocka_unit_test(nested_map_slot_out_of_memory_maps_nothing),
	    cmocka_unit_test(nested_log_collect_finds_exactly_the_written_pages),
	    cmocka_unit_test(nested_log_start_out_of_memory_changes_nothing),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
