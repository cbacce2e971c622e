// SPDX-License-Identifier: Apache-2.0
// ELF kernels with a PVH entry point (note "Xen" 18), started with hvm_start_info version 1.
#pragma once

#include "kernel/load/job.h"

bool elf_pvh_probe(const struct source *kernel);
__must_check int elf_pvh_load(struct load_job *job, struct load_entry *entry);
