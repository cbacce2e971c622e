// SPDX-License-Identifier: Apache-2.0
// The segments of an ELF kernel, put at their physical addresses. Shared by PVH and multiboot.
#pragma once

#include "kernel/lib/elf.h"
#include "kernel/load/job.h"

// Opens the kernel file as ELF for an x86 machine; fills the refusal.
__must_check int elfimage_open(struct load_job *job, struct elf *elf);
// Takes and fills every loadable segment; *lowest is the lowest address used.
__must_check int elfimage_load(struct load_job *job, const struct elf *elf, uint64_t *lowest);
// The physical address of the ELF entry point, which files give as virtual or as physical address.
__must_check int elfimage_entry(struct load_job *job, const struct elf *elf, uint64_t *entry);
// -ERR_FORMAT unless `entry` lies in a loaded segment below 4 GiB.
__must_check int elfimage_check_entry(struct load_job *job, const struct elf *elf, uint64_t entry);
