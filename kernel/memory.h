// SPDX-License-Identifier: Apache-2.0
// The machine's memory as the kernel uses it: the one frame allocator, the one host address space, and the
// small allocations of boot and build. Nothing here is called on the run path.
#pragma once

#include "arch/x86/cpu/percpu.h"
#include "kernel/abi/bootinfo.h"
#include "mm/hostpt.h"
#include "mm/pool.h"

// Builds the frame allocator from boot->mem and the final address space, and moves this CPU to it; after
// it the loader's identity map is gone. Called once, on the boot stack. A cause is logged on error.
__must_check int memory_init(const struct boot_info *boot);

struct frames *memory_frames(void);
struct hostpt *memory_hostpt(void);
struct hostpt_cpu *memory_cpu(uint32_t cpu_id);

// A CPU's own stacks, guarded. -ERR_NOMEM.
__must_check int memory_cpu_stacks(uint32_t cpu_id, struct cpu_stacks *stacks);
// A free page below 1 MiB for the trampoline, reserved since boot; 0 when the firmware's map has none.
hpa_t memory_trampoline(void);

// `pages` contiguous zeroed pool frames. -ERR_NOMEM.
__must_check int memory_pool_pages(uint64_t pages, hpa_t *first);
void memory_pool_pages_free(hpa_t first, uint64_t pages);
// A zeroed object, 64-byte aligned. -ERR_NOMEM.
__must_check int memory_object(uint64_t bytes, void **object);
void memory_object_free(void *object, uint64_t bytes);

// Usable bytes of the firmware map, and what the hypervisor itself holds now (pool frames and image).
uint64_t memory_usable_bytes(void);
uint64_t memory_own_bytes(void);
