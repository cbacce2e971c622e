// SPDX-License-Identifier: Apache-2.0
// The loader's pages and the memory map that the kernel gets. Every allocation is remembered: on failure it
// goes back to the firmware, at hand-off the kept ones become BOOT_MEM_LOADER ranges.
#include <efi.h>

#include "boot/efi/loader.h"
#include "boot/memmap.h"
#include "kernel/lib/bits.h"

#define LOW_LIMIT (4 * GIB)

static EFI_STATUS allocate(struct loader *loader, uint64_t pages, bool low, EFI_PHYSICAL_ADDRESS *base) {
	EFI_STATUS status = EFI_NOT_FOUND;
	if (low) {
		*base = LOW_LIMIT - 1;
		status = loader->boot->AllocatePages(AllocateMaxAddress, EfiLoaderData, pages, base);
	}
	if (EFI_ERROR(status)) status = loader->boot->AllocatePages(AllocateAnyPages, EfiLoaderData, pages, base);
	return status;
}

EFI_STATUS memory_take(struct loader *loader, uint64_t pages, uint64_t align_pages, bool low, bool keep,
                       const char *what, uint64_t *base) {
	EFI_PHYSICAL_ADDRESS raw = 0;
	uint64_t total = pages + align_pages - 1;
	EFI_STATUS status = EFI_OUT_OF_RESOURCES;
	if (loader->span_count < LOADER_SPAN_MAX) status = allocate(loader, total, low, &raw);
	if (EFI_ERROR(status)) {
		if (what != NULL) say("no memory for %s (%llu KiB)", what, (unsigned long long)(pages * 4));
		return EFI_OUT_OF_RESOURCES;
	}
	// Trim to the aligned middle.
	uint64_t at = align_up(raw, align_pages * EFI_PAGE_SIZE);
	uint64_t before = (at - raw) / EFI_PAGE_SIZE, after = total - pages - before;
	if (before > 0) loader->boot->FreePages(raw, before);
	if (after > 0) loader->boot->FreePages(at + pages * EFI_PAGE_SIZE, after);
	loader->span[loader->span_count++] = (struct loader_span){.base = at, .pages = pages, .keep = keep};
	*base = at;
	return EFI_SUCCESS;
}

void memory_release(struct loader *loader, uint32_t first) {
	while (loader->span_count > first) {
		const struct loader_span *span = &loader->span[--loader->span_count];
		loader->boot->FreePages(span->base, span->pages);
	}
}

int memory_map_build(struct loader *loader, const void *map, uint64_t map_bytes, uint64_t descriptor_bytes) {
	loader->info->mem_count = 0;
	int err = memmap_add_efi(loader->info, map, map_bytes, descriptor_bytes);
	memmap_sort(loader->info);
	for (uint32_t i = 0; !err && i < loader->span_count; i++) {
		const struct loader_span *span = &loader->span[i];
		if (span->keep) err = memmap_claim(loader->info, span->base, span->pages * EFI_PAGE_SIZE);
	}
	memmap_sort(loader->info);
	return err;
}
