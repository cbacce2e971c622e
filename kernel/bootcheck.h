// SPDX-License-Identifier: Apache-2.0
// Takes what the boot path handed over, whichever it was, into one checked struct boot_info.
#pragma once

#include "kernel/abi/bootinfo.h"
#include "kernel/lib/types.h"

// Copies or converts to *out and checks it. `magic` tells which path (BOOT_INFO_MAGIC or MB2_MAGIC), `at` is the
// address of its record through the identity map. On an error `why` holds a readable line, and out->path and
// out->fb say what screen there is to show it on.
__must_check int bootcheck_take(const void *at, uint64_t magic, uint64_t kernel_base, uint64_t kernel_bytes,
                                struct boot_info *out, char *why, size_t why_bytes);
// The checks alone: version, counts, terminated names, ranges that wrap or are empty. Host-testable.
__must_check int bootcheck(const struct boot_info *boot, char *why, size_t why_bytes);
// Pairs of memory map entries of different types that share bytes; the first pair's indexes in *a and *b (untouched
// when there is none). Such bytes are taken as not usable (mm/frames), so the boot goes on.
unsigned bootcheck_overlaps(const struct boot_info *boot, unsigned *a, unsigned *b);
