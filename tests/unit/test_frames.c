// SPDX-License-Identifier: Apache-2.0
// The frame allocator against a byte-a-frame model: maps with overlaps, random allocation and freeing,
// lists of runs, nodes, colours, and exact counts after everything is back.
#include "mm/frames.h"

#include "kernel/lib/err.h"
#include "tests/unit/mm_arena.h"

#define ARENA_BYTES (5 * GIB)
#define SMALL_PAGES 65536u // 256 MiB: what the random tests use

static struct frames frames;
static struct rng rng;

static int setup(void **state) {
	*state = arena_map(ARENA_BYTES);
	rng_init(&rng, 0x6d6d);
	return 0;
}
static int teardown(void **state) {
	arena_unmap(*state, ARENA_BYTES);
	return 0;
}

static uint64_t free_all(void) {
	return frames_free_count(&frames, FRAMES_POOL) + frames_free_count(&frames, FRAMES_GUEST);
}

// ---- frames_init ------------------------------------------------------------------------------------

// Whole usable frames of a random map, page by page.
static uint64_t model_usable(const struct frames_range *ranges, unsigned count, uint8_t *usable) {
	uint64_t pages = 0;
	for (uint64_t pfn = 0; pfn < SMALL_PAGES; pfn++) {
		uint64_t at = pfn * PAGE_BYTES;
		uint8_t bytes[8] = {0}; // the page in eighths; bases and lengths are multiples of 512
		for (unsigned eighth = 0; eighth < 8; eighth++) {
			uint64_t where = at + eighth * 512;
			bool is_usable = false, reserved = false;
			for (unsigned i = 0; i < count; i++) {
				if (where < ranges[i].base || where - ranges[i].base >= ranges[i].bytes) continue;
				is_usable |= ranges[i].usable;
				reserved |= !ranges[i].usable;
			}
			bytes[eighth] = is_usable && !reserved;
		}
		usable[pfn] = at >= FRAMES_LOW_BYTES && memcmp(bytes, "\1\1\1\1\1\1\1\1", 8) == 0;
		pages += usable[pfn];
	}
	return pages;
}

// Takes every frame there is, each once and from usable memory, and gives all back.
static void check_exhaustive(const uint8_t *usable, uint64_t expected) {
	static uint8_t seen[SMALL_PAGES];
	memset(seen, 0, sizeof seen);
	uint64_t before = free_all(), taken = 0;
	assert_int_equal(before, expected - frames.meta_pages);
	for (enum frames_zone zone = 0; zone < FRAMES_ZONE_COUNT; zone++) {
		pfn_t pfn;
		while (frames_alloc(&frames, &FRAMES_REQUEST(zone, 1), &pfn) == 0) {
			assert_true(pfn.v < SMALL_PAGES && usable[pfn.v] && !seen[pfn.v]);
			seen[pfn.v] = 1;
			taken++;
		}
		assert_int_equal(frames_free_count(&frames, zone), 0);
	}
	assert_int_equal(taken, before);
	for (uint64_t pfn = 0; pfn < SMALL_PAGES; pfn++)
		if (seen[pfn]) frames_free(&frames, (pfn_t){pfn}, 1);
	assert_int_equal(free_all(), before);
}

static void frames_init_random_map_gives_usable_minus_reserved(void **state) {
	(void)state;
	static uint8_t usable[SMALL_PAGES];
	unsigned accepted = 0;
	for (unsigned round = 0; round < 25; round++) {
		struct frames_range ranges[24];
		unsigned count = 4 + (unsigned)rng_below(&rng, 20);
		for (unsigned i = 0; i < count; i++) {
			uint64_t base = rng_below(&rng, 250 * MIB) / 512 * 512;
			uint64_t room = 256 * MIB - base;
			uint64_t bytes =
			    (i < 3 ? room / 2 + rng_below(&rng, room / 2) : rng_below(&rng, room / 8 + 1)) / 512 * 512;
			ranges[i] = (struct frames_range){
			    .base = base, .bytes = bytes, .usable = i < 3 || rng_below(&rng, 3) == 0};
		}
		struct frames_range copy[24];
		memcpy(copy, ranges, sizeof copy);
		uint64_t pages = model_usable(ranges, count, usable);
		int err = frames_init(&frames, copy, count, 4 * MIB);
		if (err != 0) { // a map of crumbs
			assert_int_equal(err, -ERR_NOMEM);
			continue;
		}
		assert_int_equal(frames.skipped_pages, 0);
		check_exhaustive(usable, pages);
		accepted++;
	}
	assert_true(accepted >= 15);
}

