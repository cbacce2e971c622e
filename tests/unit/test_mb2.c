// SPDX-License-Identifier: Apache-2.0
// boot/mb2/mb2: boot information built tag by tag, good and bad.
#include "tests/unit/support.h"

#include "boot/mb2/mb2.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"

#define KERNEL_BASE 0x4000000u
#define KERNEL_BYTES 0x30000u

static _Alignas(8) uint8_t tags[16384];
static uint32_t used;
static struct boot_info info;
static char why[160];

static void begin(void) {
	memset(tags, 0, sizeof tags);
	used = 8;
}

// A tag with `bytes` of payload; returns the payload.
static uint8_t *tag(uint32_t type, uint32_t bytes) {
	uint8_t *at = tags + used;
	put_le32(at, type);
	put_le32(at + 4, bytes + 8);
	used += (uint32_t)align_up(bytes + 8, 8);
	assert_true(used < sizeof tags);
	return at + 8;
}

static void module(const char *name, uint32_t start, uint32_t end) {
	uint8_t *at = tag(3, 8 + (uint32_t)strlen(name) + 1);
	put_le32(at, start);
	put_le32(at + 4, end);
	memcpy(at + 8, name, strlen(name) + 1);
}

static void e820(const uint64_t (*entry)[3], uint32_t count) {
	uint8_t *at = tag(6, 8 + count * 24);
	put_le32(at, 24);
	for (uint32_t i = 0; i < count; i++) {
		put_le64(at + 8 + 24 * i, entry[i][0]);
		put_le64(at + 16 + 24 * i, entry[i][1]);
		put_le32(at + 24 + 24 * i, (uint32_t)entry[i][2]);
	}
}

static void end(void) {
	tag(0, 0);
	put_le32(tags, used);
}

static int parse(void) {
	memset(&info, 0xa5, sizeof info);
	memset(why, 0, sizeof why);
	info.kernel_bytes = KERNEL_BYTES;
	info.tsc_entry = 77;
	info.tsc_handoff = 78;
	int err = mb2_to_boot_info(tags, sizeof tags, KERNEL_BASE, &info, why, sizeof why);
	assert_true((err == 0) == (why[0] == 0));
	return err;
}

static const uint64_t plain_map[][3] = {
    {0, 0x9fc00, 1},        {0x9fc00, 0x400, 2},    {0x100000, 0x7f00000, 1}, {0x8000000, 0x10000, 3},
    {0x8010000, 0x1000, 4}, {0x9000000, 0x1000, 5}, {0xa000000, 0x1000, 99},
};

static void plain(void) {
	begin();
	memcpy(tag(1, 6), "debug", 6);
	memcpy(tag(2, 10), "GRUB 2.06", 10);
	module("vmlinuz quiet", 0x1000000, 0x1000801);
	module("bulkhead.toml", 0x2000000, 0x2000100);
	module("sub/initrd.img", 0x3000000, 0x3002000);
	e820(plain_map, array_count(plain_map));
}

static void framebuffer(uint8_t bpp, uint8_t type, const uint8_t colour[6]) {
	uint8_t *at = tag(8, 30);
	put_le64(at, 0x2000000000);
	put_le32(at + 8, 4096);
	put_le32(at + 12, 1000);
	put_le32(at + 16, 700);
	at[20] = bpp;
	at[21] = type;
	memcpy(at + 24, colour, 6);
}

static const struct boot_mem *range_at(uint64_t address) {
	for (uint32_t i = 0; i < info.mem_count; i++)
		if (address >= info.mem[i].base && address - info.mem[i].base < info.mem[i].bytes)
			return &info.mem[i];
	return NULL;
}

