// SPDX-License-Identifier: Apache-2.0
// boot_info's memory map, see memmap.h. Everything here reads foreign numbers: no sum is formed before it
// is known not to wrap.
#include "boot/memmap.h"

#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"
#include "kernel/lib/string.h"

#define MEMMAP_PAGE_BYTES UINT64_C(4096)

// EFI_MEMORY_TYPE (UEFI 2.10, section 7.2, table 7.6).
enum efi_memory_type {
	EFI_TYPE_RESERVED = 0,
	EFI_TYPE_LOADER_CODE = 1,
	EFI_TYPE_LOADER_DATA = 2,
	EFI_TYPE_BOOT_CODE = 3,
	EFI_TYPE_BOOT_DATA = 4,
	EFI_TYPE_RUNTIME_CODE = 5,
	EFI_TYPE_RUNTIME_DATA = 6,
	EFI_TYPE_CONVENTIONAL = 7,
	EFI_TYPE_UNUSABLE = 8,
	EFI_TYPE_ACPI_RECLAIM = 9,
	EFI_TYPE_ACPI_NVS = 10,
	EFI_TYPE_MMIO = 11,
	EFI_TYPE_MMIO_PORTS = 12,
};

#define EFI_ATTRIBUTE_SPECIFIC_PURPOSE BIT64(18)
#define EFI_ATTRIBUTE_RUNTIME BIT64(63)

// The descriptor's fields that are read (UEFI 2.10, EFI_MEMORY_DESCRIPTOR).
enum efi_descriptor_field {
	EFI_DESC_TYPE = 0,
	EFI_DESC_PHYSICAL_START = 8,
	EFI_DESC_PAGES = 24,
	EFI_DESC_ATTRIBUTE = 32,
	EFI_DESC_BYTES = 40,
};

static bool merge_into(struct boot_mem *last, const struct boot_mem *next) {
	if (last->type != next->type || next->base > last->base + last->bytes) return false;
	uint64_t end = max_u64(last->base + last->bytes, next->base + next->bytes);
	last->bytes = end - last->base;
	return true;
}

void memmap_sort(struct boot_info *info) {
	for (uint32_t i = 1; i < info->mem_count; i++) {
		struct boot_mem moving = info->mem[i];
		uint32_t at = i;
		for (; at > 0 && info->mem[at - 1].base > moving.base; at--) info->mem[at] = info->mem[at - 1];
		info->mem[at] = moving;
	}
	uint32_t kept = 0;
	for (uint32_t i = 0; i < info->mem_count; i++) {
		if (kept > 0 && merge_into(&info->mem[kept - 1], &info->mem[i])) continue;
		info->mem[kept++] = info->mem[i];
	}
	info->mem_count = kept;
}

int memmap_add(struct boot_info *info, uint64_t base, uint64_t bytes, enum boot_mem_type type) {
	if (bytes == 0) return 0;
	// base + bytes == 2^64 is refused too: every reader may then form the end of a range.
	if (base + bytes < base) return -ERR_RANGE;
	struct boot_mem range = {.base = base, .bytes = bytes, .type = type};
	if (info->mem_count > 0) {
		struct boot_mem *last = &info->mem[info->mem_count - 1];
		if (base >= last->base && merge_into(last, &range)) return 0;
	}
	if (info->mem_count == BOOT_MEM_MAX) memmap_sort(info);
	if (info->mem_count == BOOT_MEM_MAX) return -ERR_NOMEM;
	info->mem[info->mem_count++] = range;
	return 0;
}

static enum boot_mem_type efi_type(uint32_t type, uint64_t attribute) {
	switch (type) {
	case EFI_TYPE_LOADER_CODE:
	case EFI_TYPE_LOADER_DATA:
	case EFI_TYPE_BOOT_CODE:
	case EFI_TYPE_BOOT_DATA:
	case EFI_TYPE_CONVENTIONAL:
		if (attribute & EFI_ATTRIBUTE_RUNTIME) return BOOT_MEM_RUNTIME;
		return attribute & EFI_ATTRIBUTE_SPECIFIC_PURPOSE ? BOOT_MEM_RESERVED : BOOT_MEM_USABLE;
	case EFI_TYPE_RUNTIME_CODE:
	case EFI_TYPE_RUNTIME_DATA: return BOOT_MEM_RUNTIME;
	case EFI_TYPE_UNUSABLE: return BOOT_MEM_BAD;
	case EFI_TYPE_ACPI_RECLAIM: return BOOT_MEM_ACPI;
	case EFI_TYPE_ACPI_NVS: return BOOT_MEM_NVS;
	case EFI_TYPE_MMIO:
	case EFI_TYPE_MMIO_PORTS: return BOOT_MEM_MMIO;
	case EFI_TYPE_RESERVED:
	default: return BOOT_MEM_RESERVED; // PAL code, persistent, unaccepted, vendor and newer types
	}
}

int memmap_add_efi(struct boot_info *info, const void *map, uint64_t map_bytes, uint64_t descriptor_bytes) {
	if (descriptor_bytes < EFI_DESC_BYTES || !is_aligned(descriptor_bytes, 8)) return -ERR_FORMAT;
	const uint8_t *at = map;
	for (; map_bytes >= descriptor_bytes; map_bytes -= descriptor_bytes, at += descriptor_bytes) {
		uint64_t pages = le64(at + EFI_DESC_PAGES);
		if (pages > UINT64_MAX / MEMMAP_PAGE_BYTES) return -ERR_FORMAT;
		enum boot_mem_type type = efi_type(le32(at + EFI_DESC_TYPE), le64(at + EFI_DESC_ATTRIBUTE));
		int err = memmap_add(info, le64(at + EFI_DESC_PHYSICAL_START), pages * MEMMAP_PAGE_BYTES, type);
		if (err) return err;
	}
	return map_bytes == 0 ? 0 : -ERR_FORMAT;
}

int memmap_claim(struct boot_info *info, uint64_t base, uint64_t bytes) {
	if (bytes == 0) return 0;
	if (base > UINT64_MAX - MEMMAP_PAGE_BYTES || bytes > UINT64_MAX - MEMMAP_PAGE_BYTES - base)
		return -ERR_RANGE;
	uint64_t end = align_up(base + bytes, MEMMAP_PAGE_BYTES);
	base = align_down(base, MEMMAP_PAGE_BYTES);
	uint32_t count = info->mem_count; // ranges appended below lie beside the claim: not looked at again
	for (uint32_t i = 0; i < count && i < info->mem_count; i++) {
		struct boot_mem free = info->mem[i];
		uint64_t free_end = free.base + free.bytes;
		if (free.type != BOOT_MEM_USABLE || free.base >= end || free_end <= base) continue;
		// The part below stays in this slot; empty ones are dropped after the loop.
		info->mem[i].bytes = base > free.base ? base - free.base : 0;
		if (free_end <= end) continue;
		if (info->mem_count == BOOT_MEM_MAX) return -ERR_NOMEM;
		info->mem[info->mem_count++] =
		    (struct boot_mem){.base = end, .bytes = free_end - end, .type = BOOT_MEM_USABLE};
	}
	uint32_t kept = 0;
	for (uint32_t i = 0; i < info->mem_count; i++)
		if (info->mem[i].bytes > 0) info->mem[kept++] = info->mem[i];
	info->mem_count = kept;
	return memmap_add(info, base, end - base, BOOT_MEM_LOADER);
}