static void frames_init_large_machine_with_holes_is_compact(void **state) {
	(void)state;
	struct frames_range ranges[] = {
	    {4 * GIB, 62 * GIB, true},       {0, 640 * KIB, true},       {1 * MIB, 3 * GIB - 1 * MIB, true},
	    {2 * GIB + 123, 5 * MIB, false}, {40 * GIB, 1 * GIB, false}, {0xfec00000, 0x1400000, false},
	};
	uint64_t pool = frames_pool_suggest(64 * GIB);
	assert_int_equal(frames_init(&frames, ranges, array_count(ranges), pool), 0);
	assert_true(frames_free_count(&frames, FRAMES_POOL) >= pool / PAGE_BYTES);
	assert_true(frames.meta_pages * PAGE_BYTES < 64 * GIB / 20000);
	hpa_t base;
	uint64_t bytes;
	assert_true(frames_pool_range(&frames, 0, &base, &bytes));
	assert_true(base.v + bytes <= 4 * GIB && is_aligned(base.v | bytes, PAGE_2M_BYTES));
	struct extent list[8];
	unsigned count;
	struct frames_request request =
	    FRAMES_REQUEST(FRAMES_GUEST, (20 * GIB + 6 * MIB + 12 * KIB) / PAGE_BYTES);
	assert_int_equal(frames_alloc_extents(&frames, &request, list, 8, &count), 0);
	assert_true(is_aligned(list[0].pfn.v, GIB / PAGE_BYTES));
	uint64_t gigs = 0;
	for (unsigned i = 0; i < count && is_aligned(list[i].pfn.v, GIB / PAGE_BYTES); i++)
		gigs += list[i].pages * PAGE_BYTES / GIB;
	assert_true(gigs >= 20);
	frames_free_extents(&frames, list, count);
	assert_int_equal(frames_free_count(&frames, FRAMES_GUEST), frames.total[FRAMES_GUEST]);
}

static void frames_init_bad_maps_are_refused(void **state) {
	(void)state;
	struct frames_range wrapping = {.base = UINT64_MAX - 4095, .bytes = 8192, .usable = true};
	assert_int_equal(frames_init(&frames, &wrapping, 1, MIB), -ERR_INVAL);
	struct frames_range small = {.base = MIB, .bytes = 4 * MIB, .usable = true};
	assert_int_equal(frames_init(&frames, &small, 1, 64 * MIB), -ERR_NOMEM);
	struct frames_range high = {.base = 4 * GIB, .bytes = 8 * GIB, .usable = true};
	assert_int_equal(frames_init(&frames, &high, 1, 4 * MIB), -ERR_NOMEM);
	assert_int_equal(frames_init(&frames, &small, 0, 4 * MIB), -ERR_NOMEM);
}

static void frames_init_many_crumbs_counts_what_is_left_out(void **state) {
	(void)state;
	static struct frames_range ranges[300];
	for (unsigned i = 0; i < 299; i++)
		ranges[i] =
		    (struct frames_range){.base = 2 * MIB + i * 3 * PAGE_BYTES, .bytes = PAGE_BYTES, .usable = true};
	ranges[299] = (struct frames_range){.base = 64 * MIB, .bytes = 64 * MIB, .usable = true};
	assert_int_equal(frames_init(&frames, ranges, 300, 8 * MIB), 0);
	assert_int_equal(free_all() + frames.meta_pages + frames.skipped_pages, 299 + 64 * MIB / PAGE_BYTES);
	assert_true(frames.skipped_pages > 0 && frames.skipped_pages < 299);
}

