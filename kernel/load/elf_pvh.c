// SPDX-License-Identifier: Apache-2.0
// PVH (Xen: docs/misc/pvh.pandoc and public/arch-x86/hvm/start_info.h): 32-bit protected mode without paging,
// EBX = address of the start info, which names the command line, modules, memory map and RSDP.
#include "kernel/load/elf_pvh.h"

#include "arch/x86/cpu/regs.h"
#include "kernel/lib/elf.h"
#include "kernel/lib/err.h"
#include "kernel/lib/string.h"
#include "kernel/load/elfimage.h"

struct start_info {
	uint32_t magic, version, flags, module_count;
	uint64_t modules, cmdline, rsdp, map;
	uint32_t map_count, reserved;
};
struct start_module {
	uint64_t base, bytes, cmdline, reserved;
};
struct start_range {
	uint64_t base, bytes;
	uint32_t type, reserved;
};
_Static_assert(sizeof(struct start_info) == 56, "hvm_start_info version 1");
_Static_assert(sizeof(struct start_module) == 32, "hvm_modlist_entry");
_Static_assert(sizeof(struct start_range) == 24, "hvm_memmap_table_entry");

#define START_INFO_MAGIC 0x336ec578u
#define START_INFO_VERSION 1u

static int note_entry(const struct elf *elf, uint64_t *entry) {
	uint8_t raw[8] = {0};
	size_t len = 0;
	int rc = elf_note(elf, ELF_NOTE_XEN, ELF_NOTE_XEN_PHYS32_ENTRY, raw, sizeof raw, &len);

	if (rc != 0) return rc;
	if (len != 4 && len != 8) return -ERR_FORMAT;
	*entry = le64(raw); // a 4-byte value stands in zeroed bytes
	return 0;
}

bool elf_pvh_probe(const struct source *kernel) {
	struct elf elf;
	uint64_t entry;

	return elf_open(&elf, kernel) == 0 && note_entry(&elf, &entry) == 0;
}

static int put_string(struct load_job *job, const char *text, const char *what, uint64_t *base) {
	size_t len = strlen(text) + 1;
	int rc = job_place_small(job, len, what, base);

	return rc != 0 ? rc : job_write(job, *base, text, len);
}

static int put_map(struct load_job *job, struct start_info *info) {
	uint32_t count = job->request->map_count;
	int rc = job_place_small(job, count * sizeof(struct start_range), "the memory map", &info->map);

	info->map_count = count;
	for (uint32_t i = 0; rc == 0 && i < count; i++) {
		const struct load_range *map = &job->request->map[i];
		struct start_range range = {.base = map->base, .bytes = map->bytes, .type = map->type};

		rc = job_write(job, info->map + i * sizeof range, &range, sizeof range);
	}
	return rc;
}

static int put_module(struct load_job *job, struct start_info *info) {
	struct start_module module = {0};
	int rc = job_place_initrd(job, LOAD_LAST_32BIT, &module.base, &module.bytes);

	if (rc != 0 || module.bytes == 0) return rc;
	info->module_count = 1;
	rc = put_string(job, job->request->initrd_name, "the module's name", &module.cmdline);
	if (rc == 0) rc = job_place_small(job, sizeof module, "the module list", &info->modules);
	return rc != 0 ? rc : job_write(job, info->modules, &module, sizeof module);
}

int elf_pvh_load(struct load_job *job, struct load_entry *entry) {
	struct start_info info = {
	    .magic = START_INFO_MAGIC, .version = START_INFO_VERSION, .rsdp = job->request->rsdp.v};
	uint64_t lowest, base;
	struct elf elf;
	int rc = elfimage_open(job, &elf);

	if (rc == 0 && note_entry(&elf, &entry->rip) != 0)
		rc = load_fail(job->why, LOAD_BLAME_KERNEL, -ERR_FORMAT, "has a damaged PVH note");
	if (rc == 0) rc = elfimage_load(job, &elf, &lowest);
	if (rc == 0) rc = elfimage_check_entry(job, &elf, entry->rip);
	if (rc == 0) rc = put_string(job, job->request->cmdline, "the command line", &info.cmdline);
	if (rc == 0) rc = put_map(job, &info);
	if (rc == 0) rc = put_module(job, &info);
	if (rc == 0) rc = job_place_small(job, sizeof info, "the start info", &base);
	if (rc == 0) rc = job_write(job, base, &info, sizeof info);
	if (rc != 0) return rc;

	entry->mode = LOAD_MODE_PROTECTED32;
	entry->rbx = base;
	entry->cr0 = CR0_PE | CR0_ET;
	return 0;
}
