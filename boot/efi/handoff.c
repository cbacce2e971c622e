// SPDX-License-Identifier: Apache-2.0
// The last steps: own page tables, the final memory map, out of boot services, into the kernel. The
// firmware's page tables are never relied on: some mark data pages no-execute, some map nothing but what the
// memory map lists. Ours map the low 4 GiB and, wherever they are, the kernel, the record, this code, the
// stack and the tables themselves; 4 or 5 levels deep, as the CPU runs now.
#include <efi.h>

#include "boot/efi/insn.h"
#include "boot/efi/loader.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"
#include "kernel/lib/string.h"

#define PTE_TABLE UINT64_C(0x3)    // present, writable
#define PTE_LEAF_2M UINT64_C(0x83) // present, writable, page size
#define PTE_ADDRESS MASK64(51, 12)
#define PTE_COUNT 512u
#define LEVEL_2M 2u // levels count from 1, the page table

#define STACK_PAGES 4u
#define TABLE_PAGES 60u // 7 for 4 GiB, up to 4 for each of 4 further places, 5-level root: room to spare
#define EXIT_ATTEMPTS 8u
#define MAP_ATTEMPTS 8u
#define MAP_SLACK_DESCRIPTORS 64u // our own allocations and timers of the firmware split ranges meanwhile

struct tables {
	uint64_t base; // TABLE_PAGES pages, zeroed; the first is the root
	uint32_t used;
	unsigned levels; // 4 or 5
};

struct map {
	uint32_t span; // of the loader's: the room is the last
	void *at;
	UINTN room, bytes, key, descriptor_bytes;
};

// Maps the 2 MiB page around `address`; false when the pool is empty.
static bool map_2m(struct tables *tables, uint64_t address) {
	uint64_t table = tables->base;
	for (unsigned level = tables->levels; level > LEVEL_2M; level--) {
		uint64_t *entry = memory_at(table);
		entry += (address >> (12 + 9 * (level - 1))) % PTE_COUNT;
		if (*entry == 0) {
			if (tables->used == TABLE_PAGES) return false;
			*entry = (tables->base + tables->used++ * EFI_PAGE_SIZE) | PTE_TABLE;
		}
		table = *entry & PTE_ADDRESS;
	}
	uint64_t *leaf = memory_at(table);
	leaf[(address >> 21) % PTE_COUNT] = align_down(address, 2 * MIB) | PTE_LEAF_2M;
	return true;
}

static bool map_range(struct tables *tables, uint64_t base, uint64_t bytes) {
	for (uint64_t at = align_down(base, 2 * MIB); at < base + bytes; at += 2 * MIB)
		if (!map_2m(tables, at)) return false;
	return true;
}

static EFI_STATUS build_tables(struct loader *loader, struct tables *tables, uint64_t *stack_top) {
	uint64_t pool;
	EFI_STATUS status = memory_take(loader, STACK_PAGES + TABLE_PAGES, 1, true, true, "page tables", &pool);
	if (EFI_ERROR(status)) return status;
	memset(memory_at(pool), 0, (STACK_PAGES + TABLE_PAGES) * EFI_PAGE_SIZE);
	*stack_top = pool + STACK_PAGES * EFI_PAGE_SIZE;
	*tables =
	    (struct tables){.base = *stack_top, .used = 1, .levels = insn_read_cr4() & INSN_CR4_LA57 ? 5 : 4};
	const struct boot_info *info = loader->info;
	bool mapped = map_range(tables, 0, 4 * GIB) && map_range(tables, info->kernel_base, info->kernel_bytes) &&
	              map_range(tables, memory_address(info), sizeof *info) &&
	              map_range(tables, memory_address(loader->self->ImageBase), loader->self->ImageSize) &&
	              map_range(tables, pool, (STACK_PAGES + TABLE_PAGES) * EFI_PAGE_SIZE);
	if (mapped) return EFI_SUCCESS;
	say("no room in the page tables");
	return EFI_OUT_OF_RESOURCES;
}

// The firmware's map, in room that is taken again as long as it is too small: taking it changes the map. Says
// nothing: after a refused ExitBootServices the console may not be used. The caller does.
static EFI_STATUS get_map(struct loader *loader, struct map *map) {
	for (unsigned i = 0; i < MAP_ATTEMPTS; i++) {
		UINT32 version;
		uint64_t at;
		map->bytes = map->room;
		EFI_STATUS status =
		    loader->boot->GetMemoryMap(&map->bytes, map->at, &map->key, &map->descriptor_bytes, &version);
		if (status != EFI_BUFFER_TOO_SMALL) return status;
		uint64_t room = map->bytes + MAP_SLACK_DESCRIPTORS * map->descriptor_bytes;
		uint64_t pages = room / EFI_PAGE_SIZE + 1;
		memory_release(loader, map->span);
		status = memory_take(loader, pages, 1, false, false, NULL, &at);
		if (EFI_ERROR(status)) return status;
		map->at = memory_at(at);
		map->room = pages * EFI_PAGE_SIZE;
	}
	return EFI_BUFFER_TOO_SMALL;
}

static const char *map_fault(int err) {
	return err == -ERR_NOMEM ? "it has more ranges than boot_info holds" : err_name(err);
}

// Builds boot_info's map once, so that whatever can go wrong does so while there is still a console to say it on.
static EFI_STATUS rehearse(struct loader *loader, struct map *map) {
	*map = (struct map){.span = loader->span_count};
	EFI_STATUS status = get_map(loader, map);
	if (EFI_ERROR(status)) {
		say("cannot read the memory map: %s", say_status(status));
		return EFI_DEVICE_ERROR;
	}
	int err = memory_map_build(loader, map->at, map->bytes, map->descriptor_bytes);
	if (!err) return EFI_SUCCESS;
	say("the firmware's memory map is unusable: %s", map_fault(err));
	return EFI_DEVICE_ERROR;
}

EFI_STATUS handoff(struct loader *loader) {
	struct tables tables;
	struct map map;
	uint64_t stack_top;
	struct boot_info *info = loader->info;
	EFI_STATUS status = build_tables(loader, &tables, &stack_top);
	if (!EFI_ERROR(status)) status = rehearse(loader, &map);
	if (EFI_ERROR(status)) return status;

	// A key that went stale between the two calls costs another round; after the first attempt only the
	// memory services may be used (UEFI 2.10, EFI_BOOT_SERVICES.ExitBootServices).
	status = EFI_INVALID_PARAMETER;
	for (unsigned i = 0; i < EXIT_ATTEMPTS && status == EFI_INVALID_PARAMETER; i++) {
		status = get_map(loader, &map);
		if (!EFI_ERROR(status)) status = loader->boot->ExitBootServices(loader->image, map.key);
	}
	if (EFI_ERROR(status)) // half out of boot services: no way back, and the console is a try
		say_last(true, "the firmware does not let go of boot services: %s; the machine is stopped",
		         say_status(status));
	insn_cli();
	int err = memory_map_build(loader, map.at, map.bytes, map.descriptor_bytes);
	if (err)
		say_last(false, "the firmware's last memory map is unusable: %s; the machine is stopped",
		         map_fault(err));
	info->tsc_handoff = insn_rdtsc();
	insn_enter(insn_read_cr4() & (INSN_CR4_PAE | INSN_CR4_LA57), tables.base, stack_top, loader->entry,
	           memory_address(info), BOOT_INFO_MAGIC);
}