// ---- alloc and free -----------------------------------------------------------------------------------

struct held {
	uint64_t pfn, pages;
};

static void frames_alloc_random_sequence_matches_model(void **state) {
	(void)state;
	static uint8_t owner[SMALL_PAGES];
	static struct held held[400];
	unsigned count = 0;
	memset(owner, 0, sizeof owner);
	struct frames_range ranges[] = {
	    {MIB, 100 * MIB, true}, {110 * MIB + 8192, 130 * MIB, true}, {50 * MIB, 12345, false}};
	assert_int_equal(frames_init(&frames, ranges, 3, 16 * MIB), 0);
	const uint64_t start[] = {frames_free_count(&frames, FRAMES_POOL),
	                          frames_free_count(&frames, FRAMES_GUEST)};
	for (unsigned step = 0; step < 20000; step++) {
		if (count == array_count(held) || (count > 0 && rng_below(&rng, 100) < 45)) {
			unsigned i = (unsigned)rng_below(&rng, count);
			uint64_t n = 1 + rng_below(&rng, held[i].pages); // give back a part of it
			frames_free(&frames, (pfn_t){held[i].pfn}, n);
			memset(&owner[held[i].pfn], 0, n);
			held[i].pfn += n;
			held[i].pages -= n;
			if (held[i].pages == 0) held[i] = held[--count];
			continue;
		}
		enum frames_zone zone = rng_below(&rng, 2) ? FRAMES_GUEST : FRAMES_POOL;
		struct frames_request q = FRAMES_REQUEST(zone, 1 + rng_below(&rng, rng_below(&rng, 8) ? 20 : 3000));
		q.align_pages = UINT64_C(1) << rng_below(&rng, 11);
		if (rng_below(&rng, 4) == 0) q.limit = rng_below(&rng, 256 * MIB);
		pfn_t pfn;
		uint64_t before = frames_free_count(&frames, zone);
		if (frames_alloc(&frames, &q, &pfn) != 0) {
			assert_int_equal(frames_free_count(&frames, zone), before);
			continue;
		}
		assert_int_equal(frames_free_count(&frames, zone), before - q.pages);
		assert_true(is_aligned(pfn.v, q.align_pages) && (pfn.v + q.pages) * PAGE_BYTES <= q.limit);
		for (uint64_t i = 0; i < q.pages; i++) assert_int_equal(owner[pfn.v + i], 0);
		memset(&owner[pfn.v], 1, q.pages);
		held[count++] = (struct held){pfn.v, q.pages};
	}
	while (count > 0) {
		count--;
		frames_free(&frames, (pfn_t){held[count].pfn}, held[count].pages);
	}
	assert_int_equal(frames_free_count(&frames, FRAMES_POOL), start[0]);
	assert_int_equal(frames_free_count(&frames, FRAMES_GUEST), start[1]);
}

// A failed search means that there is really no such run.
static void frames_alloc_nomem_only_when_no_run_fits(void **state) {
	(void)state;
	static uint8_t is_free[SMALL_PAGES];
	arena_frames(&frames, MIB, 20 * MIB, 2 * MIB);
	memset(is_free, 0, sizeof is_free);
	pfn_t pfn;
	while (frames_alloc(&frames, &FRAMES_REQUEST(FRAMES_GUEST, 1), &pfn) == 0)
		if (rng_below(&rng, 3) != 0) is_free[pfn.v] = 1;
	for (uint64_t i = 0; i < SMALL_PAGES; i++)
		if (is_free[i]) frames_free(&frames, (pfn_t){i}, 1);
	for (unsigned round = 0; round < 500; round++) {
		struct frames_request q = FRAMES_REQUEST(FRAMES_GUEST, 1 + rng_below(&rng, 12));
		q.align_pages = UINT64_C(1) << rng_below(&rng, 6);
		bool fits = false;
		for (uint64_t at = 0; at + q.pages <= SMALL_PAGES && !fits; at += q.align_pages)
			fits = memchr(&is_free[at], 0, q.pages) == NULL;
		uint64_t longest = 0, run = 0;
		for (uint64_t at = 0; at < SMALL_PAGES; at++) {
			run = is_free[at] ? run + 1 : 0;
			longest = max_u64(longest, run);
		}
		assert_int_equal(frames_largest(&frames, FRAMES_GUEST), longest);
		int err = frames_alloc(&frames, &q, &pfn);
		assert_int_equal(err, fits ? 0 : -ERR_NOMEM);
		if (err == 0) memset(&is_free[pfn.v], 0, q.pages);
	}
}