static void parse_plain_gives_all_fields(void **state __unused_arg) {
	plain();
	end();
	assert_int_equal(parse(), 0);
	assert_int_equal(info.magic, BOOT_INFO_MAGIC);
	assert_int_equal(info.version, BOOT_INFO_VERSION);
	assert_int_equal(info.bytes, sizeof info);
	assert_int_equal(info.path, BOOT_PATH_MB2);
	assert_int_equal(info.secure_boot, BOOT_SECURE_UNKNOWN);
	assert_string_equal(info.loader, "GRUB 2.06");
	assert_string_equal(info.cmdline, "debug");
	assert_int_equal(info.kernel_base, KERNEL_BASE);
	assert_int_equal(info.kernel_bytes, KERNEL_BYTES);
	assert_int_equal(info.tsc_entry, 77);
	assert_int_equal(info.tsc_handoff, 78);
	assert_int_equal(info.rsdp, 0);
	assert_int_equal(info.fb.format, BOOT_FB_NONE);
	assert_int_equal(info.file_count, 3);
	assert_string_equal(info.file[0].name, "bulkhead.toml");
	assert_int_equal(info.file[0].base, 0x2000000);
	assert_int_equal(info.file[0].bytes, 0x100);
	assert_string_equal(info.file[1].name, "vmlinuz");
	assert_int_equal(info.file[1].bytes, 0x801);
	assert_string_equal(info.file[2].name, "sub/initrd.img");
}

static void parse_memory_holds_what_was_loaded(void **state __unused_arg) {
	plain();
	end();
	assert_int_equal(parse(), 0);
	static const uint64_t loader[] = {
	    KERNEL_BASE, KERNEL_BASE + KERNEL_BYTES - 1, 0x1000000, 0x1000fff, 0x2000000, 0x3001fff};
	for (size_t i = 0; i < array_count(loader); i++)
		assert_int_equal(range_at(loader[i])->type, BOOT_MEM_LOADER);
	assert_int_equal(range_at(0x1001000)->type, BOOT_MEM_USABLE);
	assert_int_equal(range_at(0x3002000)->type, BOOT_MEM_USABLE);
	assert_int_equal(range_at(0x9fc00)->type, BOOT_MEM_RESERVED);
	assert_int_equal(range_at(0x8000000)->type, BOOT_MEM_ACPI);
	assert_int_equal(range_at(0x8010000)->type, BOOT_MEM_NVS);
	assert_int_equal(range_at(0x9000000)->type, BOOT_MEM_BAD);
	assert_int_equal(range_at(0xa000000)->type, BOOT_MEM_RESERVED);
	assert_int_equal(range_at((uintptr_t)tags)->type, BOOT_MEM_LOADER);
	assert_null(range_at(0xb000000));
}

static void parse_rsdp_prefers_the_newer(void **state __unused_arg) {
	plain();
	uint8_t *new = tag(15, 36);
	uint8_t *old = tag(14, 20);
	end();
	assert_int_equal(parse(), 0);
	assert_int_equal(info.rsdp, (uintptr_t) new);
	put_le32(new - 8, 21); // an unknown tag now
	assert_int_equal(parse(), 0);
	assert_int_equal(info.rsdp, (uintptr_t)old);
}

static void parse_framebuffer_formats(void **state __unused_arg) {
	static const uint8_t rgb[6] = {16, 8, 8, 8, 0, 8}, bgr[6] = {0, 8, 8, 8, 16, 8},
	                     odd[6] = {11, 5, 5, 6, 0, 5};
	static const struct {
		uint8_t bpp, type;
		const uint8_t *colour;
		uint32_t format;
	} table[] = {{32, 1, rgb, BOOT_FB_XRGB8888},
	             {32, 1, bgr, BOOT_FB_XBGR8888},
	             {24, 1, rgb, BOOT_FB_NONE},
	             {16, 2, rgb, BOOT_FB_NONE},
	             {32, 1, odd, BOOT_FB_NONE}};
	for (size_t i = 0; i < array_count(table); i++) {
		plain();
		framebuffer(table[i].bpp, table[i].type, table[i].colour);
		end();
		assert_int_equal(parse(), 0);
		assert_int_equal(info.fb.format, table[i].format);
		if (table[i].format == BOOT_FB_NONE) continue;
		assert_int_equal(info.fb.base, 0x2000000000);
		assert_int_equal(info.fb.bytes, 4096 * 700);
		assert_int_equal(info.fb.width, 1000);
		assert_int_equal(info.fb.height, 700);
		assert_int_equal(info.fb.pitch, 4096);
	}
}

