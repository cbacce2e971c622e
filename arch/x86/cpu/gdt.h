// SPDX-License-Identifier: Apache-2.0
// GDT and TSS of one CPU: flat 64-bit code and data, and the TSS with its interrupt stacks.
#pragma once

#include "kernel/lib/types.h"

enum gdt_selector { GDT_CODE = 0x08, GDT_DATA = 0x10, GDT_TSS = 0x18 };

struct gdt {
	uint64_t entry[5]; // null, code, data, TSS (two slots)
};

// SDM vol. 3, 7.7 "Task Management in 64-bit Mode".
struct __packed tss {
	uint32_t reserved0;
	uint64_t rsp[3];
	uint64_t reserved1;
	uint64_t ist[7];
	uint64_t reserved2;
	uint16_t reserved3;
	uint16_t iomap_base;
};
_Static_assert(sizeof(struct tss) == 104, "TSS layout");

// Fills both and loads them on this CPU; clears FS and GS bases (GS base is set after).
void gdt_load(struct gdt *gdt, struct tss *tss);
// Descriptor-table limits, as LGDT and the TSS descriptor take them.
#define GDT_LIMIT (sizeof(struct gdt) - 1)
#define TSS_LIMIT (sizeof(struct tss) - 1)
