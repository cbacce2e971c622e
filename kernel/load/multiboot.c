// SPDX-License-Identifier: Apache-2.0
// Multiboot Specification 0.6.96: header in the first 8 KiB, machine state of section 3.2, information
// structure of section 3.3.
#include "kernel/load/multiboot.h"

#include "arch/x86/cpu/regs.h"
#include "kernel/lib/err.h"
#include "kernel/lib/string.h"
#include "kernel/load/elfimage.h"

#define HEADER_MAGIC 0x1badb002u
#define BOOT_MAGIC 0x2badb002u
#define HEADER_LIMIT 8192u
#define HEADER_BYTES 32u
#define LOADER_NAME "Bulkhead"

enum { // header flags
	WANT_PAGE_ALIGN = 1 << 0,
	WANT_MEMORY = 1 << 1,
	WANT_VIDEO = 1 << 2,
	REQUIRED_MASK = 0xffff,
	HAS_ADDRESSES = 1 << 16,
};
enum { // offsets in the header
	HEADER_FLAGS = 4,
	HEADER_CHECKSUM = 8,
	HEADER_ADDR = 12,
	LOAD_ADDR = 16,
	LOAD_END_ADDR = 20,
	BSS_END_ADDR = 24,
	ENTRY_ADDR = 28,
};
enum {
	INFO_MEMORY = 1 << 0,
	INFO_CMDLINE = 1 << 2,
	INFO_MODULES = 1 << 3,
	INFO_MAP = 1 << 6,
	INFO_NAME = 1 << 9
};

struct info {
	uint32_t flags, mem_lower, mem_upper, boot_device, cmdline, mods_count, mods_addr, syms[4];
	uint32_t mmap_length, mmap_addr, drives_length, drives_addr, config_table, boot_loader_name, apm_table;
	uint32_t vbe[4], framebuffer[7];
};
struct module {
	uint32_t start, end, string, reserved;
};
struct map_entry {
	uint32_t size; // of the rest
	uint32_t base[2], length[2], type;
};
_Static_assert(sizeof(struct info) == 116, "multiboot information");
_Static_assert(sizeof(struct module) == 16 && sizeof(struct map_entry) == 24, "multiboot lists");

static int find_header(const struct source *kernel, uint8_t raw[HEADER_BYTES], uint64_t *offset) {
	for (*offset = 0;; *offset += 4) {
		int rc = load_find_magic(kernel, HEADER_MAGIC, 4, HEADER_LIMIT, offset);

		if (rc != 0) return rc;
		memset(raw, 0, HEADER_BYTES);
		// The address fields may be missing at the very end of a file that does not use them.
		size_t len = (size_t)min_u64(HEADER_BYTES, kernel->bytes - *offset);
		rc = source_read(kernel, *offset, raw, len);
		if (rc != 0) return rc;
		uint32_t flags = le32(raw + HEADER_FLAGS);
		bool whole = len >= HEADER_ADDR && ((flags & HAS_ADDRESSES) == 0 || len == HEADER_BYTES);
		if (whole && HEADER_MAGIC + flags + le32(raw + HEADER_CHECKSUM) == 0) return 0;
	}
}

bool multiboot_probe(const struct source *kernel, bool addressed) {
	uint8_t raw[HEADER_BYTES];
	uint64_t offset;

	return find_header(kernel, raw, &offset) == 0 &&
	       (!addressed || (le32(raw + HEADER_FLAGS) & HAS_ADDRESSES) != 0);
}

int multiboot_load_addressed(struct load_job *job, const struct multiboot_addresses *a) {
	const struct source *kernel = job->request->kernel;

	if (a->header < a->load || a->header - a->load > a->header_offset ||
	    (a->load_end != 0 && a->load_end <= a->load) || (a->bss_end != 0 && a->bss_end < a->load_end))
		return load_fail(job->why, LOAD_BLAME_KERNEL, -ERR_FORMAT,
		                 "has a multiboot header whose load addresses contradict each other");
	uint64_t offset = a->header_offset - (a->header - a->load);
	uint64_t bytes = a->load_end != 0 ? a->load_end - a->load : kernel->bytes - offset;
	uint64_t all = a->bss_end > a->load ? max_u64(bytes, a->bss_end - a->load) : bytes;

	if (bytes > kernel->bytes - offset)
		return load_fail(job->why, LOAD_BLAME_KERNEL, -ERR_TRUNC,
		                 "is truncated: its multiboot header speaks of %lu bytes, the file has %lu",
		                 offset + bytes, kernel->bytes);
	int rc = job_take(job, a->load, all, "the kernel");
	if (rc == 0) rc = job_copy(job, a->load, kernel, offset, bytes);
	return rc != 0 ? rc : job_zero(job, a->load + bytes, all - bytes);
}

