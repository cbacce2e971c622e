// SPDX-License-Identifier: Apache-2.0
// A VM's memory as the hypervisor sees it: a subtree of host format that hangs in the WINDOW slot of the
// CPU that works for the VM, so that guest physical address a is at WINDOW_BASE + a. Never executable, not
// global, so the CR3 load of a VM switch removes every trace of the other VM's window from the TLB.
#pragma once

#include "mm/hostpt.h"
#include "mm/memslot.h"

struct window {
	struct pt pt; // three levels: the PDPT for one PML4 slot
	struct pt_store store;
};

// leaf_levels as for hostpt_init. -ERR_NOMEM.
__must_check int window_init(struct window *w, struct frames *f, unsigned leaf_levels);
// Only when no CPU has it loaded and all have flushed since.
void window_destroy(struct window *w);
// The slot's memory appears (RW, or R for MEMSLOT_RO; MEMSLOT_MMIO never does). -ERR_EXIST, -ERR_NOMEM.
__must_check int window_map_slot(struct window *w, const struct memslot *slot);
// Before the slot's frames are freed, and for window_reclaim, every CPU that had the window loaded must have
// flushed (window_flush, or any later window_load).
void window_unmap_slot(struct window *w, const struct memslot *slot);
void window_reclaim(struct window *w);
// Hangs w (NULL: nothing) in this CPU's root and flushes; does nothing when it hangs there already.
void window_load(struct hostpt_cpu *c, const struct window *w);
// Drops stale window translations of this CPU after a slot went.
void window_flush(const struct hostpt_cpu *c);
