// SPDX-License-Identifier: Apache-2.0
// The host address space under 4 and 5 levels, read back by walking from a CPU's root as the CPU would:
// image rights, direct map of the pool and of nothing else, W^X everywhere, io mappings, stacks with their
// guards, temporary mappings, the window and the trampoline.
#include "mm/hostpt.h"

#include "kernel/lib/err.h"
#include "mm/window.h"
#include "tests/unit/mm_arena.h"

#define ARENA_BYTES (2 * GIB)
#define IMAGE_BASE (64 * MIB)

static struct frames frames;
static struct hostpt host;
static struct hostpt_cpu cpu[2];
static uint64_t shot_bytes;

static void shootdown(uint64_t va, uint64_t bytes) {
	assert_true(va >= IO_BASE);
	shot_bytes += bytes;
}

static const struct hostpt_section sections[] = {
    {KERNEL_VIRT, 0x21000, HOSTPT_RX},
    {KERNEL_VIRT + 0x21000, 0x5000, HOSTPT_R},
    {KERNEL_VIRT + 0x26000, 0x40a000, HOSTPT_RW},
};

static void build(unsigned levels, unsigned leaf_levels) {
	struct frames_range ranges[] = {{MIB, 1023 * MIB, true}, {IMAGE_BASE, 8 * MIB, false}};
	assert_int_equal(frames_init(&frames, ranges, 2, 32 * MIB), 0);
	assert_int_equal(
	    hostpt_init(&host, &frames, levels, leaf_levels, hpa(IMAGE_BASE), sections, 3, shootdown), 0);
	for (unsigned i = 0; i < 2; i++) assert_int_equal(hostpt_cpu_init(&host, &cpu[i]), 0);
	shot_bytes = 0;
}

// What a CPU finds at va: walks from its root with the manual's bits only.
struct found {
	bool mapped, write, exec, global, user;
	uint64_t pa, cache; // PCD, PWT
	unsigned level;
};

static struct found walk(unsigned index, uint64_t va) {
	uint64_t table = cpu[index].root.v;
	struct found f = {.write = true, .exec = true, .user = true};
	for (unsigned level = host.pt.levels;; level--) {
		unsigned shift = 12 + 9 * (level - 1);
		uint64_t e = ((const uint64_t *)frame_ptr(hpa(table)))[va >> shift & 511];
		if ((e & 1) == 0) return (struct found){.mapped = false};
		f.write &= (e & 2) != 0;
		f.user &= (e & 4) != 0;
		f.exec &= e >> 63 == 0;
		if (level == 1 || (e & 0x80) != 0) {
			f.mapped = true;
			f.global = (e & 0x100) != 0;
			f.cache = e & 0x18;
			f.level = level;
			f.pa = (e & UINT64_C(0x000ffffffffff000)) + (va & ((UINT64_C(1) << shift) - 1));
			return f;
		}
		table = e & UINT64_C(0x000ffffffffff000);
	}
}

struct sweep {
	uint64_t direct_bytes, leaves;
};

static int visit(void *ctx, const struct pt_mapping *leaf) {
	struct sweep *s = ctx;
	assert_true((leaf->attr & (PT_WRITE | PT_EXEC)) != (PT_WRITE | PT_EXEC));
	s->leaves++;
	if (leaf->va < IO_BASE) {
		assert_int_equal(leaf->va - DIRECT_BASE, leaf->pa.v);
		assert_int_equal(leaf->attr & (PT_WRITE | PT_EXEC), PT_WRITE);
		s->direct_bytes += pt_level_bytes(leaf->level);
	}
	return 0;
}

static void check_space(unsigned levels) {
	struct sweep s = {0};
	assert_int_equal(pt_walk(&host.pt, DIRECT_BASE, 0 - DIRECT_BASE, visit, &s), 0);
	uint64_t pool = 0, bytes;
	hpa_t base;
	for (unsigned i = 0; frames_pool_range(&frames, i, &base, &bytes); i++) {
		pool += bytes;
		struct found f = walk(1, DIRECT_BASE + base.v + bytes - 1);
		assert_true(f.mapped && f.write && !f.exec && f.global && !f.user);
		assert_int_equal(f.pa, base.v + bytes - 1);
	}
	assert_int_equal(s.direct_bytes, pool);
	for (unsigned i = 0; i < 3; i++) {
		struct found f = walk(0, sections[i].virt + sections[i].bytes - 1);
		assert_true(f.mapped && !f.user);
		assert_int_equal(f.pa, IMAGE_BASE + (sections[i].virt + sections[i].bytes - 1 - KERNEL_VIRT));
		assert_int_equal(f.write, sections[i].prot == HOSTPT_RW);
		assert_int_equal(f.exec, sections[i].prot == HOSTPT_RX);
	}
	assert_false(walk(0, KERNEL_VIRT + 0x430000).mapped);
	assert_false(walk(0, 0).mapped);
	assert_false(walk(0, IMAGE_BASE).mapped);
	assert_false(walk(0, DIRECT_BASE + IMAGE_BASE).mapped);
	assert_true(cpu[0].root.v < 4 * GIB && cpu[0].root.v != cpu[1].root.v);
	assert_int_equal(cpu[0].root.v == cpu[0].pml4.v, levels == 4);
}

