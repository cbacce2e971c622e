// SPDX-License-Identifier: Apache-2.0
// The page-table engine's readers: translate, walk, and the read-and-clear of accessed and dirty flags.
#include "kernel/lib/err.h"
#include "mm/pt.h"
#include "mm/pt_entry.h"

static uint32_t attr_of(const struct pt_format *f, uint64_t entry) {
	uint32_t attr = pt_rights(f, entry);
	if ((entry & f->global) != 0) attr |= PT_GLOBAL;
	if ((entry & f->ignore_pat) != 0) attr |= PT_IGNORE_PAT;
	if ((entry & f->accessed) != 0) attr |= PT_ACCESSED;
	if ((entry & f->dirty) != 0) attr |= PT_DIRTY;
	for (unsigned type = 0; type < PT_TYPE_COUNT; type++)
		if (f->types[type] == (entry & f->types_mask)) return attr | PT_TYPE(type);
	return attr;
}

static struct pt_mapping mapping_of(const struct pt_format *f, unsigned level, uint64_t va, uint64_t entry) {
	return (struct pt_mapping){
	    .va = align_down(va, pt_level_bytes(level)),
	    .pa = pt_entry_pa(f, entry),
	    .level = level,
	    .attr = attr_of(f, entry),
	};
}

int pt_translate(const struct pt *pt, uint64_t va, struct pt_mapping *out) {
	if (pt_range_check(pt, align_down(va, PAGE_BYTES), PAGE_BYTES) != 0) return -ERR_NOENT;
	hpa_t table = pt->root;
	for (unsigned level = pt->levels; level >= 1; level--) {
		const uint64_t *entry = (const uint64_t *)frame_ptr(table) + pt_index(va, level);
		uint64_t value = __atomic_load_n(entry, __ATOMIC_ACQUIRE);
		if (!pt_present(pt->format, value)) return -ERR_NOENT;
		if (pt_is_leaf(pt->format, level, value)) {
			*out = mapping_of(pt->format, level, va, value);
			out->pa = hpa_add(out->pa, va - out->va);
			return 0;
		}
		table = pt_entry_pa(pt->format, value);
	}
	return -ERR_NOENT;
}

struct walk {
	const struct pt_format *format;
	uint64_t clear; // entry bits; 0 = a plain walk that visits every leaf
	bool cleared;
	pt_walk_fn *fn;
	void *ctx;
};

static int walk_leaf(struct walk *w, uint64_t *entry, unsigned level, uint64_t va) {
	uint64_t value = w->clear == 0 ? __atomic_load_n(entry, __ATOMIC_ACQUIRE)
	                               : __atomic_fetch_and(entry, ~w->clear, __ATOMIC_ACQ_REL);
	if (w->clear != 0 && (value & w->clear) == 0) return 0;
	struct pt_mapping mapping = mapping_of(w->format, level, va, value);
	int ret = w->fn(w->ctx, &mapping);
	if (w->clear == 0) return ret;
	w->cleared = true;
	return 0;
}

static int walk_level(struct walk *w, hpa_t table, unsigned level, uint64_t va, uint64_t last) {
	uint64_t *entries = frame_ptr(table);
	int ret = 0;
	for (uint64_t at = va, next; at - 1 != last && ret == 0; at = next) {
		next = pt_entry_next(at, last, level);
		uint64_t *entry = &entries[pt_index(at, level)];
		if (!pt_present(w->format, *entry)) continue;
		if (pt_is_leaf(w->format, level, *entry))
			ret = walk_leaf(w, entry, level, at);
		else
			ret = walk_level(w, pt_entry_pa(w->format, *entry), level - 1, at, next - 1);
	}
	return ret;
}

int pt_walk(const struct pt *pt, uint64_t va, uint64_t bytes, pt_walk_fn *fn, void *ctx) {
	int err = pt_range_check(pt, va, bytes);
	if (err != 0) return err;
	struct walk w = {.format = pt->format, .fn = fn, .ctx = ctx};
	return walk_level(&w, pt->root, pt->levels, va, va + (bytes - 1));
}

int pt_harvest(struct pt *pt, uint64_t va, uint64_t bytes, uint32_t which, pt_walk_fn *fn, void *ctx) {
	const struct pt_format *f = pt->format;
	int err = pt_range_check(pt, va, bytes);
	if (err != 0) return err;
	if (((which & PT_ACCESSED) != 0 && f->accessed == 0) || ((which & PT_DIRTY) != 0 && f->dirty == 0))
		return -ERR_UNSUP;
	struct walk w = {.format = f, .fn = fn, .ctx = ctx};
	if ((which & PT_ACCESSED) != 0) w.clear |= f->accessed;
	if ((which & PT_DIRTY) != 0) w.clear |= f->dirty;
	if (w.clear == 0) return -ERR_INVAL;
	walk_level(&w, pt->root, pt->levels, va, va + (bytes - 1));
	if (w.cleared) __atomic_add_fetch(&pt->generation, 1, __ATOMIC_RELEASE);
	return 0;
}
