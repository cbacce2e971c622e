// SPDX-License-Identifier: Apache-2.0
// How this layer reaches physical memory: device registers mapped once and for good, firmware tables one at a
// time. The one place that knows the host address space; set once at boot. Boot CPU only.
#pragma once

#include "kernel/abi/bootinfo.h"
#include "mm/hostpt.h"

// After hostpt_cpu_live. The address space must outlive everything here.
void hostio_init(struct hostpt *host);

// Readable and writable device memory of this type, never unmapped. NULL (with a log line) when the space is
// exhausted or the range is absurd. Before hostio_init: by the loader's identity map, below 4 GiB.
__must_check void *hostio_map(hpa_t base, uint64_t bytes, enum pt_type type);

// An acpi_map_fn, ctx = the const struct boot_info: maps firmware memory read-only until the next call. Refuses
// (NULL) what the boot memory map does not list, or lists as device memory or bad, above the first MiB: tables
// must not make us touch device registers.
const void *hostio_firmware(void *ctx, hpa_t at, uint64_t bytes);
// Drops the last such mapping.
void hostio_firmware_end(void);
