// SPDX-License-Identifier: Apache-2.0
// Tells what kind of kernel a file is and hands it to the loader of that kind.
#include "kernel/load/load.h"

#include "arch/x86/cpu/regs.h"
#include "kernel/lib/err.h"
#include "kernel/lib/string.h"
#include "kernel/load/bzimage.h"
#include "kernel/load/elf_pvh.h"
#include "kernel/load/flat.h"
#include "kernel/load/job.h"
#include "kernel/load/multiboot.h"
#include "kernel/load/multiboot2.h"

#define FLAT_SELECTOR_CODE 0x10u
#define FLAT_SELECTOR_DATA 0x18u

struct loader {
	const char *name;
	int (*load)(struct load_job *job, struct load_entry *entry);
};
static const struct loader loaders[] = {
    [LOAD_KIND_ELF_PVH] = {"PVH ELF", elf_pvh_load},
    [LOAD_KIND_MULTIBOOT2] = {"multiboot 2", multiboot2_load},
    [LOAD_KIND_MULTIBOOT] = {"multiboot 1", multiboot_load},
    [LOAD_KIND_BZIMAGE] = {"bzImage", bzimage_load},
    [LOAD_KIND_FLAT] = {"flat real-mode code", flat_load},
};

const char *load_kind_name(enum load_kind kind) { return loaders[kind].name; }

static int probe_elf(const struct source *kernel, enum load_kind *kind, struct load_why *why) {
	if (elf_pvh_probe(kernel))
		*kind = LOAD_KIND_ELF_PVH;
	else if (multiboot2_probe(kernel, false))
		*kind = LOAD_KIND_MULTIBOOT2;
	else if (multiboot_probe(kernel, false))
		*kind = LOAD_KIND_MULTIBOOT;
	else
		return load_fail(why, LOAD_BLAME_KERNEL, -ERR_FORMAT,
		                 "is an ELF file with neither a PVH note nor a multiboot 1 or 2 header");
	return 0;
}

int load_probe(const struct source *kernel, enum load_kind *kind, struct load_why *why) {
	uint8_t magic[4] = {0};

	if (kernel->bytes == 0) return load_fail(why, LOAD_BLAME_KERNEL, -ERR_FORMAT, "is an empty file");
	int rc = source_read(kernel, 0, magic, (size_t)min_u64(sizeof magic, kernel->bytes));
	if (rc != 0) return load_fail(why, LOAD_BLAME_KERNEL, rc, "cannot be read (%s)", err_name(rc));

	if (memcmp(magic, "\177ELF", sizeof magic) == 0) return probe_elf(kernel, kind, why);
	if (bzimage_probe(kernel))
		*kind = LOAD_KIND_BZIMAGE;
	else if (multiboot2_probe(kernel, true))
		*kind = LOAD_KIND_MULTIBOOT2;
	else if (multiboot_probe(kernel, true))
		*kind = LOAD_KIND_MULTIBOOT;
	else if (kernel->bytes <= FLAT_MAX)
		*kind = LOAD_KIND_FLAT;
	else
		return load_fail(
		    why, LOAD_BLAME_KERNEL, -ERR_FORMAT,
		    "is no bzImage, ELF or multiboot kernel, and its %lu bytes are too long for flat real-mode "
		    "code (at most %u)",
		    kernel->bytes, FLAT_MAX);
	return 0;
}

int load_guest(const struct load_request *request, struct load_entry *entry, struct load_why *why) {
	struct load_job job;
	enum load_kind kind;
	int rc = load_probe(request->kernel, &kind, why);

	if (rc != 0) return rc;
	if (job_init(&job, request, why) != 0)
		return load_fail(why, LOAD_BLAME_MEMORY, -ERR_INVAL,
		                 "the VM's memory map is not sorted and disjoint");
	*entry = (struct load_entry){.kind = kind, .rflags = RFLAGS_FIXED};
	rc = loaders[kind].load(&job, entry);
	if (rc != 0 || entry->mode == LOAD_MODE_REAL || entry->gdt_limit != 0) return rc;
	// The protocols leave the GDT undefined: any selectors will do, the segments' hidden parts are flat.
	entry->code_selector = FLAT_SELECTOR_CODE;
	entry->data_selector = FLAT_SELECTOR_DATA;
	return 0;
}