static void hostpt_init_four_and_five_levels_map_own_memory_only(void **state) {
	(void)state;
	for (unsigned levels = 4; levels <= 5; levels++) {
		build(levels, levels == 4 ? PT_LEAF_1G : PT_LEAF_2M);
		check_space(levels);
	}
}

static void hostpt_init_section_outside_image_is_refused(void **state) {
	(void)state;
	arena_frames(&frames, MIB, 63 * MIB, 16 * MIB);
	struct hostpt_section bad = {KERNEL_VIRT - 4096, 4096, HOSTPT_R};
	assert_int_equal(hostpt_init(&host, &frames, 4, PT_LEAF_2M, hpa(IMAGE_BASE), &bad, 1, NULL), -ERR_RANGE);
	bad = (struct hostpt_section){KERNEL_VIRT + GIB - 4096, 8192, HOSTPT_R};
	assert_int_equal(hostpt_init(&host, &frames, 4, PT_LEAF_2M, hpa(IMAGE_BASE), &bad, 1, NULL), -ERR_RANGE);
}

static void hostmap_io_random_mappings_are_disjoint_and_guarded(void **state) {
	(void)state;
	build(4, PT_LEAF_1G);
	struct rng rng;
	rng_init(&rng, 0x696f);
	static struct {
		uint8_t *va;
		uint64_t base, bytes;
	} live[HOSTPT_IO_MAX];
	unsigned count = 0;
	for (unsigned step = 0; step < 3000; step++) {
		if (count > 0 && (count == 60 || rng_below(&rng, 2) == 0)) {
			unsigned i = (unsigned)rng_below(&rng, count);
			uint64_t before = shot_bytes;
			hostunmap_io(&host, live[i].va);
			assert_true(shot_bytes - before >= live[i].bytes);
			assert_false(walk(1, (uintptr_t)live[i].va).mapped);
			live[i] = live[--count];
			continue;
		}
		uint64_t base = GIB + rng_below(&rng, 1 << 30),
		         bytes = 1 + rng_below(&rng, rng_below(&rng, 5) ? 9000 : 9 * MIB);
		void *va;
		assert_int_equal(hostmap_io(&host, hpa(base), bytes, PT_UC, HOSTPT_RW, &va), 0);
		live[count].va = va;
		live[count].base = base;
		live[count++].bytes = bytes;
		uint64_t first = align_down((uintptr_t)va, PAGE_BYTES),
		         end = align_up((uintptr_t)va + bytes, PAGE_BYTES);
		assert_false(walk(0, first - 1).mapped);
		assert_false(walk(0, end).mapped);
		for (unsigned i = 0; i < count; i++) {
			struct found f = walk(i & 1, (uintptr_t)live[i].va + live[i].bytes - 1);
			assert_true(f.mapped && f.write && !f.exec && f.cache == 0x18);
			assert_int_equal(f.pa, live[i].base + live[i].bytes - 1);
		}
	}
	check_space(4);
}

static void hostmap_io_framebuffer_uses_large_pages_and_write_combining(void **state) {
	(void)state;
	build(5, PT_LEAF_1G);
	void *va;
	assert_int_equal(hostmap_io(&host, hpa(5 * GIB + 4096), 33 * MIB, PT_WC, HOSTPT_RW, &va), 0);
	struct found f = walk(0, (uintptr_t)va + 2 * MIB);
	assert_int_equal(f.level, 2);
	assert_int_equal(f.cache, 0x08); // PAT entry 1
	assert_int_equal(HOSTPT_PAT >> 8 & 0xff, 1);
	assert_int_equal(hostmap_io(&host, hpa(0), 0, PT_UC, HOSTPT_RW, &va), -ERR_INVAL);
	assert_int_equal(hostmap_io(&host, hpa(UINT64_MAX), 2, PT_UC, HOSTPT_RW, &va), -ERR_INVAL);
	assert_int_equal(hostmap_io(&host, hpa(0), 4096, PT_UC, HOSTPT_RX, &va), -ERR_INVAL);
	assert_int_equal(hostmap_io(&host, hpa(0), 4096, PT_WT, HOSTPT_RW, &va), -ERR_UNSUP);
	assert_int_equal(hostmap_io(&host, hpa(0), 2 * GIB, PT_UC, HOSTPT_RW, &va), -ERR_INVAL);
	assert_int_equal(hostmap_io(&host, hpa(0), GIB - 32 * MIB, PT_UC, HOSTPT_RW, &va), -ERR_NOMEM);
}

