// SPDX-License-Identifier: Apache-2.0
// Guest memory access over an arena: what is memory is read and written as bytes, whatever slots and pages
// it crosses; what is not gives -ERR_FAULT; writes are logged; another VM's memory is reached by its frames.
#include "mm/gmem.h"

#include "kernel/lib/err.h"
#include "tests/unit/mm_arena.h"

#define SPACE_BYTES (1 * MIB)
#define PAGES (SPACE_BYTES / PAGE_BYTES)

static uint8_t guest[SPACE_BYTES] __attribute__((aligned(4096)));
static const struct extent backing[] = {{0, {0x4000}, 16}, {16, {0x5000}, 16}};
static const struct extent small[] = {{0, {0x6000}, 1}};
static uint64_t dirty[1];

// 0..31 RAM (logged), 32 ROM, 33 RAM, 40 device memory, 255 RAM.
static struct memslot_table slots = {
    .count = 5,
    .slot = {
        {.base = {0},
         .pages = 32,
         .flags = MEMSLOT_LOG,
         .extent_count = 2,
         .extents = backing,
         .dirty = dirty},
        {.base = {32}, .pages = 1, .flags = MEMSLOT_RO, .extent_count = 1, .extents = small},
        {.base = {33}, .pages = 1, .extent_count = 1, .extents = small},
        {.base = {40}, .pages = 1, .flags = MEMSLOT_MMIO, .extent_count = 1, .extents = small},
        {.base = {255}, .pages = 1, .extent_count = 1, .extents = small},
    }};

static bool model(uint64_t addr, uint64_t len, bool write) {
	for (uint64_t i = 0; i < len; i++) {
		uint64_t page = (addr + i) / PAGE_BYTES;
		bool ok = page < 32 || (page == 32 && !write) || page == 33 || page == 255;
		if (!ok || addr + i < addr) return false;
	}
	return true;
}

static void gmem_random_accesses_match_model(void **state) {
	(void)state;
	struct rng rng;
	struct gspace g;
	static uint8_t copy[SPACE_BYTES], buf[3 * PAGE_BYTES];
	rng_init(&rng, 0x676d);
	gspace_init_arena(&g, guest, SPACE_BYTES, &slots);
	memcpy(copy, guest, sizeof copy);
	for (unsigned step = 0; step < 50000; step++) {
		static const uint64_t places[] = {
		    0, 31 * PAGE_BYTES, 33 * PAGE_BYTES, 40 * PAGE_BYTES, 254 * PAGE_BYTES, SPACE_BYTES - 64};
		uint64_t at = places[rng_below(&rng, array_count(places))] + rng_below(&rng, 3 * PAGE_BYTES);
		if (rng_below(&rng, 50) == 0) at = UINT64_MAX - rng_below(&rng, 40);
		uint64_t len = rng_below(&rng, rng_below(&rng, 4) ? 20 : sizeof buf);
		for (unsigned i = 0; i < len; i += 8) put_le64(&buf[i < sizeof buf - 8 ? i : 0], rng_next(&rng));
		unsigned op = (unsigned)rng_below(&rng, 4);
		if (op == 0) {
			int err = gmem_read(&g, gpa(at), buf, len);
			assert_int_equal(err, model(at, len, false) ? 0 : -ERR_FAULT);
			if (err == 0 && len != 0) assert_memory_equal(buf, &copy[at], len);
		} else if (op == 1) {
			int err = gmem_write(&g, gpa(at), buf, len);
			assert_int_equal(err, model(at, len, true) ? 0 : -ERR_FAULT);
			if (err == 0 && len != 0) memcpy(&copy[at], buf, len);
		} else if (op == 2) {
			int err = gmem_zero(&g, gpa(at), len);
			assert_int_equal(err, model(at, len, true) ? 0 : -ERR_FAULT);
			if (err == 0 && len != 0) memset(&copy[at], 0, len);
		} else {
			assert_int_equal(gmem_backed(&g, gpa(at), len, step & 1), model(at, len, step & 1));
		}
	}
	assert_memory_equal(copy, guest, sizeof copy);
}

