// SPDX-License-Identifier: Apache-2.0
// Memory slots of a VM: which guest frames are backed by which host frames, and how. A table is immutable
// once published; a change builds a new one, swaps the pointer and frees the old one after every CPU was
// quiescent. Readers on the exit path take no lock. A page that is in no slot is nobody's memory (MMIO).
#pragma once

#include "mm/pt.h"

enum memslot_flags {
	MEMSLOT_RO = 1u << 0,   // the guest and gmem may not write
	MEMSLOT_LOG = 1u << 1,  // dirty pages are recorded in `dirty`
	MEMSLOT_MMIO = 1u << 2, // device memory: uncached, not in the window, gmem refuses it
};

#define MEMSLOT_MAX 32u

struct memslot {
	gfn_t base;
	uint64_t pages;
	uint32_t flags;
	uint32_t extent_count;
	const struct extent *extents; // covers pages exactly; owned by the VM, outlives the table
	uint64_t *dirty;              // one bit a page, or NULL; owned by the VM
};

struct memslot_table {
	uint32_t count;
	struct memslot slot[MEMSLOT_MAX]; // sorted by base, disjoint
};

static inline uint64_t memslot_dirty_words(uint64_t pages) { return (pages + 63) / 64; }

// Both build a changed copy in `to` (not published, may not be `from`). insert: -ERR_INVAL for an empty,
// wrapping or badly backed slot, or one beyond WINDOW_BYTES; -ERR_OVERLAP; -ERR_NOMEM when the table is
// full. remove: -ERR_NOENT when no slot starts at base.
__must_check int memslot_insert(struct memslot_table *to, const struct memslot_table *from,
                                const struct memslot *slot);
__must_check int memslot_remove(struct memslot_table *to, const struct memslot_table *from, gfn_t base);
// The slot that holds gfn, or NULL.
const struct memslot *memslot_find(const struct memslot_table *table, gfn_t gfn);
// The host frame behind gfn, which lies in the slot; *run (may be NULL) = frames that follow contiguously
// in this slot, itself included.
pfn_t memslot_pfn(const struct memslot *slot, gfn_t gfn, uint64_t *run);
// Sets the dirty bits of [gfn, gfn + pages), clipped to slots with MEMSLOT_LOG. Safe against other CPUs.
void memslot_mark_dirty(const struct memslot_table *table, gfn_t gfn, uint64_t pages);

// Maps / unmaps a slot's memory in a tree at its guest physical addresses. map: what pt_map says, then
// nothing is mapped. unmap cannot fail: no leaf crosses the border of a slot.
__must_check int memslot_map(const struct memslot *slot, struct pt *pt, uint32_t attr);
void memslot_unmap(const struct memslot *slot, struct pt *pt);
