// SPDX-License-Identifier: Apache-2.0
// Builds and loads the GDT and TSS (SDM vol. 3, 3.4.5 "Segment Descriptors", 7.2.3 "TSS Descriptor").
#include "arch/x86/cpu/gdt.h"

#include "arch/x86/cpu/insn.h"
#include "kernel/lib/bits.h"

#define DESC_CODE64 UINT64_C(0x00af9b000000ffff) // P, S, type execute/read accessed, L, G
#define DESC_DATA UINT64_C(0x00cf93000000ffff)   // P, S, type read/write accessed, DB, G
#define DESC_TSS_AVAILABLE (UINT64_C(0x89) << 40)

void gdt_load(struct gdt *gdt, struct tss *tss) {
	uint64_t base = (uint64_t)(uintptr_t)tss;
	tss->iomap_base = sizeof *tss;
	*gdt = (struct gdt){.entry = {
	                        [GDT_CODE / 8] = DESC_CODE64,
	                        [GDT_DATA / 8] = DESC_DATA,
	                        [GDT_TSS / 8] = TSS_LIMIT | bits_get(base, 23, 0) << 16 | DESC_TSS_AVAILABLE |
	                                        bits_get(base, 31, 24) << 56,
	                        [GDT_TSS / 8 + 1] = base >> 32,
	                    }};
	struct desc_ptr p = {.limit = GDT_LIMIT, .base = (uint64_t)(uintptr_t)gdt};
	lgdt(&p);
	segments_reload(GDT_CODE, GDT_DATA);
	lldt(0);
	ltr(GDT_TSS);
}
