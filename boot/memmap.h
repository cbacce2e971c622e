// SPDX-License-Identifier: Apache-2.0
// Building boot_info's memory map, the same way on both boot paths: ranges are added as the firmware
// names them, what the loader put into memory is claimed out of the free ranges, and at the end the
// table is sorted and neighbours of one type become one. Overlaps of different types are left as they
// are: whether they can be lived with is for the kernel's check to say, not for a loader.
#pragma once

#include "kernel/abi/bootinfo.h"
#include "kernel/lib/types.h"

// Appends one range of `bytes` (0: nothing happens). -ERR_RANGE when it wraps past 2^64, -ERR_NOMEM when the
// table is full even after merging.
__must_check int memmap_add(struct boot_info *info, uint64_t base, uint64_t bytes, enum boot_mem_type type);

// Appends the descriptors of a UEFI memory map (UEFI 2.10, section 7.2.3): `map_bytes` of descriptors that
// lie `descriptor_bytes` apart. -ERR_FORMAT when the sizes or a descriptor make no sense, else as memmap_add.
__must_check int memmap_add_efi(struct boot_info *info, const void *map, uint64_t map_bytes,
                                uint64_t descriptor_bytes);

// Makes [base, base + bytes), widened to whole pages, a BOOT_MEM_LOADER range and cuts it out of every
// BOOT_MEM_USABLE one. Errors as memmap_add.
__must_check int memmap_claim(struct boot_info *info, uint64_t base, uint64_t bytes);

// Sorts by base and merges touching or overlapping ranges of one type.
void memmap_sort(struct boot_info *info);
