// SPDX-License-Identifier: Apache-2.0
// From the multiboot2 boot information to struct boot_info. Called once by the kernel's C entry when GRUB
// was the boot path (RSI = MB2_MAGIC), before anything else looks at the boot data.
#pragma once

#include "kernel/abi/bootinfo.h"
#include "kernel/lib/types.h"

#define MB2_MAGIC 0x36d76289u // what the loader leaves in EAX (Multiboot2 specification, 3.3)

// TSC at mb2_entry, the moment GRUB handed over (target only; boot/mb2/mb2_entry.asm).
extern uint64_t mb2_tsc_entry;

// Reads the boot information at `tags`, which must lie at its physical address (identity mapped, so that a
// pointer into it is the address to hand on) with at most tags_bytes_max readable bytes, and fills *out.
// On entry out->kernel_bytes (image length, bss included), out->tsc_entry and out->tsc_handoff are set by the
// caller; every other field is overwritten. kernel_phys_base is the kernel's phys_base of bootinfo.h.
// The memory map then holds the kernel image, the tags and all modules as BOOT_MEM_LOADER.
// On an error *out is not to be used and `why` (why_bytes > 0) holds one readable line without newline:
// -ERR_FORMAT, -ERR_TRUNC, -ERR_RANGE (foreign bytes are wrong), -ERR_NOMEM (too many ranges or files),
// -ERR_NOENT (bulkhead.toml was not handed over), -ERR_INVAL (the caller's own arguments).
__must_check int mb2_to_boot_info(const void *tags, uint64_t tags_bytes_max, uint64_t kernel_phys_base,
                                  struct boot_info *out, char *why, size_t why_bytes);
