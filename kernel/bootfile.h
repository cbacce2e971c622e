// SPDX-License-Identifier: Apache-2.0
// The files that the boot path brought, by name; they stay in memory, read-only, for restarts of their VMs.
#pragma once

#include "kernel/abi/bootinfo.h"
#include "kernel/lib/source.h"

// Maps every file. A cause is logged on error.
__must_check int bootfile_init(const struct boot_info *boot);
// The file of that name (relative to bulkhead.toml). -ERR_NOENT.
__must_check int bootfile_find(const char *name, struct source *file);
// All bytes of file `index`; NULL past the last. File 0 is bulkhead.toml.
const void *bootfile_bytes(unsigned index, uint64_t *bytes);