static void frames_alloc_impossible_request_is_refused(void **state) {
	(void)state;
	arena_frames(&frames, MIB, 32 * MIB, 4 * MIB);
	pfn_t pfn;
	struct frames_request q = FRAMES_REQUEST(FRAMES_GUEST, 0);
	assert_int_equal(frames_alloc(&frames, &q, &pfn), -ERR_INVAL);
	q = FRAMES_REQUEST(FRAMES_GUEST, 1);
	q.align_pages = 3;
	assert_int_equal(frames_alloc(&frames, &q, &pfn), -ERR_INVAL);
	q = FRAMES_REQUEST(FRAMES_GUEST, UINT64_MAX);
	assert_int_equal(frames_alloc(&frames, &q, &pfn), -ERR_NOMEM);
}

static void frames_reserve_takes_free_frames_only(void **state) {
	(void)state;
	arena_frames(&frames, 2 * MIB, 62 * MIB, 4 * MIB);
	uint64_t before = frames_free_count(&frames, FRAMES_GUEST);
	assert_int_equal(frames_reserve(&frames, hpa(MIB), MIB + 3 * PAGE_BYTES + 1), 0);
	assert_int_equal(frames_free_count(&frames, FRAMES_GUEST), before - 4);
	assert_int_equal(frames.total[FRAMES_GUEST], before - 4);
	assert_int_equal(frames_reserve(&frames, hpa(0), 8 * MIB), -ERR_BUSY);
	assert_int_equal(frames_free_count(&frames, FRAMES_GUEST), before - 4);
}

static void frames_alloc_node_and_colour_are_obeyed(void **state) {
	(void)state;
	arena_frames(&frames, 2 * MIB, 200 * MIB, 4 * MIB);
	uint64_t before = free_all();
	frames_node_set(&frames, 64 * MIB, 64 * MIB, 1);
	assert_int_equal(free_all(), before);
	struct frames_request q = FRAMES_REQUEST(FRAMES_GUEST, 512);
	q.node = 1;
	q.align_pages = 512;
	pfn_t pfn;
	unsigned blocks = 0;
	while (frames_alloc(&frames, &q, &pfn) == 0) {
		assert_in_range(pfn.v, 64 * MIB / PAGE_BYTES, 128 * MIB / PAGE_BYTES - 1);
		blocks++;
	}
	assert_int_equal(blocks, 32);
	frames_colours_set(&frames, 8);
	q = FRAMES_REQUEST(FRAMES_GUEST, 2);
	q.colours = 0x0c; // 2 and 3
	for (unsigned i = 0; i < 100; i++) {
		assert_int_equal(frames_alloc(&frames, &q, &pfn), 0);
		assert_int_equal(pfn.v % 8, 2);
	}
	q.pages = 3;
	assert_int_equal(frames_alloc(&frames, &q, &pfn), -ERR_NOMEM);
}

// ---- lists of runs --------------------------------------------------------------------------------------

