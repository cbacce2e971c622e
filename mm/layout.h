// SPDX-License-Identifier: Apache-2.0
// The hypervisor's own virtual addresses. All regions lie in the 48-bit canonical upper half, one or
// more whole PML4 slots (512 GiB) each, so the same addresses hold under 4- and 5-level paging (with
// 5 levels they hang below the last PML5 entry). The slot after each region stays empty as a guard.
//
//   slot      region   content                                                    who sees it
//   256..383  DIRECT   DIRECT_BASE + hpa, the hypervisor's pool frames only, RW   every CPU
//   385       IO       hostmap_io: device registers, firmware tables, framebuffer every CPU
//   387       STACKS   one stack a STACK_STRIDE_BYTES slot, unmapped below        every CPU
//   389       TEMP     the same addresses on every CPU, each CPU its own tables   this CPU only
//   391       WINDOW   WINDOW_BASE + gpa of the VM this CPU works for             this CPU only
//   511       image    KERNEL_VIRT, sections with their own permissions           every CPU
//
// How the kernel gets here: entry.asm enters C with an early table that maps the image at KERNEL_VIRT
// and physical memory one to one below 4 GiB; frame_ptr() then adds 0. frames_init() takes the first
// pool range below 4 GiB, so that every table built before the switch can be reached. hostpt_init(),
// hostpt_cpu_init() build the final root, hostpt_cpu_load() makes it live, and at that moment
// frame_base_set(DIRECT_BASE) turns frame_ptr() to the direct map. Pointers that frame_ptr() returned
// before are dead then: keep hpa_t, or convert with frame_ptr() again (mm's own objects do).
#pragma once

#include "kernel/abi/bootinfo.h"
#include "mm/addr.h"

#define LAYOUT_SLOT_BYTES (UINT64_C(1) << 39)
#define LAYOUT_SLOT_BASE(slot) (UINT64_C(0xffff000000000000) + (uint64_t)(slot)*LAYOUT_SLOT_BYTES)

#define DIRECT_SLOT 256u
#define DIRECT_SLOTS 128u
#define DIRECT_BASE LAYOUT_SLOT_BASE(DIRECT_SLOT)
// Pool frames lie below this physical address.
#define DIRECT_BYTES (DIRECT_SLOTS * LAYOUT_SLOT_BYTES)

#define IO_SLOT 385u
#define IO_BASE LAYOUT_SLOT_BASE(IO_SLOT)
#define IO_BYTES PAGE_1G_BYTES

#define STACKS_SLOT 387u
#define STACKS_BASE LAYOUT_SLOT_BASE(STACKS_SLOT)
#define STACK_STRIDE_BYTES (UINT64_C(64) * 1024)
// A stack takes at most half of its slot; the rest is guard.
#define STACK_PAGES_MAX (STACK_STRIDE_BYTES / PAGE_BYTES / 2)
#define STACK_MAX 4096u

#define TEMP_SLOT 389u
#define TEMP_BASE LAYOUT_SLOT_BASE(TEMP_SLOT)
// Temporary mappings a CPU can hold at once, and the addresses each spans. Between two lie 2 MiB of guard.
#define TEMP_COUNT 4u
#define TEMP_BYTES PAGE_2M_BYTES
#define TEMP_STRIDE_BYTES (2 * PAGE_2M_BYTES)

#define WINDOW_SLOT 391u
#define WINDOW_BASE LAYOUT_SLOT_BASE(WINDOW_SLOT)
// Guest physical addresses end here: 512 GiB, a power of two.
#define WINDOW_BYTES LAYOUT_SLOT_BYTES

#define KERNEL_SLOT 511u
#define KERNEL_BYTES_MAX PAGE_1G_BYTES

_Static_assert(LAYOUT_SLOT_BASE(KERNEL_SLOT) + LAYOUT_SLOT_BYTES - 2 * PAGE_1G_BYTES == KERNEL_VIRT,
               "the image is linked into the last 2 GiB");
_Static_assert(DIRECT_SLOT + DIRECT_SLOTS < IO_SLOT, "regions are disjoint");
