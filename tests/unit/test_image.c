// SPDX-License-Identifier: Apache-2.0
// boot/efi/image: a small kernel file, whole and broken in every way the loader has words for.
#include "tests/unit/support.h"

#include "boot/efi/image.h"
#include "kernel/abi/bootinfo.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"

enum {
	HEADER = 64,
	SEGMENT = 56,
	TEXT_AT = 256,
	TEXT_BYTES = 100,
	DATA_AT = 512,
	DATA_BYTES = 16,
	FILE_BYTES = 528
};
// Fields of a program header.
enum { P_TYPE = 0, P_FLAGS = 4, P_OFFSET = 8, P_VADDR = 16, P_FILESZ = 32, P_MEMSZ = 40 };

static uint8_t file[FILE_BYTES];
static char why[128];

static uint8_t *segment(unsigned index) { return file + HEADER + index * SEGMENT; }

static void put_segment(unsigned index, uint32_t flags, uint64_t offset, uint64_t vaddr, uint64_t file_bytes,
                        uint64_t memory_bytes) {
	uint8_t *at = segment(index);
	put_le32(at + P_TYPE, 1);
	put_le32(at + P_FLAGS, flags);
	put_le64(at + P_OFFSET, offset);
	put_le64(at + P_VADDR, vaddr);
	put_le64(at + P_FILESZ, file_bytes);
	put_le64(at + P_MEMSZ, memory_bytes);
}

static int setup(void **state __unused_arg) {
	memset(file, 0, sizeof file);
	static const uint8_t ident[] = {0x7f, 'E', 'L', 'F', 2, 1, 1};
	memcpy(file, ident, sizeof ident);
	put_le16(file + 16, 2);
	put_le16(file + 18, 62);
	put_le32(file + 20, 1);
	put_le64(file + 24, KERNEL_VIRT + 0x10);
	put_le64(file + 32, HEADER);
	put_le16(file + 52, HEADER);
	put_le16(file + 54, SEGMENT);
	put_le16(file + 56, 2);
	put_segment(0, 5, TEXT_AT, KERNEL_VIRT, TEXT_BYTES, TEXT_BYTES);
	put_segment(1, 6, DATA_AT, KERNEL_VIRT + 0x1000, DATA_BYTES, 0x1800);
	memset(file + TEXT_AT, 0x90, TEXT_BYTES);
	memset(file + DATA_AT, 0xda, DATA_BYTES);
	return 0;
}

static int check(struct image *image, uint64_t bytes) {
	static struct source source; // image_check keeps a pointer to it
	source = source_memory(file, bytes);
	memset(why, 0, sizeof why);
	int err = image_check(image, &source, why, sizeof why);
	assert_true((err == 0) == (why[0] == 0));
	return err;
}

static void check_whole_file_passes_and_loads(void **state __unused_arg) {
	struct image image;
	assert_int_equal(check(&image, sizeof file), 0);
	assert_int_equal(image.bytes, 0x3000);
	assert_int_equal(image.entry_offset, 0x10);
	uint8_t *memory = malloc(image.bytes);
	memset(memory, 0xff, image.bytes);
	assert_int_equal(image_load(&image, memory), 0);
	for (uint64_t i = 0; i < image.bytes; i++) {
		uint8_t expected = i < TEXT_BYTES ? 0x90 : i >= 0x1000 && i < 0x1000 + DATA_BYTES ? 0xda : 0;
		assert_int_equal(memory[i], expected);
	}
	free(memory);
}

static void check_truncated_anywhere_is_refused(void **state __unused_arg) {
	struct image image;
	for (uint64_t bytes = 0; bytes < FILE_BYTES; bytes++) assert_true(check(&image, bytes) < 0);
	assert_int_equal(check(&image, FILE_BYTES - 1), -ERR_TRUNC);
	assert_non_null(strstr(why, "cut short"));
}

static void check_cut_off_section_table_is_refused(void **state __unused_arg) {
	struct image image;
	put_le64(file + 40, FILE_BYTES - 64);
	put_le16(file + 58, 64);
	put_le16(file + 60, 1);
	assert_int_equal(check(&image, sizeof file), 0);
	put_le16(file + 60, 2);
	assert_int_equal(check(&image, sizeof file), -ERR_TRUNC);
	put_le64(file + 40, FILE_BYTES + 1000);
	assert_int_equal(check(&image, sizeof file), -ERR_TRUNC);
}

static void check_foreign_file_is_refused(void **state __unused_arg) {
	struct image image;
	file[0] = 'M';
	assert_int_equal(check(&image, sizeof file), -ERR_FORMAT);
	setup(NULL);
	put_le16(file + 18, 3); // 386
	assert_int_equal(check(&image, sizeof file), -ERR_FORMAT);
	setup(NULL);
	put_le16(file + 16, 3); // position independent
	assert_int_equal(check(&image, sizeof file), -ERR_FORMAT);
	setup(NULL);
	put_le16(file + 56, 0);
	assert_int_equal(check(&image, sizeof file), -ERR_FORMAT);
}

static void check_bad_segments_are_refused(void **state __unused_arg) {
	struct image image;
	static const struct {
		uint64_t vaddr, memory_bytes;
		int err;
	} table[] = {
	    {KERNEL_VIRT - 0x1000, 0x1000, -ERR_RANGE},
	    {0x200000, 0x1000, -ERR_RANGE},
	    {KERNEL_VIRT + IMAGE_BYTES_MAX - 0xfff, 0x1000, -ERR_RANGE},
	    {KERNEL_VIRT + 0x1000, IMAGE_BYTES_MAX + 1, -ERR_RANGE},
	    {KERNEL_VIRT + 0x1000, UINT64_MAX, -ERR_FORMAT},
	    {KERNEL_VIRT + TEXT_BYTES - 1, 0x1000, -ERR_OVERLAP},
	    {KERNEL_VIRT + 0x1000, DATA_BYTES - 1, -ERR_FORMAT},
	};
	for (size_t i = 0; i < array_count(table); i++) {
		setup(NULL);
		put_segment(1, 6, DATA_AT, table[i].vaddr, DATA_BYTES, table[i].memory_bytes);
		assert_int_equal(check(&image, sizeof file), table[i].err);
	}
	put_segment(1, 6, DATA_AT, KERNEL_VIRT + IMAGE_BYTES_MAX - 0x1000, DATA_BYTES, 0x1000);
	assert_int_equal(check(&image, sizeof file), 0);
	assert_int_equal(image.bytes, IMAGE_BYTES_MAX);
}

static void check_entry_outside_code_is_refused(void **state __unused_arg) {
	struct image image;
	static const uint64_t entries[] = {0, KERNEL_VIRT + TEXT_BYTES, KERNEL_VIRT + 0x1000, UINT64_MAX};
	for (size_t i = 0; i < array_count(entries); i++) {
		put_le64(file + 24, entries[i]);
		assert_int_equal(check(&image, sizeof file), -ERR_RANGE);
	}
	put_le64(file + 24, KERNEL_VIRT + TEXT_BYTES - 1);
	assert_int_equal(check(&image, sizeof file), 0);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(check_whole_file_passes_and_loads, setup),
	    cmocka_unit_test_setup(check_truncated_anywhere_is_refused, setup),
	    cmocka_unit_test_setup(check_cut_off_section_table_is_refused, setup),
	    cmocka_unit_test_setup(check_foreign_file_is_refused, setup),
	    cmocka_unit_test_setup(check_bad_segments_are_refused, setup),
	    cmocka_unit_test_setup(check_entry_outside_code_is_refused, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
