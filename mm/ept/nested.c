// SPDX-License-Identifier: Apache-2.0
// Nested page tables of a VM: slots to mappings, and dirty logging by dirty flags or write protection.
#include "mm/ept/nested.h"

#include "kernel/lib/assert.h"
#include "kernel/lib/err.h"

int nested_init(struct nested *n, struct frames *f, const struct pt_format *format, unsigned levels,
                unsigned leaf_levels) {
	lock_init(&n->lock, LOCK_RANK_NESTED_PAGES);
	pt_store_init(&n->store, f, &n->pt);
	return pt_init(&n->pt, format, levels, leaf_levels, &pt_store_ops, &n->store);
}

void nested_destroy(struct nested *n) {
	pt_destroy(&n->pt);
	nested_reclaim(n, UINT64_MAX);
}

void nested_reclaim(struct nested *n, uint64_t flushed) {
	lock_acquire(&n->lock);
	pt_store_reclaim(&n->store, flushed);
	lock_release(&n->lock);
}

static bool logs_by_flag(const struct nested *n) { return n->pt.format->dirty != 0; }

// What the guest may do with the slot's memory.
static uint32_t slot_rights(const struct memslot *slot) {
	uint32_t rights = PT_READ;
	if ((slot->flags & MEMSLOT_RO) == 0) rights |= PT_WRITE;
	if ((slot->flags & MEMSLOT_MMIO) == 0) rights |= PT_EXEC;
	return rights;
}

int nested_map_slot(struct nested *n, const struct memslot *slot) {
	uint32_t attr = slot_rights(slot) | PT_ACCESSED;
	// The type of memory is write-back and the guest's PAT may weaken it; a device is never cached.
	if ((slot->flags & MEMSLOT_MMIO) != 0) attr |= PT_TYPE(PT_UC);
	if ((attr & PT_WRITE) != 0) attr |= PT_DIRTY; // until logging starts nobody asks
	lock_acquire(&n->lock);
	int err = memslot_map(slot, &n->pt, attr);
	lock_release(&n->lock);
	return err;
}

void nested_unmap_slot(struct nested *n, const struct memslot *slot) {
	lock_acquire(&n->lock);
	memslot_unmap(slot, &n->pt);
	lock_release(&n->lock);
}

int nested_page_set(struct nested *n, gpa_t at, hpa_t frame, uint32_t rights) {
	const uint32_t attr = PT_TYPE(PT_UC) | PT_ACCESSED | PT_DIRTY;
	lock_acquire(&n->lock);
	int err = rights != 0 ? pt_map(&n->pt, at.v, frame, PAGE_BYTES, rights | attr)
	                      : pt_unmap(&n->pt, at.v, PAGE_BYTES);
	lock_release(&n->lock);
	return err;
}

int nested_protect(struct nested *n, gfn_t gfn, uint64_t pages, uint32_t rights) {
	lock_acquire(&n->lock);
	int err = pt_protect(&n->pt, gfn_gpa(gfn).v, pages << PAGE_SHIFT, rights);
	lock_release(&n->lock);
	return err;
}

int nested_translate(const struct nested *n, gpa_t a, struct pt_mapping *out) {
	return pt_translate(&n->pt, a.v, out);
}

// ---- dirty logging ---------------------------------------------------------------------------------

static int mark(void *ctx, const struct pt_mapping *mapping) {
	const struct memslot *slot = ctx;
	if ((mapping->attr & PT_DIRTY) == 0 && (mapping->attr & PT_WRITE) == 0) return 0;
	uint64_t page = (mapping->va >> PAGE_SHIFT) - slot->base.v; // split to 4 KiB by nested_log_start
	__atomic_fetch_or(&slot->dirty[page / 64], BIT64(page % 64), __ATOMIC_RELAXED);
	return 0;
}

static int ignore(void *ctx __unused_arg, const struct pt_mapping *mapping __unused_arg) { return 0; }

// Collects with `fn` what was written, and makes the next write seen. By flag: the leaves whose dirty flag
// was set. By write protection: the leaves that are writable again.
static void collect(struct nested *n, const struct memslot *slot, pt_walk_fn *fn) __requires_lock(n->lock) {
	uint64_t va = gfn_gpa(slot->base).v, bytes = slot->pages << PAGE_SHIFT;
	int err;
	if (logs_by_flag(n)) {
		err = pt_harvest(&n->pt, va, bytes, PT_DIRTY, fn, (void *)(uintptr_t)slot);
	} else {
		err = pt_walk(&n->pt, va, bytes, fn, (void *)(uintptr_t)slot);
		if (err == 0) err = pt_protect(&n->pt, va, bytes, slot_rights(slot) & ~(uint32_t)PT_WRITE);
	}
	assert(err == 0); // the slot is split: no table is needed
}

int nested_log_start(struct nested *n, const struct memslot *slot) {
	if (slot->dirty == NULL) return -ERR_INVAL;
	uint64_t va = gfn_gpa(slot->base).v, bytes = slot->pages << PAGE_SHIFT;
	lock_acquire(&n->lock);
	int err = pt_split(&n->pt, va, bytes, PT_LEVEL_4K);
	if (err == 0)
		collect(n, slot, ignore);
	else
		pt_merge(&n->pt, va, bytes);
	lock_release(&n->lock);
	return err;
}

void nested_log_collect(struct nested *n, const struct memslot *slot) {
	lock_acquire(&n->lock);
	collect(n, slot, mark);
	lock_release(&n->lock);
}

bool nested_log_fault(struct nested *n, const struct memslot_table *table, gpa_t a) {
	const struct memslot *slot = memslot_find(table, gpa_gfn(a));
	if (slot == NULL || (slot->flags & MEMSLOT_LOG) == 0 || (slot->flags & MEMSLOT_RO) != 0) return false;
	if (logs_by_flag(n)) return false;
	memslot_mark_dirty(table, gpa_gfn(a), 1);
	int err = nested_protect(n, gpa_gfn(a), 1, slot_rights(slot));
	assert(err == 0);
	return true;
}

void nested_log_stop(struct nested *n, const struct memslot *slot) {
	uint64_t va = gfn_gpa(slot->base).v, bytes = slot->pages << PAGE_SHIFT;
	lock_acquire(&n->lock);
	int err = pt_protect(&n->pt, va, bytes, slot_rights(slot));
	assert(err == 0);
	pt_merge(&n->pt, va, bytes);
	lock_release(&n->lock);
}
