// SPDX-License-Identifier: Apache-2.0
// boot/memmap: adding, claiming and sorting, by hand and against a page-by-page model.
#include "tests/unit/support.h"

#include "boot/memmap.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"

#define PAGE 4096u

static struct boot_info info;

static int setup(void **state __unused_arg) {
	memset(&info, 0, sizeof info);
	return 0;
}

static void expect_range(uint32_t index, uint64_t base, uint64_t bytes, enum boot_mem_type type) {
	assert_true(index < info.mem_count);
	assert_int_equal(info.mem[index].base, base);
	assert_int_equal(info.mem[index].bytes, bytes);
	assert_int_equal(info.mem[index].type, type);
}

static void add_touching_ranges_become_one(void **state __unused_arg) {
	assert_int_equal(memmap_add(&info, 0x1000, 0x1000, BOOT_MEM_USABLE), 0);
	assert_int_equal(memmap_add(&info, 0x2000, 0x3000, BOOT_MEM_USABLE), 0);
	assert_int_equal(memmap_add(&info, 0x5000, 0x1000, BOOT_MEM_ACPI), 0);
	assert_int_equal(info.mem_count, 2);
	expect_range(0, 0x1000, 0x4000, BOOT_MEM_USABLE);
	expect_range(1, 0x5000, 0x1000, BOOT_MEM_ACPI);
}

static void add_empty_range_is_nothing(void **state __unused_arg) {
	assert_int_equal(memmap_add(&info, 0x1000, 0, BOOT_MEM_USABLE), 0);
	assert_int_equal(info.mem_count, 0);
}

static void add_wrapping_range_is_refused(void **state __unused_arg) {
	assert_int_equal(memmap_add(&info, UINT64_MAX - 4095, 8192, BOOT_MEM_USABLE), -ERR_RANGE);
	assert_int_equal(memmap_add(&info, UINT64_MAX - 4095, 4096, BOOT_MEM_USABLE), -ERR_RANGE);
	assert_int_equal(info.mem_count, 0);
}

static void add_full_table_merges_before_it_refuses(void **state __unused_arg) {
	// Even slots first, then the gaps: each gap makes one of three ranges after sorting.
	for (uint64_t i = 0; i < BOOT_MEM_MAX; i++)
		assert_int_equal(memmap_add(&info, (BOOT_MEM_MAX - i) * 2 * PAGE, PAGE, BOOT_MEM_USABLE), 0);
	assert_int_equal(memmap_add(&info, 0, PAGE, BOOT_MEM_RESERVED), -ERR_NOMEM);
	info.mem_count = BOOT_MEM_MAX - 1;
	assert_int_equal(memmap_add(&info, 3 * PAGE + 2 * PAGE, PAGE, BOOT_MEM_USABLE), 0);
	assert_int_equal(memmap_add(&info, 0, PAGE, BOOT_MEM_RESERVED), 0);
}

static void claim_inside_range_splits_it(void **state __unused_arg) {
	assert_int_equal(memmap_add(&info, 0x100000, 0x100000, BOOT_MEM_USABLE), 0);
	assert_int_equal(memmap_claim(&info, 0x140010, 0x20), 0);
	memmap_sort(&info);
	assert_int_equal(info.mem_count, 3);
	expect_range(0, 0x100000, 0x40000, BOOT_MEM_USABLE);
	expect_range(1, 0x140000, 0x1000, BOOT_MEM_LOADER);
	expect_range(2, 0x141000, 0xbf000, BOOT_MEM_USABLE);
}

static void claim_over_several_ranges_takes_all_of_them(void **state __unused_arg) {
	assert_int_equal(memmap_add(&info, 0x1000, 0x2000, BOOT_MEM_USABLE), 0);
	assert_int_equal(memmap_add(&info, 0x3000, 0x1000, BOOT_MEM_RESERVED), 0);
	assert_int_equal(memmap_add(&info, 0x4000, 0x4000, BOOT_MEM_USABLE), 0);
	assert_int_equal(memmap_claim(&info, 0x2000, 0x4000), 0);
	memmap_sort(&info);
	assert_int_equal(info.mem_count, 4);
	expect_range(0, 0x1000, 0x1000, BOOT_MEM_USABLE);
	expect_range(1, 0x2000, 0x4000,
	             BOOT_MEM_LOADER); // overlaps the reserved one: the kernel's check names it
	expect_range(2, 0x3000, 0x1000, BOOT_MEM_RESERVED);
	expect_range(3, 0x6000, 0x2000, BOOT_MEM_USABLE);
}

static void claim_sharing_a_page_merges(void **state __unused_arg) {
	assert_int_equal(memmap_add(&info, 0, 0x10000, BOOT_MEM_USABLE), 0);
	assert_int_equal(memmap_claim(&info, 0x2000, 0x1800), 0);
	assert_int_equal(memmap_claim(&info, 0x3800, 0x100), 0);
	memmap_sort(&info);
	assert_int_equal(info.mem_count, 3);
	expect_range(1, 0x2000, 0x2000, BOOT_MEM_LOADER);
}

static void claim_at_the_end_of_the_address_space_is_refused(void **state __unused_arg) {
	assert_int_equal(memmap_claim(&info, UINT64_MAX - 4096, 4096), -ERR_RANGE);
	assert_int_equal(memmap_claim(&info, 4096, UINT64_MAX), -ERR_RANGE);
}

static void put_descriptor(uint8_t *at, uint32_t type, uint64_t base, uint64_t pages, uint64_t attribute) {
	memset(at, 0xee, 48);
	put_le32(at, type);
	put_le64(at + 8, base);
	put_le64(at + 24, pages);
	put_le64(at + 32, attribute);
}

