// SPDX-License-Identifier: Apache-2.0
// Multiboot 2 kernels: 32- and 64-bit ELF files, or any file with an address tag; all entered in 32-bit mode.
#pragma once

#include "kernel/load/job.h"

// Whether a valid header is there; `addressed` asks for one with an address tag.
bool multiboot2_probe(const struct source *kernel, bool addressed);
__must_check int multiboot2_load(struct load_job *job, struct load_entry *entry);
