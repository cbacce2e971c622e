// SPDX-License-Identifier: Apache-2.0
// kernel/bootcheck.c: a record is taken as it was made, and each damage to it is refused with a line.
#include "boot/mb2/mb2.h"
#include "kernel/bootcheck.h"
#include "tests/unit/support.h"

#define KERNEL_BASE UINT64_C(0x400000)
#define KERNEL_BYTES UINT64_C(0x80000)

static struct boot_info good;

static int setup(void **state) {
	(void)state;
	good = (struct boot_info){
	    .magic = BOOT_INFO_MAGIC,
	    .version = BOOT_INFO_VERSION,
	    .bytes = sizeof good,
	    .path = BOOT_PATH_EFI,
	    .kernel_base = KERNEL_BASE,
	    .kernel_bytes = KERNEL_BYTES,
	    .mem_count = 2,
	    .file_count = 2,
	    .loader = "test",
	    .mem = {{.base = 0x1000, .bytes = 0x9f000, .type = BOOT_MEM_USABLE},
	            {.base = 0x100000, .bytes = 0x10000000, .type = BOOT_MEM_USABLE}},
	    .file = {{.base = 0x800000, .bytes = 17, .name = "bulkhead.toml"},
	             {.base = 0x801000, .bytes = 0, .name = "a/b"}},
	};
	return 0;
}

static int take(const struct boot_info *b, char *why, size_t why_bytes) {
	struct boot_info out;
	why[0] = '\0';
	int err = bootcheck_take(b, BOOT_INFO_MAGIC, KERNEL_BASE, KERNEL_BYTES, &out, why, why_bytes);
	if (err == 0) assert_memory_equal(&out, b, sizeof out);
	return err;
}

static void bootcheck_overlaps_counts_pairs_of_different_types(void **state) {
	unsigned a = 99, b = 99;
	(void)state;
	assert_int_equal(bootcheck_overlaps(&good, &a, &b), 0);
	assert_int_equal(a, 99);
	good.mem[2] = (struct boot_mem){.base = 0xa0000, .bytes = 0x60000, .type = BOOT_MEM_RESERVED}; // between
	good.mem[3] = (struct boot_mem){.base = 0x10fffff, .bytes = 1, .type = BOOT_MEM_USABLE}; // same type
	good.mem[4] =
	    (struct boot_mem){.base = 0x100fffff, .bytes = 0x1000, .type = BOOT_MEM_ACPI}; // last byte of 1
	good.mem[5] = (struct boot_mem){.base = 0x10ff, .bytes = 1, .type = BOOT_MEM_BAD}; // inside 0
	good.mem_count = 6;
	assert_int_equal(bootcheck_overlaps(&good, &a, &b), 2);
	assert_int_equal(a, 0);
	assert_int_equal(b, 5);
	good.mem[2].bytes++; // now it reaches into 1
	assert_int_equal(bootcheck_overlaps(&good, &a, &b), 3);
}

static void bootcheck_take_good_record_is_taken(void **state) {
	(void)state;
	char why[192];
	assert_int_equal(take(&good, why, sizeof why), 0);
}

#define DAMAGE(statement)                                                                                    \
	do {                                                                                                     \
		struct boot_info b = good;                                                                           \
		char why[192];                                                                                       \
		statement;                                                                                           \
		if (take(&b, why, sizeof why) >= 0) fail_msg("taken: %s", #statement);                               \
		if (why[0] == '\0') fail_msg("no reason: %s", #statement);                                           \
	} while (0)

static void bootcheck_take_damaged_record_is_refused_with_a_reason(void **state) {
	(void)state;
	DAMAGE(b.magic ^= 1);
	DAMAGE(b.version++);
	DAMAGE(b.bytes--);
	DAMAGE(b.mem_count = 0);
	DAMAGE(b.mem_count = BOOT_MEM_MAX + 1);
	DAMAGE(b.file_count = BOOT_FILE_MAX + 1);
	DAMAGE(b.file_count = 0);
	DAMAGE(b.secure_boot = BOOT_SECURE_SETUP + 1);
	DAMAGE(b.kernel_base += 4096);
	DAMAGE(b.kernel_base += 2 << 20); // not where it runs
	DAMAGE(b.kernel_bytes--);
	DAMAGE(b.mem[1].bytes = 0);
	DAMAGE(b.mem[1].base = UINT64_MAX - 0xfff);
	DAMAGE(b.mem[0].type = 0);
	DAMAGE(b.mem[0].type = BOOT_MEM_MMIO + 1);
	DAMAGE(b.file[0].name[0] = 'B');
	DAMAGE(b.file[1].name[0] = '\0');
	DAMAGE(memset(b.file[1].name, 'x', sizeof b.file[1].name));
	DAMAGE(b.file[1].base++);
	DAMAGE(b.file[1].base = UINT64_MAX & ~UINT64_C(0xfff); b.file[1].bytes = 0x2000);
	DAMAGE(memset(b.cmdline, 'x', sizeof b.cmdline));
	DAMAGE(memset(b.loader, 'x', sizeof b.loader));
}

static void bootcheck_take_unknown_magic_is_refused(void **state) {
	(void)state;
	struct boot_info out;
	char why[192] = "";
	assert_true(bootcheck_take(&good, 0x1badb002, KERNEL_BASE, KERNEL_BYTES, &out, why, sizeof why) < 0);
	assert_non_null(strstr(why, "0x1badb002"));
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(bootcheck_overlaps_counts_pairs_of_different_types, setup),
	    cmocka_unit_test_setup(bootcheck_take_good_record_is_taken, setup),
	    cmocka_unit_test_setup(bootcheck_take_damaged_record_is_refused_with_a_reason, setup),
	    cmocka_unit_test_setup(bootcheck_take_unknown_magic_is_refused, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
