// SPDX-License-Identifier: Apache-2.0
// Memory slot tables against a page-wise model: insertion, removal, lookup, the frames behind, dirty bits.
#include "mm/memslot.h"

#include "kernel/lib/err.h"
#include "tests/unit/support.h"

#define PAGES 4096u

static const struct extent whole[] = {{0, {0x5000}, 0x100000}};

static void memslot_insert_random_matches_model(void **state) {
	(void)state;
	struct rng rng;
	rng_init(&rng, 0x736c);
	static struct extent extents[MEMSLOT_MAX * 2][3]; // by the slot's base / 64
	static uint64_t model[PAGES];                     // pfn + 1, 0 = none
	struct memslot_table table[2] = {{0}};
	unsigned now = 0;
	memset(model, 0, sizeof model);
	for (unsigned step = 0; step < 4000; step++) {
		struct memslot_table *from = &table[now], *to = &table[1 - now];
		if (rng_below(&rng, 3) == 0 && from->count > 0) {
			const struct memslot s = from->slot[rng_below(&rng, from->count)];
			assert_int_equal(memslot_remove(to, from, (gfn_t){s.base.v + 1}), -ERR_NOENT);
			assert_int_equal(memslot_remove(to, from, s.base), 0);
			memset(&model[s.base.v], 0, s.pages * sizeof model[0]);
			now = 1 - now;
			continue;
		}
		uint64_t base = rng_below(&rng, 64) * 64, pages = 3 + rng_below(&rng, 150);
		if (base + pages > PAGES) pages = PAGES - base;
		struct extent fresh[3];
		uint64_t at = 0;
		for (unsigned i = 0; i < 3; i++) {
			uint64_t n = i == 2 ? pages - at : 1 + rng_below(&rng, pages - at - (2 - i));
			fresh[i] = (struct extent){at, {rng_below(&rng, 1 << 30)}, n};
			at += n;
		}
		bool overlap = false;
		for (uint64_t i = 0; i < pages; i++) overlap |= model[base + i] != 0;
		struct memslot s = {.base = {base}, .pages = pages, .extent_count = 3, .extents = fresh};
		int err = memslot_insert(to, from, &s);
		assert_int_equal(err, overlap ? -ERR_OVERLAP : from->count == MEMSLOT_MAX ? -ERR_NOMEM : 0);
		if (err != 0) continue;
		memcpy(extents[base / 64], fresh, sizeof fresh);
		for (uint32_t i = 0; i < to->count; i++)
			if (to->slot[i].base.v == base) to->slot[i].extents = extents[base / 64];
		for (unsigned i = 0; i < 3; i++)
			for (uint64_t p = 0; p < fresh[i].pages; p++)
				model[base + fresh[i].first + p] = fresh[i].pfn.v + p + 1;
		now = 1 - now;
		for (uint64_t gfn = 0; gfn < PAGES; gfn += 1 + rng_below(&rng, 7)) {
			const struct memslot *found = memslot_find(to, (gfn_t){gfn});
			assert_int_equal(found != NULL, model[gfn] != 0);
			if (found == NULL) continue;
			uint64_t run;
			assert_int_equal(memslot_pfn(found, (gfn_t){gfn}, &run).v, model[gfn] - 1);
			assert_true(run > 0 && gfn + run <= found->base.v + found->pages);
			assert_int_equal(model[gfn + run - 1], model[gfn] + run - 1);
		}
	}
}

static void memslot_insert_bad_slot_is_refused(void **state) {
	(void)state;
	struct memslot_table empty = {0}, to;
	struct memslot s = {.base = {0}, .pages = 0x100000, .extent_count = 1, .extents = whole};
	assert_int_equal(memslot_insert(&to, &empty, &s), 0);
	s.pages = 0;
	assert_int_equal(memslot_insert(&to, &empty, &s), -ERR_INVAL);
	s.pages = 0xfffff; // the extents cover more
	assert_int_equal(memslot_insert(&to, &empty, &s), -ERR_INVAL);
	s.pages = 0x100000;
	s.base.v = (UINT64_C(512) << 18) - 0xfffff; // one page too high
	assert_int_equal(memslot_insert(&to, &empty, &s), -ERR_INVAL);
	s.base.v--;
	assert_int_equal(memslot_insert(&to, &empty, &s), 0);
	s.base.v = UINT64_MAX;
	assert_int_equal(memslot_insert(&to, &empty, &s), -ERR_INVAL);
	s.base.v = 0;
	s.flags = MEMSLOT_LOG; // and no bitmap
	assert_int_equal(memslot_insert(&to, &empty, &s), -ERR_INVAL);
}

static void memslot_mark_dirty_is_clipped_to_logging_slots(void **state) {
	(void)state;
	uint64_t dirty[2][3] = {0};
	const struct extent backing[] = {{0, {0}, 130}};
	struct memslot_table table = {.count = 3,
	                              .slot = {
	                                  {.base = {10},
	                                   .pages = 130,
	                                   .flags = MEMSLOT_LOG,
	                                   .extent_count = 1,
	                                   .extents = backing,
	                                   .dirty = dirty[0]},
	                                  {.base = {140}, .pages = 130, .extent_count = 1, .extents = backing},
	                                  {.base = {270},
	                                   .pages = 130,
	                                   .flags = MEMSLOT_LOG,
	                                   .extent_count = 1,
	                                   .extents = backing,
	                                   .dirty = dirty[1]},
	                              }};
	memslot_mark_dirty(&table, (gfn_t){0}, 11);
	assert_int_equal(dirty[0][0], 1);
	memslot_mark_dirty(&table, (gfn_t){138}, 134);
	assert_int_equal(dirty[0][2], 3);
	assert_int_equal(dirty[0][1], 0);
	assert_int_equal(dirty[1][0], 3);
	memslot_mark_dirty(&table, (gfn_t){399}, 1000);
	assert_int_equal(dirty[1][2], 2);
	assert_int_equal(memslot_dirty_words(130), 3);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(memslot_insert_random_matches_model),
	    cmocka_unit_test(memslot_insert_bad_slot_is_refused),
	    cmocka_unit_test(memslot_mark_dirty_is_clipped_to_logging_slots),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