static void gmem_sized_accesses_read_and_write_that_width(void **state) {
	(void)state;
	struct gspace g;
	uint8_t v8;
	uint16_t v16;
	uint32_t v32;
	uint64_t v64;
	gspace_init_arena(&g, guest, SPACE_BYTES, &slots);
	assert_int_equal(gmem_write64(&g, gpa(0xffc), UINT64_C(0x8877665544332211)), 0);
	assert_int_equal(gmem_read64(&g, gpa(0xffc), &v64), 0);
	assert_int_equal(v64, UINT64_C(0x8877665544332211));
	assert_int_equal(gmem_read8(&g, gpa(0xffd), &v8), 0);
	assert_int_equal(v8, 0x22);
	assert_int_equal(gmem_read16(&g, gpa(0xfff), &v16), 0);
	assert_int_equal(v16, 0x5544);
	assert_int_equal(gmem_write8(&g, gpa(0xffc), 0xaa), 0);
	assert_int_equal(gmem_write16(&g, gpa(0xffd), 0xbbcc), 0);
	assert_int_equal(gmem_write32(&g, gpa(0x1000), 0xdeadbeef), 0);
	assert_int_equal(gmem_read32(&g, gpa(0xffc), &v32), 0);
	assert_int_equal(v32, 0x44bbccaa);
	assert_int_equal(gmem_read64(&g, gpa(32 * PAGE_BYTES), &v64), 0);
	assert_int_equal(gmem_write64(&g, gpa(32 * PAGE_BYTES), 1), -ERR_FAULT);
	assert_int_equal(gmem_write64(&g, gpa(32 * PAGE_BYTES - 4), 1), -ERR_FAULT);
	assert_int_equal(gmem_read64(&g, gpa(40 * PAGE_BYTES), &v64), -ERR_FAULT);
	assert_int_equal(gmem_read64(&g, gpa(SPACE_BYTES - 8), &v64), 0);
	assert_int_equal(gmem_read64(&g, gpa(SPACE_BYTES - 7), &v64), -ERR_FAULT);
	assert_int_equal(gmem_read64(&g, gpa(SPACE_BYTES), &v64), -ERR_FAULT);
	assert_int_equal(gmem_read8(&g, gpa(UINT64_MAX), &v8), -ERR_FAULT);
}

static void gmem_cmpxchg_swaps_only_what_is_expected(void **state) {
	(void)state;
	struct gspace g;
	gspace_init_arena(&g, guest, SPACE_BYTES, &slots);
	assert_int_equal(gmem_write64(&g, gpa(64), 5), 0);
	uint64_t expected = 4;
	assert_int_equal(gmem_cmpxchg64(&g, gpa(64), &expected, 9), 0);
	assert_int_equal(expected, 5);
	assert_int_equal(gmem_cmpxchg64(&g, gpa(64), &expected, 9), 0);
	assert_int_equal(expected, 5);
	uint64_t now;
	assert_int_equal(gmem_read64(&g, gpa(64), &now), 0);
	assert_int_equal(now, 9);
	uint32_t expected32 = 9;
	assert_int_equal(gmem_cmpxchg32(&g, gpa(64), &expected32, 7), 0);
	assert_int_equal(gmem_cmpxchg32(&g, gpa(66), &expected32, 7), -ERR_INVAL);
	assert_int_equal(gmem_cmpxchg32(&g, gpa(32 * PAGE_BYTES), &expected32, 7), -ERR_FAULT);
}

static void gmem_write_marks_logged_pages(void **state) {
	(void)state;
	struct gspace g;
	uint8_t bytes[2 * PAGE_BYTES] = {0};
	gspace_init_arena(&g, guest, SPACE_BYTES, &slots);
	dirty[0] = 0;
	assert_int_equal(gmem_write64(&g, gpa(2 * PAGE_BYTES - 4), 1), 0);
	assert_int_equal(dirty[0], 6);
	assert_int_equal(gmem_write(&g, gpa(9 * PAGE_BYTES + 1), bytes, sizeof bytes), 0);
	assert_int_equal(gmem_zero(&g, gpa(31 * PAGE_BYTES), 1), 0);
	assert_int_equal(gmem_write8(&g, gpa(33 * PAGE_BYTES), 1), 0);
	assert_int_equal(dirty[0], UINT64_C(0x80000e06));
	static struct memslot_table quiet; // the same without logging
	quiet = slots;
	quiet.slot[0].flags = 0;
	assert_ptr_equal(gspace_publish(&g, &quiet), &slots);
	assert_false(g.logging);
}

