// SPDX-License-Identifier: Apache-2.0
// Walking, splitting and filling the identity tables of a 64-bit test guest.
#include "tests/guest/lib/paging.h"

#include "tests/guest/lib/insn.h"
#include "tests/guest/lib/report.h"

#define POOL_PAGES 32
#define ADDRESS UINT64_C(0x000FFFFFFFFFF000)
#define TABLE_FLAGS (PTE_P | PTE_W | PTE_U)

static uint64_t pool[POOL_PAGES][512] __attribute__((aligned(4096)));
static unsigned pool_used;

static uint64_t *table_take(void) {
	if (pool_used == POOL_PAGES) result_error("out of page tables");
	return pool[pool_used++];
}

static uint64_t *table_below(uint64_t *entry) {
	if (!(*entry & PTE_P)) *entry = (uintptr_t)table_take() | TABLE_FLAGS;
	return (uint64_t *)(uintptr_t)(*entry & ADDRESS);
}

static uint64_t *directory_entry(uint64_t va) {
	uint64_t *pdpt = table_below(&pml4[va >> 39 & 511]);
	return &table_below(&pdpt[va >> 30 & 511])[va >> 21 & 511];
}

uint64_t *page_entry(uint64_t va) {
	uint64_t *pde = directory_entry(va);
	if (*pde & PTE_PS) {
		uint64_t *pt = table_take(), large = *pde & ~(uint64_t)PTE_PS;
		for (unsigned i = 0; i < 512; i++) pt[i] = large + i * PAGE_4K;
		*pde = (uintptr_t)pt | TABLE_FLAGS;
		invlpg((void *)va);
	}
	return &table_below(pde)[va >> 12 & 511];
}

void page_map(uint64_t va, uint64_t pa, uint64_t flags) {
	*page_entry(va) = pa | flags;
	invlpg((void *)va);
}

void page_map_2m(uint64_t va, uint64_t pa, uint64_t flags) {
	*directory_entry(va) = pa | flags | PTE_PS;
	invlpg((void *)va);
}