static void efi_types_are_told_apart(void **state __unused_arg) {
	static const enum boot_mem_type expected[] = {
	    BOOT_MEM_RESERVED, BOOT_MEM_USABLE,   BOOT_MEM_USABLE,   BOOT_MEM_USABLE,
	    BOOT_MEM_USABLE,   BOOT_MEM_RUNTIME,  BOOT_MEM_RUNTIME,  BOOT_MEM_USABLE,
	    BOOT_MEM_BAD,      BOOT_MEM_ACPI,     BOOT_MEM_NVS,      BOOT_MEM_MMIO,
	    BOOT_MEM_MMIO,     BOOT_MEM_RESERVED, BOOT_MEM_RESERVED, BOOT_MEM_RESERVED,
	};
	uint8_t map[array_count(expected) * 48];
	for (uint32_t i = 0; i < array_count(expected); i++)
		put_descriptor(map + i * 48, i, (uint64_t)i * 4 * PAGE, 2, 0xf); // gaps keep them apart
	assert_int_equal(memmap_add_efi(&info, map, sizeof map, 48), 0);
	assert_int_equal(info.mem_count, array_count(expected));
	for (uint32_t i = 0; i < array_count(expected); i++)
		expect_range(i, (uint64_t)i * 4 * PAGE, 2 * PAGE, expected[i]);
}

static void efi_runtime_and_special_purpose_memory_is_not_free(void **state __unused_arg) {
	uint8_t map[2 * 48];
	put_descriptor(map, 7, 0, 1, BIT64(63));
	put_descriptor(map + 48, 7, 0x10000, 1, BIT64(18));
	assert_int_equal(memmap_add_efi(&info, map, sizeof map, 48), 0);
	expect_range(0, 0, PAGE, BOOT_MEM_RUNTIME);
	expect_range(1, 0x10000, PAGE, BOOT_MEM_RESERVED);
}

static void efi_nonsense_is_refused(void **state __unused_arg) {
	uint8_t map[48];
	put_descriptor(map, 7, 0, UINT64_MAX / 2, 0);
	assert_int_equal(memmap_add_efi(&info, map, sizeof map, 48), -ERR_FORMAT);
	put_descriptor(map, 7, 0, 1, 0);
	assert_int_equal(memmap_add_efi(&info, map, sizeof map, 0), -ERR_FORMAT);
	assert_int_equal(memmap_add_efi(&info, map, sizeof map, 32), -ERR_FORMAT);
	assert_int_equal(memmap_add_efi(&info, map, sizeof map - 8, 40 + 4), -ERR_FORMAT);
	assert_int_equal(memmap_add_efi(&info, map, sizeof map, 40), -ERR_FORMAT); // 8 bytes are left over
}

// Disjoint random ranges, then random claims: every page is what a model says.
static void claim_random_matches_model(void **state __unused_arg) {
	enum { PAGES = 512, ROUNDS = 500 };
	struct rng rng;
	rng_init(&rng, 20260101);
	for (int round = 0; round < ROUNDS; round++) {
		uint8_t model[PAGES] = {0};
		memset(&info, 0, sizeof info);
		for (uint64_t page = rng_below(&rng, 4); page < PAGES;) {
			uint64_t len = min_u64(1 + rng_below(&rng, 40), PAGES - page);
			uint8_t type = rng_below(&rng, 2) ? BOOT_MEM_USABLE : BOOT_MEM_RESERVED;
			memset(model + page, type, len);
			assert_int_equal(memmap_add(&info, page * PAGE, len * PAGE, type), 0);
			page += len + rng_below(&rng, 3);
		}
		for (int claim = 0; claim < 8; claim++) {
			uint64_t start = rng_below(&rng, PAGES * PAGE), len = rng_below(&rng, 20 * PAGE);
			if (start + len > PAGES * PAGE || len == 0) continue;
			uint64_t first = start / PAGE, last = (start + len - 1) / PAGE;
			bool free = true; // a boot path claims what it took from free memory
			for (uint64_t page = first; page <= last; page++)
				free &= model[page] == BOOT_MEM_USABLE || model[page] == BOOT_MEM_LOADER;
			if (!free) continue;
			memset(model + first, BOOT_MEM_LOADER, last - first + 1);
			assert_int_equal(memmap_claim(&info, start, len), 0);
		}
		memmap_sort(&info);
		uint64_t seen[PAGES] = {0};
		for (uint32_t i = 0; i < info.mem_count; i++)
			for (uint64_t at = 0; at < info.mem[i].bytes; at += PAGE) {
				uint64_t page = (info.mem[i].base + at) / PAGE;
				assert_int_equal(model[page], info.mem[i].type);
				seen[page]++;
			}
		for (int page = 0; page < PAGES; page++) assert_int_equal(seen[page], model[page] != 0);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(add_touching_ranges_become_one, setup),
	    cmocka_unit_test_setup(add_empty_range_is_nothing, setup),
	    cmocka_unit_test_setup(add_wrapping_range_is_refused, setup),
	    cmocka_unit_test_setup(add_full_table_merges_before_it_refuses, setup),
	    cmocka_unit_test_setup(claim_inside_range_splits_it, setup),
	    cmocka_unit_test_setup(claim_over_several_ranges_takes_all_of_them, setup),
	    cmocka_unit_test_setup(claim_sharing_a_page_merges, setup),
	    cmocka_unit_test_setup(claim_at_the_end_of_the_address_space_is_refused, setup),
	    cmocka_unit_test_setup(efi_types_are_told_apart, setup),
	    cmocka_unit_test_setup(efi_runtime_and_special_purpose_memory_is_not_free, setup),
	    cmocka_unit_test_setup(efi_nonsense_is_refused, setup),
	    cmocka_unit_test_setup(claim_random_matches_model, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
