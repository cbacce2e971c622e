// SPDX-License-Identifier: Apache-2.0
// The VM's window: its memory slots mapped at their guest physical addresses, extent by extent.
#include "mm/window.h"

#include "kernel/lib/assert.h"
#include "kernel/lib/err.h"
#include "mm/insn.h"

int window_init(struct window *w, struct frames *f, unsigned leaf_levels) {
	pt_store_init(&w->store, f, &w->pt);
	return pt_init(&w->pt, &hostpt_format, 3, leaf_levels, &pt_store_ops, &w->store);
}

void window_destroy(struct window *w) {
	pt_destroy(&w->pt);
	window_reclaim(w);
}

int window_map_slot(struct window *w, const struct memslot *slot) {
	if ((slot->flags & MEMSLOT_MMIO) != 0) return 0;
	uint32_t attr = PT_READ | PT_ACCESSED;
	if ((slot->flags & MEMSLOT_RO) == 0) attr |= PT_WRITE | PT_DIRTY;
	return memslot_map(slot, &w->pt, attr);
}

void window_unmap_slot(struct window *w, const struct memslot *slot) {
	if ((slot->flags & MEMSLOT_MMIO) == 0) memslot_unmap(slot, &w->pt);
}

void window_reclaim(struct window *w) { pt_store_reclaim(&w->store, UINT64_MAX); }

void window_load(struct hostpt_cpu *c, const struct window *w) {
	if (c->window == w) return;
	uint64_t *pml4 = frame_ptr(c->pml4);
	pml4[WINDOW_SLOT] = w == NULL ? 0 : pt_table_entry(&hostpt_format, w->pt.root);
	c->window = w;
	window_flush(c);
}

void window_flush(const struct hostpt_cpu *c) { mm_cr3_load(c->root.v); }