static void hostmap_stack_has_guards_on_both_sides(void **state) {
	(void)state;
	build(4, PT_LEAF_1G);
	void *top[3];
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(hostmap_stack(&host, i, i == 1 ? STACK_PAGES_MAX : 4, &top[i]), 0);
		uint64_t end = (uintptr_t)top[i], pages = i == 1 ? STACK_PAGES_MAX : 4;
		assert_int_equal(end % 16, 0);
		for (uint64_t at = end - pages * PAGE_BYTES; at < end; at += PAGE_BYTES) {
			struct found f = walk(1, at);
			assert_true(f.mapped && f.write && !f.exec);
		}
		assert_false(walk(1, end).mapped);
		assert_false(walk(1, end - pages * PAGE_BYTES - 1).mapped);
		assert_false(walk(1, end - pages * PAGE_BYTES - 4 * PAGE_BYTES).mapped);
	}
	uint64_t free = frames_free_count(&frames, FRAMES_POOL);
	assert_int_equal(hostmap_stack(&host, 1, 1, &top[0]), -ERR_EXIST);
	assert_int_equal(hostmap_stack(&host, STACK_MAX, 1, &top[0]), -ERR_RANGE);
	assert_int_equal(hostmap_stack(&host, 9, STACK_PAGES_MAX + 1, &top[0]), -ERR_RANGE);
	assert_int_equal(hostmap_stack(&host, 9, 0, &top[0]), -ERR_RANGE);
	assert_int_equal(frames_free_count(&frames, FRAMES_POOL), free);
}

static void hostmap_temp_is_seen_by_its_cpu_only(void **state) {
	(void)state;
	build(5, PT_LEAF_1G);
	uint64_t va = TEMP_BASE + 2 * TEMP_STRIDE_BYTES, free = frames_free_count(&frames, FRAMES_POOL);
	assert_ptr_equal(hostmap_temp(&cpu[1], 2, hpa(100 * MIB + 5), 8192, false),
	                 frame_ptr(hpa(100 * MIB + 5)));
	struct found f = walk(1, va + 5);
	assert_true(f.mapped && !f.write && !f.exec && !f.global);
	assert_int_equal(f.pa, 100 * MIB + 5);
	assert_int_equal(walk(1, va + 8192).pa, 100 * MIB + 8192);
	assert_false(walk(1, va + 12288).mapped);
	assert_false(walk(0, va).mapped);
	hostmap_temp(&cpu[1], 1, hpa(900 * MIB), TEMP_BYTES, true);
	f = walk(1, TEMP_BASE + TEMP_STRIDE_BYTES + TEMP_BYTES - 1);
	assert_true(f.mapped && f.write);
	assert_false(walk(1, TEMP_BASE + TEMP_STRIDE_BYTES + TEMP_BYTES).mapped);
	hostunmap_temp(&cpu[1], 1);
	hostunmap_temp(&cpu[1], 2);
	for (uint64_t at = TEMP_BASE; at < TEMP_BASE + TEMP_COUNT * TEMP_STRIDE_BYTES; at += PAGE_BYTES)
		assert_false(walk(1, at).mapped);
	assert_int_equal(frames_free_count(&frames, FRAMES_POOL), free); // no allocation on the way
}

static void hostpt_cpu_low_shows_trampoline_while_on(void **state) {
	(void)state;
	for (unsigned levels = 4; levels <= 5; levels++) {
		build(levels, PT_LEAF_1G);
		assert_int_equal(hostpt_low_map(&host, hpa(0x8000), 4096), 0);
		assert_int_equal(hostpt_low_map(&host, hpa(0x9000), 4096), -ERR_EXIST);
		hostpt_cpu_low(&host, &cpu[1], true);
		struct found f = walk(1, 0x8123);
		assert_true(f.mapped && f.exec && !f.write);
		assert_int_equal(f.pa, 0x8123);
		assert_false(walk(1, 0x9000).mapped);
		assert_false(walk(0, 0x8000).mapped);
		hostpt_cpu_low(&host, &cpu[1], false);
		assert_false(walk(1, 0x8000).mapped);
	}
}