static void frames_alloc_extents_random_is_exact_and_leaks_nothing(void **state) {
	(void)state;
	static struct extent list[4000], part[4000];
	arena_frames(&frames, MIB, 255 * MIB, 4 * MIB);
	static uint8_t holes[SMALL_PAGES];
	pfn_t pfn;
	for (unsigned i = 0; i < 300; i++) { // fragment it
		assert_int_equal(frames_alloc(&frames, &FRAMES_REQUEST(FRAMES_GUEST, 1 + rng_below(&rng, 100)), &pfn),
		                 0);
		if (rng_below(&rng, 2)) frames_free(&frames, pfn, 1);
	}
	uint64_t before = frames_free_count(&frames, FRAMES_GUEST);
	for (unsigned round = 0; round < 200; round++) {
		uint64_t pages = 1 + rng_below(&rng, before + before / 8);
		unsigned count, max = rng_below(&rng, 4) ? 4000 : 3;
		struct frames_request q = FRAMES_REQUEST(FRAMES_GUEST, pages);
		int err = frames_alloc_extents(&frames, &q, list, max, &count);
		if (err != 0) {
			assert_int_equal(err, -ERR_NOMEM);
			assert_true(pages > before || max == 3);
			assert_int_equal(frames_free_count(&frames, FRAMES_GUEST), before);
			continue;
		}
		uint64_t sum = 0;
		memset(holes, 0, sizeof holes);
		for (unsigned i = 0; i < count; i++) {
			assert_int_equal(list[i].first, sum);
			for (uint64_t p = 0; p < list[i].pages; p++) assert_int_equal(holes[list[i].pfn.v + p]++, 0);
			sum += list[i].pages;
		}
		assert_int_equal(sum, pages);
		assert_int_equal(frames_free_count(&frames, FRAMES_GUEST), before - pages);
		uint64_t first = rng_below(&rng, pages), n = 1 + rng_below(&rng, pages - first), at = 0;
		unsigned parts;
		assert_int_equal(extents_slice(list, count, first, n, part, 4000, &parts), 0);
		for (unsigned i = 0; i < parts; i++) {
			assert_int_equal(part[i].first, at);
			at += part[i].pages;
		}
		assert_int_equal(at, n);
		frames_free_extents(&frames, list, count);
		assert_int_equal(frames_free_count(&frames, FRAMES_GUEST), before);
	}
}

static void extents_slice_outside_is_refused(void **state) {
	(void)state;
	const struct extent list[] = {{0, {100}, 10}, {10, {200}, 5}};
	struct extent out[2];
	unsigned count;
	assert_int_equal(extents_slice(list, 2, 8, 4, out, 2, &count), 0);
	assert_int_equal(count, 2);
	assert_int_equal(out[0].pfn.v, 108);
	assert_int_equal(out[1].pfn.v, 200);
	assert_int_equal(out[1].first, 2);
	assert_int_equal(extents_slice(list, 2, 8, 4, out, 1, &count), -ERR_NOMEM);
	assert_int_equal(extents_slice(list, 2, 14, 2, out, 2, &count), -ERR_RANGE);
	assert_int_equal(extents_slice(list, 2, 15, 1, out, 2, &count), -ERR_RANGE);
	assert_int_equal(extents_slice(list, 2, 0, 0, out, 2, &count), -ERR_RANGE);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(frames_init_random_map_gives_usable_minus_reserved),
	    cmocka_unit_test(frames_init_large_machine_with_holes_is_compact),
	    cmocka_unit_test(frames_init_bad_maps_are_refused),
	    cmocka_unit_test(frames_init_many_crumbs_counts_what_is_left_out),
	    cmocka_unit_test(frames_alloc_random_sequence_matches_model),
	    cmocka_unit_test(frames_alloc_nomem_only_when_no_run_fits),
	    cmocka_unit_test(frames_alloc_impossible_request_is_refused),
	    cmocka_unit_test(frames_reserve_takes_free_frames_only),
	    cmocka_unit_test(frames_alloc_node_and_colour_are_obeyed),
	    cmocka_unit_test(frames_alloc_extents_random_is_exact_and_leaks_nothing),
	    cmocka_unit_test(extents_slice_outside_is_refused),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