static void put_efi_map(uint32_t type) {
	uint8_t *at = tag(17, 8 + 48);
	put_le32(at, 48);
	put_le32(at + 4, 1);
	put_le32(at + 8, type);
	put_le64(at + 8 + 8, 0x100000);
	put_le64(at + 8 + 24, 0x8000);
}

static void parse_efi_map_wins_over_e820(void **state __unused_arg) {
	plain();
	put_efi_map(10);
	end();
	assert_int_equal(parse(), 0);
	assert_null(range_at(0x8000));
	assert_int_equal(range_at(0x200000)->type, BOOT_MEM_NVS);
}

static void parse_efi_map_of_running_boot_services_is_ignored(void **state __unused_arg) {
	plain();
	put_efi_map(10);
	tag(18, 0);
	end();
	assert_int_equal(parse(), 0);
	assert_int_equal(range_at(0x8000)->type, BOOT_MEM_USABLE);
}

static void parse_bad_efi_map_is_refused(void **state __unused_arg) {
	plain();
	put_efi_map(7);
	put_le32(tags + used - 56 - 8 + 8, 12);
	end();
	assert_int_equal(parse(), -ERR_FORMAT);
}

static void parse_without_memory_map_is_refused(void **state __unused_arg) {
	begin();
	module("bulkhead.toml", 0x2000000, 0x2000100);
	end();
	assert_int_equal(parse(), -ERR_NOENT);
	assert_non_null(strstr(why, "no memory map"));
}

static void parse_without_config_is_refused(void **state __unused_arg) {
	begin();
	module("vmlinuz", 0x2000000, 0x2000100);
	e820(plain_map, array_count(plain_map));
	end();
	assert_int_equal(parse(), -ERR_NOENT);
	assert_non_null(strstr(why, "bulkhead.toml"));
}

static void parse_bad_modules_are_refused(void **state __unused_arg) {
	char name[BOOT_NAME_BYTES + 1];
	memset(name, 'x', BOOT_NAME_BYTES);
	name[BOOT_NAME_BYTES] = 0;
	static const struct {
		const char *name; // NULL: the long one
		uint32_t start, end;
		int err;
	} table[] = {{"", 0x1000, 0x2000, -ERR_FORMAT},
	             {" x", 0x1000, 0x2000, -ERR_FORMAT},
	             {"x", 0x2000, 0x1000, -ERR_RANGE},
	             {"x", 0x1001, 0x2000, -ERR_FORMAT},
	             {NULL, 0x1000, 0x2000, -ERR_RANGE}};
	for (size_t i = 0; i < array_count(table); i++) {
		plain();
		module(table[i].name ? table[i].name : name, table[i].start, table[i].end);
		end();
		assert_int_equal(parse(), table[i].err);
	}
	name[BOOT_NAME_BYTES - 1] = 0;
	plain();
	module(name, 0x1000, 0x2000);
	end();
	assert_int_equal(parse(), 0);
	assert_string_equal(info.file[3].name, name);
}

static void parse_too_many_modules_is_refused(void **state __unused_arg) {
	plain();
	for (unsigned i = 3; i < BOOT_FILE_MAX; i++) module("x", 0x1000, 0x2000);
	uint32_t before = used;
	end();
	assert_int_equal(parse(), 0);
	used = before;
	module("x", 0x1000, 0x2000);
	end();
	assert_int_equal(parse(), -ERR_NOMEM);
}

