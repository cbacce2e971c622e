// SPDX-License-Identifier: Apache-2.0
// Multiboot 1 kernels: 32-bit ELF files, or any file with the header's address fields.
#pragma once

#include "kernel/load/job.h"

// Whether a valid header is there; `addressed` asks for one with address fields.
bool multiboot_probe(const struct source *kernel, bool addressed);
__must_check int multiboot_load(struct load_job *job, struct load_entry *entry);

// KiB of RAM below 640 KiB and from 1 MiB up to the first hole, as both versions report them.
void multiboot_basic_memory(const struct load_job *job, uint32_t *lower_kib, uint32_t *upper_kib);

// The addresses of a header with address fields (both versions have the same ones).
struct multiboot_addresses {
	uint32_t header, load, load_end, bss_end; // load_end 0: to the end of the file; bss_end 0: none
	uint64_t header_offset;                   // where the header stands in the file
};
__must_check int multiboot_load_addressed(struct load_job *job, const struct multiboot_addresses *addresses);
