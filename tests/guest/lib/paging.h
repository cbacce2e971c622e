// SPDX-License-Identifier: Apache-2.0
// The page tables of a 64-bit test guest: 4 GiB of identity map in 2 MiB pages at the start, more pages from
// a small static pool.
#pragma once

#include <stdint.h>

enum {
	PTE_P = 1,
	PTE_W = 2,
	PTE_U = 4,
	PTE_PWT = 8,
	PTE_PCD = 16,
	PTE_A = 32,
	PTE_D = 64,
	PTE_PS = 128,
	PTE_G = 256,
};
#define PTE_NX (UINT64_C(1) << 63)
#define PAGE_4K UINT64_C(0x1000)
#define PAGE_2M UINT64_C(0x200000)

extern uint64_t pml4[512];

// The 4 KiB entry that maps va, splitting a 2 MiB page on the way; the caller changes it and invalidates.
uint64_t *page_entry(uint64_t va);
// Maps one page of 4 KiB or 2 MiB (any address below 2^47) and invalidates it.
void page_map(uint64_t va, uint64_t pa, uint64_t flags);
void page_map_2m(uint64_t va, uint64_t pa, uint64_t flags);