static void parse_truncated_anywhere_is_refused(void **state __unused_arg) {
	plain();
	end();
	uint32_t whole = used;
	for (uint32_t cut = 0; cut < whole; cut++) {
		put_le32(tags, cut);
		assert_true(parse() < 0);
	}
	put_le32(tags, whole);
	assert_int_equal(parse(), 0);
	put_le32(tags, sizeof tags + 1);
	assert_int_equal(parse(), -ERR_TRUNC);
}

static void parse_oversized_tag_is_refused(void **state __unused_arg) {
	plain();
	end();
	static const uint32_t sizes[] = {0, 7, 0x7fffffff, 0xfffffff8, 0xffffffff};
	for (size_t i = 0; i < array_count(sizes); i++) {
		put_le32(tags + 12, sizes[i]);
		assert_int_equal(parse(), -ERR_TRUNC);
	}
}

static void parse_overlapping_map_is_passed_on_whole(void **state __unused_arg) {
	static const uint64_t map[][3] = {
	    {0x100000, 0x7f00000, 1}, {0x4000000, 0x10000, 2}, {0x5000000, 0x10000, 3}, {0x5008000, 0x10000, 1}};
	begin();
	module("bulkhead.toml", 0x2000000, 0x2000100);
	e820(map, array_count(map));
	end();
	assert_int_equal(parse(), 0);
	unsigned reserved = 0, acpi = 0, free_there = 0; // neither hides the other: the kernel has the last word
	for (uint32_t i = 0; i < info.mem_count; i++) {
		const struct boot_mem *m = &info.mem[i];
		reserved += m->type == BOOT_MEM_RESERVED && m->base == 0x4000000 && m->bytes == 0x10000;
		acpi += m->type == BOOT_MEM_ACPI && m->base == 0x5000000 && m->bytes == 0x10000;
		free_there += m->type == BOOT_MEM_USABLE && m->base <= 0x5000000 && m->base + m->bytes >= 0x5018000;
	}
	assert_int_equal(reserved, 1);
	assert_int_equal(acpi, 1);
	assert_int_equal(free_there, 1);
}

static void parse_bad_map_entries_are_refused(void **state __unused_arg) {
	static const uint64_t wraps[][3] = {{UINT64_MAX - 0xfff, 0x2000, 1}};
	begin();
	module("bulkhead.toml", 0x2000000, 0x2000100);
	e820(wraps, 1);
	end();
	assert_int_equal(parse(), -ERR_RANGE);
	plain();
	put_le32(tag(6, 8 + 24), 20);
	end();
	assert_int_equal(parse(), -ERR_FORMAT);
}

static void parse_without_kernel_length_is_refused(void **state __unused_arg) {
	plain();
	end();
	info.kernel_bytes = 0;
	assert_int_equal(mb2_to_boot_info(tags, sizeof tags, KERNEL_BASE, &info, why, sizeof why), -ERR_INVAL);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(parse_plain_gives_all_fields),
	    cmocka_unit_test(parse_memory_holds_what_was_loaded),
	    cmocka_unit_test(parse_rsdp_prefers_the_newer),
	    cmocka_unit_test(parse_framebuffer_formats),
	    cmocka_unit_test(parse_efi_map_wins_over_e820),
	    cmocka_unit_test(parse_efi_map_of_running_boot_services_is_ignored),
	    cmocka_unit_test(parse_bad_efi_map_is_refused),
	    cmocka_unit_test(parse_without_memory_map_is_refused),
	    cmocka_unit_test(parse_without_config_is_refused),
	    cmocka_unit_test(parse_bad_modules_are_refused),
	    cmocka_unit_test(parse_too_many_modules_is_refused),
	    cmocka_unit_test(parse_truncated_anywhere_is_refused),
	    cmocka_unit_test(parse_oversized_tag_is_refused),
	    cmocka_unit_test(parse_overlapping_map_is_passed_on_whole),
	    cmocka_unit_test(parse_bad_map_entries_are_refused),
	    cmocka_unit_test(parse_without_kernel_length_is_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
