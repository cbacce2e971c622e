// SPDX-License-Identifier: Apache-2.0
// The guest loaders over arbitrary kernel images. The first bytes choose memory size and initrd; the ops
// check that nothing is written outside the guest's RAM.
#include "kernel/lib/bits.h"
#include "kernel/load/load.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static struct load_range map[LOAD_MAP_STANDARD_MAX];
static uint32_t map_count;

static int check(uint64_t at, uint64_t len) {
	for (uint32_t i = 0; i < map_count; i++)
		if (map[i].type == LOAD_RAM && at >= map[i].base && at - map[i].base < map[i].bytes &&
		    len <= map[i].bytes - (at - map[i].base))
			return 0;
	__builtin_trap();
}
static int ops_write(void *context __unused_arg, gpa_t at, const void *bytes, size_t len) {
	const volatile uint8_t *each = bytes;

	for (size_t i = 0; i < len; i++) (void)each[i];
	return check(at.v, len);
}
static int ops_zero(void *context __unused_arg, gpa_t at, uint64_t len) { return check(at.v, len); }
static int ops_copy(void *context __unused_arg, gpa_t at, const struct source *file, uint64_t offset,
                    uint64_t len) {
	if (offset > file->bytes || len > file->bytes - offset) __builtin_trap();
	return check(at.v, len);
}
static const struct load_ops ops = {.write = ops_write, .zero = ops_zero, .copy = ops_copy};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
	static const uint64_t sizes[] = {MIB, 8 * MIB, 64 * MIB, 5 * GIB};
	struct load_entry entry;
	struct load_why why;

	if (len < 2) return 0;
	map_count = load_map_standard(sizes[data[0] % array_count(sizes)], map);
	struct source kernel = source_memory(data + 2, len - 2), initrd = source_memory(data, len);
	struct load_request request = {.kernel = &kernel,
	                               .initrd = data[1] & 1 ? &initrd : NULL,
	                               .initrd_name = "module",
	                               .cmdline = data[1] & 2 ? "a command line" : "",
	                               .map = map,
	                               .map_count = map_count,
	                               .rsdp = gpa(0xe0000),
	                               .rsdp_bytes = "0123456789abcdef0123456789abcdef01234",
	                               .rsdp_len = 36,
	                               .ops = &ops};

	why.text[0] = 0;
	if (load_guest(&request, &entry, &why) != 0) {
		if (why.text[0] == 0) __builtin_trap(); // a refusal says why
		return 0;
	}
	if (entry.mode != LOAD_MODE_REAL && entry.rip > UINT32_MAX) __builtin_trap();
	return 0;
}