static void gspace_init_arena_without_slots_is_all_memory(void **state) {
	(void)state;
	struct gspace g;
	uint8_t v;
	gspace_init_arena(&g, guest, SPACE_BYTES, NULL);
	assert_int_equal(gmem_write8(&g, gpa(40 * PAGE_BYTES), 3), 0);
	assert_int_equal(gmem_read8(&g, gpa(SPACE_BYTES - 1), &v), 0);
	assert_int_equal(gmem_read8(&g, gpa(SPACE_BYTES), &v), -ERR_FAULT);
}

static void gspace_init_is_the_window(void **state) {
	(void)state;
	struct gspace g;
	gspace_init(&g, &slots);
	assert_int_equal(g.base, WINDOW_BASE);
	assert_int_equal(g.mask, WINDOW_BYTES - 1);
	assert_true(g.logging);
}

static void gmem_other_goes_by_the_slots_frames(void **state) {
	(void)state;
	void *arena = arena_map(512 * MIB);
	static struct frames frames;
	static struct hostpt host;
	static struct hostpt_cpu cpu;
	arena_frames(&frames, 256 * MIB, 64 * MIB, 8 * MIB);
	assert_int_equal(hostpt_init(&host, &frames, 4, PT_LEAF_2M, hpa(0), NULL, 0, NULL), 0);
	assert_int_equal(hostpt_cpu_init(&host, &cpu), 0);
	struct gspace g;
	gspace_init(&g, &slots);
	struct rng rng;
	rng_init(&rng, 0x6f74);
	static uint8_t image[32 * PAGE_BYTES], back[32 * PAGE_BYTES];
	for (size_t i = 0; i < sizeof image; i += 8) put_le64(&image[i], rng_next(&rng));
	dirty[0] = 0;
	assert_int_equal(gmem_other_write(&g, &cpu, 0, gpa(5), image, sizeof image - 5), 0);
	assert_int_equal(dirty[0], UINT64_C(0xffffffff));
	assert_memory_equal(frame_ptr(hpa(0x4000 * PAGE_BYTES + 5)), image, 16 * PAGE_BYTES - 5);
	assert_memory_equal(frame_ptr(hpa(0x5000 * PAGE_BYTES)), &image[16 * PAGE_BYTES - 5], 16 * PAGE_BYTES);
	assert_int_equal(gmem_other_read(&g, &cpu, 1, gpa(5), back, sizeof back - 5), 0);
	assert_memory_equal(back, image, sizeof back - 5);
	assert_int_equal(gmem_other_write(&g, &cpu, 0, gpa(31 * PAGE_BYTES), image, PAGE_BYTES + 1), -ERR_FAULT);
	assert_int_equal(gmem_other_read(&g, &cpu, 0, gpa(31 * PAGE_BYTES), back, PAGE_BYTES + 1), 0);
	assert_int_equal(gmem_other_read(&g, &cpu, 0, gpa(40 * PAGE_BYTES), back, 1), -ERR_FAULT);
	assert_int_equal(cpu.temp_bytes[0] | cpu.temp_bytes[1], 0);
	arena_unmap(arena, 512 * MIB);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(gmem_random_accesses_match_model),
	    cmocka_unit_test(gmem_sized_accesses_read_and_write_that_width),
	    cmocka_unit_test(gmem_cmpxchg_swaps_only_what_is_expected),
	    cmocka_unit_test(gmem_write_marks_logged_pages),
	    cmocka_unit_test(gspace_init_arena_without_slots_is_all_memory),
	    cmocka_unit_test(gspace_init_is_the_window),
	    cmocka_unit_test(gmem_other_goes_by_the_slots_frames),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