static int load_image(struct load_job *job, struct load_entry *entry) {
	uint8_t raw[HEADER_BYTES];
	uint64_t offset, lowest;
	struct elf elf;

	if (find_header(job->request->kernel, raw, &offset) != 0)
		return load_fail(job->why, LOAD_BLAME_KERNEL, -ERR_FORMAT, "has no multiboot header");
	uint32_t flags = le32(raw + HEADER_FLAGS);
	if ((flags & WANT_VIDEO) != 0)
		return load_fail(job->why, LOAD_BLAME_KERNEL, -ERR_UNSUP,
		                 "asks for a video mode (multiboot flag 2), and a VM has no screen");
	if ((flags & REQUIRED_MASK & ~(unsigned)(WANT_PAGE_ALIGN | WANT_MEMORY)) != 0)
		return load_fail(job->why, LOAD_BLAME_KERNEL, -ERR_UNSUP,
		                 "asks for unknown multiboot features (flags 0x%x)", flags & REQUIRED_MASK);
	if ((flags & HAS_ADDRESSES) != 0) {
		const struct multiboot_addresses addresses = {.header = le32(raw + HEADER_ADDR),
		                                              .load = le32(raw + LOAD_ADDR),
		                                              .load_end = le32(raw + LOAD_END_ADDR),
		                                              .bss_end = le32(raw + BSS_END_ADDR),
		                                              .header_offset = offset};

		entry->rip = le32(raw + ENTRY_ADDR);
		return multiboot_load_addressed(job, &addresses);
	}
	int rc = elfimage_open(job, &elf);
	if (rc == 0 && elf.is64)
		rc = load_fail(job->why, LOAD_BLAME_KERNEL, -ERR_UNSUP,
		               "is a 64-bit ELF file; multiboot 1 takes a 32-bit one or address fields");
	if (rc == 0) rc = elfimage_load(job, &elf, &lowest);
	return rc != 0 ? rc : elfimage_entry(job, &elf, &entry->rip);
}

void multiboot_basic_memory(const struct load_job *job, uint32_t *lower_kib, uint32_t *upper_kib) {
	*lower_kib = (uint32_t)(min_u64(job_ram_from(job, 0), 640 * KIB) / KIB);
	*upper_kib = (uint32_t)min_u64(job_ram_from(job, MIB) / KIB, UINT32_MAX);
}

static int put_string(struct load_job *job, const char *text, const char *what, uint32_t *address) {
	uint64_t base;
	int rc = job_place_small(job, strlen(text) + 1, what, &base);

	if (rc != 0) return rc;
	*address = (uint32_t)base;
	return job_write(job, base, text, strlen(text) + 1);
}

static int put_map(struct load_job *job, struct info *info) {
	uint32_t count = job->request->map_count;
	uint64_t base;
	int rc = job_place_small(job, count * sizeof(struct map_entry), "the memory map", &base);

	info->mmap_addr = (uint32_t)base;
	info->mmap_length = (uint32_t)(count * sizeof(struct map_entry));
	for (uint32_t i = 0; rc == 0 && i < count; i++) {
		const struct load_range *map = &job->request->map[i];
		struct map_entry map_entry = {.size = sizeof map_entry - sizeof map_entry.size, .type = map->type};

		put_le64(map_entry.base, map->base);
		put_le64(map_entry.length, map->bytes);
		rc = job_write(job, base + i * sizeof map_entry, &map_entry, sizeof map_entry);
	}
	return rc;
}

static int put_module(struct load_job *job, struct info *info) {
	uint64_t base, bytes, list;
	struct module module = {0};
	int rc = job_place_initrd(job, LOAD_LAST_32BIT, &base, &bytes);

	if (rc != 0 || bytes == 0) return rc;
	module.start = (uint32_t)base;
	module.end = (uint32_t)(base + bytes);
	rc = put_string(job, job->request->initrd_name, "the module's name", &module.string);
	if (rc == 0) rc = job_place_small(job, sizeof module, "the module list", &list);
	if (rc != 0) return rc;
	info->mods_count = 1;
	info->mods_addr = (uint32_t)list;
	return job_write(job, list, &module, sizeof module);
}

int multiboot_load(struct load_job *job, struct load_entry *entry) {
	struct info info = {.flags = INFO_MEMORY | INFO_CMDLINE | INFO_MODULES | INFO_MAP | INFO_NAME};
	uint64_t base;
	int rc = load_image(job, entry);

	multiboot_basic_memory(job, &info.mem_lower, &info.mem_upper);
	if (rc == 0) rc = put_string(job, job->request->cmdline, "the command line", &info.cmdline);
	if (rc == 0) rc = put_string(job, LOADER_NAME, "the loader's name", &info.boot_loader_name);
	if (rc == 0) rc = put_map(job, &info);
	if (rc == 0) rc = put_module(job, &info);
	if (rc == 0) rc = job_place_small(job, sizeof info, "the multiboot information", &base);
	if (rc == 0) rc = job_write(job, base, &info, sizeof info);
	if (rc != 0) return rc;

	entry->mode = LOAD_MODE_PROTECTED32;
	entry->rax = BOOT_MAGIC;
	entry->rbx = base;
	entry->cr0 = CR0_PE | CR0_ET;
	return 0;
}