static void hostpt_cpu_init_out_of_memory_leaks_nothing(void **state) {
	(void)state;
	for (unsigned levels = 4; levels <= 5; levels++) {
		build(levels, PT_LEAF_1G);
		hostpt_cpu_destroy(&host, &cpu[1]);
		pfn_t taken;
		while (frames_free_count(&frames, FRAMES_POOL) > 0)
			assert_int_equal(frames_alloc(&frames, &FRAMES_REQUEST(FRAMES_POOL, 1), &taken), 0);
		int err = -ERR_NOMEM;
		for (unsigned n = 0; err != 0; n++) {
			assert_int_equal(frames_free_count(&frames, FRAMES_POOL), n);
			assert_true(n < 16);
			err = hostpt_cpu_init(&host, &cpu[1]);
			if (err == 0) break;
			assert_int_equal(frames_free_count(&frames, FRAMES_POOL), n);
			frames_free(&frames, (pfn_t){taken.v - n}, 1); // the last ones taken were neighbours
		}
	}
}

static void window_load_hangs_vm_memory_in_this_cpu(void **state) {
	(void)state;
	build(5, PT_LEAF_1G);
	const struct extent extents[] = {{0, {0x10000}, 0x200}, {0x200, {0x23}, 1}};
	const struct memslot ram = {.base = {0}, .pages = 0x201, .extent_count = 2, .extents = extents};
	const struct memslot rom = {.base = {0x1000},
	                            .pages = 1,
	                            .flags = MEMSLOT_RO,
	                            .extent_count = 1,
	                            .extents = (const struct extent[]){{0, {0x99}, 1}}};
	const struct memslot device = {.base = {0x2000},
	                               .pages = 1,
	                               .flags = MEMSLOT_MMIO,
	                               .extent_count = 1,
	                               .extents = (const struct extent[]){{0, {0x98}, 1}}};
	uint64_t free = frames_free_count(&frames, FRAMES_POOL);
	struct window w;
	assert_int_equal(window_init(&w, &frames, PT_LEAF_1G), 0);
	assert_int_equal(window_map_slot(&w, &ram), 0);
	assert_int_equal(window_map_slot(&w, &rom), 0);
	assert_int_equal(window_map_slot(&w, &device), 0);
	assert_int_equal(window_map_slot(&w, &ram), -ERR_EXIST);
	assert_false(walk(0, WINDOW_BASE).mapped);
	window_load(&cpu[0], &w);
	struct found f = walk(0, WINDOW_BASE + 0x1fffff);
	assert_true(f.mapped && f.write && !f.exec && !f.global && !f.user);
	assert_int_equal(f.pa, 0x101fffff);
	assert_int_equal(f.level, 2);
	assert_int_equal(walk(0, WINDOW_BASE + 0x200000).pa, 0x23000);
	assert_false(walk(0, WINDOW_BASE + 0x201000).mapped);
	f = walk(0, WINDOW_BASE + 0x1000000);
	assert_true(f.mapped && !f.write && !f.exec);
	assert_false(walk(0, WINDOW_BASE + 0x2000000).mapped);
	assert_false(walk(1, WINDOW_BASE).mapped);
	window_unmap_slot(&w, &ram);
	assert_false(walk(0, WINDOW_BASE).mapped);
	window_load(&cpu[0], NULL);
	assert_false(walk(0, WINDOW_BASE + 0x1000000).mapped);
	window_destroy(&w);
	assert_int_equal(frames_free_count(&frames, FRAMES_POOL), free);
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
	    cmocka_unit_test(hostpt_init_four_and_five_levels_map_own_memory_only),
	    cmocka_unit_test(hostpt_init_section_outside_image_is_refused),
	    cmocka_unit_test(hostmap_io_random_mappings_are_disjoint_and_guarded),
	    cmocka_unit_test(hostmap_io_framebuffer_uses_large_pages_and_write_combining),
	    cmocka_unit_test(hostmap_stack_has_guards_on_both_sides),
	    cmocka_unit_test(hostmap_temp_is_seen_by_its_cpu_only),
	    cmocka_unit_test(hostpt_cpu_low_shows_trampoline_while_on),
	    cmocka_unit_test(hostpt_cpu_init_out_of_memory_leaks_nothing),
	    cmocka_unit_test(window_load_hangs_vm_memory_in_this_cpu),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
