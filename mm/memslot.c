// SPDX-License-Identifier: Apache-2.0
// Memory slot tables: building changed copies, and the lookups of the exit path.
#include "mm/memslot.h"

#include "kernel/lib/assert.h"
#include "kernel/lib/err.h"
#include "mm/layout.h"

static uint64_t slot_end(const struct memslot *s) { return s->base.v + s->pages; }

// The extents follow each other without a gap and cover the slot exactly.
static bool slot_backed(const struct memslot *s) {
	uint64_t first = 0;
	for (uint32_t i = 0; i < s->extent_count; i++) {
		const struct extent *e = &s->extents[i];
		if (e->first != first || e->pages == 0) return false;
		first += e->pages;
	}
	return first == s->pages;
}

int memslot_insert(struct memslot_table *to, const struct memslot_table *from, const struct memslot *slot) {
	if (slot->pages == 0 || range_wraps(slot->base.v, slot->pages)) return -ERR_INVAL;
	if (slot_end(slot) > WINDOW_BYTES / PAGE_BYTES || !slot_backed(slot)) return -ERR_INVAL;
	if ((slot->flags & MEMSLOT_LOG) != 0 && slot->dirty == NULL) return -ERR_INVAL;
	uint32_t at = 0;
	while (at < from->count && from->slot[at].base.v < slot->base.v) at++;
	if (at > 0 && slot_end(&from->slot[at - 1]) > slot->base.v) return -ERR_OVERLAP;
	if (at < from->count && slot_end(slot) > from->slot[at].base.v) return -ERR_OVERLAP;
	if (from->count == MEMSLOT_MAX) return -ERR_NOMEM;
	to->count = from->count + 1;
	for (uint32_t i = 0; i < to->count; i++)
		to->slot[i] = i < at ? from->slot[i] : i == at ? *slot : from->slot[i - 1];
	return 0;
}

int memslot_remove(struct memslot_table *to, const struct memslot_table *from, gfn_t base) {
	uint32_t at = 0;
	while (at < from->count && from->slot[at].base.v != base.v) at++;
	if (at == from->count) return -ERR_NOENT;
	to->count = from->count - 1;
	for (uint32_t i = 0; i < to->count; i++) to->slot[i] = from->slot[i < at ? i : i + 1];
	return 0;
}

const struct memslot *memslot_find(const struct memslot_table *table, gfn_t gfn) {
	uint32_t low = 0, high = table->count; // the last slot that starts at or below gfn
	while (low < high) {
		uint32_t mid = (low + high) / 2;
		if (table->slot[mid].base.v <= gfn.v)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == 0 || gfn.v >= slot_end(&table->slot[low - 1])) return NULL;
	return &table->slot[low - 1];
}

pfn_t memslot_pfn(const struct memslot *slot, gfn_t gfn, uint64_t *run) {
	assert(gfn.v >= slot->base.v && gfn.v < slot_end(slot));
	uint64_t page = gfn.v - slot->base.v;
	uint32_t low = 0, high = slot->extent_count;
	while (high - low > 1) {
		uint32_t mid = (low + high) / 2;
		if (slot->extents[mid].first <= page)
			low = mid;
		else
			high = mid;
	}
	const struct extent *e = &slot->extents[low];
	if (run != NULL) *run = e->first + e->pages - page;
	return (pfn_t){e->pfn.v + (page - e->first)};
}

void memslot_mark_dirty(const struct memslot_table *table, gfn_t gfn, uint64_t pages) {
	uint64_t end = gfn.v + pages;
	for (uint32_t i = 0; i < table->count; i++) {
		const struct memslot *s = &table->slot[i];
		if ((s->flags & MEMSLOT_LOG) == 0) continue;
		uint64_t from = max_u64(gfn.v, s->base.v), to = min_u64(end, slot_end(s));
		for (uint64_t page = from; page < to; page++) {
			uint64_t bit = page - s->base.v;
			__atomic_fetch_or(&s->dirty[bit / 64], BIT64(bit % 64), __ATOMIC_RELAXED);
		}
	}
}

int memslot_map(const struct memslot *slot, struct pt *pt, uint32_t attr) {
	for (uint32_t i = 0; i < slot->extent_count; i++) {
		const struct extent *e = &slot->extents[i];
		uint64_t va = (slot->base.v + e->first) << PAGE_SHIFT;
		int err = pt_map(pt, va, pfn_hpa(e->pfn), e->pages << PAGE_SHIFT, attr);
		if (err == 0) continue;
		if (e->first != 0) {
			int undone = pt_unmap(pt, slot->base.v << PAGE_SHIFT, e->first << PAGE_SHIFT);
			assert(undone == 0); // every leaf lies in one extent: nothing to split
		}
		return err;
	}
	return 0;
}

void memslot_unmap(const struct memslot *slot, struct pt *pt) {
	int err = pt_unmap(pt, slot->base.v << PAGE_SHIFT, slot->pages << PAGE_SHIFT);
	assert(err == 0); // no leaf crosses the border of a slot: nothing to split
}
