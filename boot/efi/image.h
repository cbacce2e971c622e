// SPDX-License-Identifier: Apache-2.0
// The kernel's ELF file as the loader sees it: checked against the contract of kernel/abi/bootinfo.h, then
// laid out in memory.
#pragma once

#include "kernel/lib/elf.h"
#include "kernel/lib/types.h"

// Longest image that is believed: entry.asm maps it with one page directory.
#define IMAGE_BYTES_MAX (64 * MIB)

struct image {
	struct elf elf;
	uint64_t bytes;        // from KERNEL_VIRT to the end of the last segment, whole pages
	uint64_t entry_offset; // of the entry point from the image's base
};

// Checks all that image_load relies on. `file` outlives *image. On an error (-ERR_FORMAT, -ERR_TRUNC,
// -ERR_RANGE, -ERR_OVERLAP) `why` (why_bytes > 0) says in words what is wrong.
__must_check int image_check(struct image *image, const struct source *file, char *why, size_t why_bytes);
// Copies the segments to dst, image->bytes long, and zeroes all the rest of it.
__must_check int image_load(const struct image *image, void *dst);
