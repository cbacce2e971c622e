// SPDX-License-Identifier: Apache-2.0
// What the loader must hand over: command line, module 0 with its exact content, a memory map. Built three
// times, with a multiboot 1, a multiboot 2 and a PVH header.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/trap.h"

#define MODULE_LINE "module 0 of the test guest\n"
#define MODULE_REPEATS 37u
#define MODULE_BYTES (sizeof MODULE_LINE - 1 + 256 * MODULE_REPEATS)

extern uint8_t guest_end[];
extern uint8_t guest_entry[];

static void test_cmdline(void) {
	char value[16];
	subtest("command line");
	print("  \"%s\"\n", boot_cmdline());
	CHECK(boot_has_word("alpha"), "\"%s\"", boot_cmdline());
	CHECK(boot_value("beta=", value, sizeof value) && text_equal(value, "gamma"), "\"%s\"", boot_cmdline());
}

static void test_module(void) {
	subtest("module");
	const uint8_t *m;
	uint32_t bytes;
	if (!CHECK(boot_module(&m, &bytes), "none")) return;
	CHECK_EQ(bytes, MODULE_BYTES);
	unsigned wrong = 0;
	for (unsigned i = 0; i < bytes && i < MODULE_BYTES; i++) {
		unsigned line = sizeof MODULE_LINE - 1;
		wrong += m[i] != (i < line ? (uint8_t)MODULE_LINE[i] : (uint8_t)(i - line));
	}
	CHECK_EQ(wrong, 0);
	CHECK((uintptr_t)m >= (uintptr_t)guest_end || (uintptr_t)m + bytes <= (uintptr_t)guest_entry,
	      "the module lies on the guest at %lx", (unsigned long)(uintptr_t)m);
	if (boot_magic == MB1_BOOT_MAGIC) CHECK_EQ((uintptr_t)m & 0xFFF, 0);
}

static void test_memory(void) {
	subtest("memory map");
	struct boot_range r;
	uint64_t ram = 0, last = 0;
	bool has_us = false;
	unsigned i = 0;
	for (; boot_range(i, &r); i++) {
		print("  %llx + %llx type %u\n", (unsigned long long)r.base, (unsigned long long)r.length, r.type);
		CHECK(r.length != 0, "empty");
		CHECK(r.base >= last, "not sorted");
		last = r.base;
		if (r.type != 1) continue;
		ram += r.length;
		has_us |= r.base <= (uintptr_t)guest_entry && r.base + r.length >= (uintptr_t)guest_end;
	}
	CHECK(i > 0, "none");
	CHECK(has_us, "the guest is outside RAM");
	CHECK(ram > 62 * 1024 * 1024 && ram <= 64 * 1024 * 1024, "%llx bytes of RAM", (unsigned long long)ram);
}

void guest_main(void);
void guest_main(void) {
	print("  magic %x information %x\n", boot_magic, boot_info_addr);
	test_cmdline();
	test_module();
	test_memory();
	finish();
}
