// SPDX-License-Identifier: Apache-2.0
// The page-table engine's changes: map, unmap, protect, split, merge. Each walks down recursively over
// the entries a range touches. Edges of a range are split before anything is changed, so that the change
// itself sees only whole leaves and cannot fail. The CPU may set accessed and dirty flags at any moment:
// entries that are present are changed by exchange, never by read and write.
#include "mm/pt.h"

#include "kernel/lib/assert.h"
#include "kernel/lib/err.h"
#include "mm/pt_entry.h"

void pt_flush_none(void *ctx __unused_arg, const uint64_t *entry __unused_arg, unsigned count __unused_arg) {}

uint64_t pt_leaf_entry(const struct pt_format *f, unsigned level, hpa_t pa, uint32_t attr) {
	uint64_t entry = pa.v | f->leaf_bits | f->types[pt_attr_type(attr)] | pt_rights_bits(f, attr);
	if (level > 1) entry |= f->large_bit;
	if ((attr & PT_GLOBAL) != 0) entry |= f->global;
	if ((attr & PT_IGNORE_PAT) != 0) entry |= f->ignore_pat;
	if ((attr & PT_ACCESSED) != 0) entry |= f->accessed;
	if ((attr & PT_DIRTY) != 0) entry |= f->dirty;
	return entry;
}

// After what could be cached was taken out or restricted; pairs with pt_generation.
static void generation_raise(struct pt *pt) { __atomic_add_fetch(&pt->generation, 1, __ATOMIC_RELEASE); }

static void entry_set(uint64_t *entry, uint64_t value) { __atomic_store_n(entry, value, __ATOMIC_RELEASE); }

static int table_new(struct pt *pt, hpa_t *table) {
	int err = pt->ops->table_alloc(pt->ctx, table);
	if (err == 0) pt->tables++;
	return err;
}

// The table is reachable by no entry any more.
static void table_retire(struct pt *pt, hpa_t table) {
	generation_raise(pt);
	pt->tables--;
	pt->ops->table_free(pt->ctx, table);
}

static bool table_empty(const struct pt *pt, hpa_t table) {
	const uint64_t *entries = frame_ptr(table);
	uint64_t any = 0;
	for (unsigned i = 0; i < PT_ENTRIES; i++) any |= entries[i];
	return (any & pt->format->present) == 0;
}

int pt_init(struct pt *pt, const struct pt_format *format, unsigned levels, unsigned leaf_levels,
            const struct pt_ops *ops, void *ctx) {
	assert(levels >= 3 && levels <= PT_LEVEL_MAX && (leaf_levels & PT_LEAF_4K) != 0);
	*pt = (struct pt){
	    .format = format,
	    .ops = ops,
	    .ctx = ctx,
	    .levels = (uint8_t)levels,
	    .leaf_levels = (uint8_t)leaf_levels,
	    .keep_level = (uint8_t)levels,
	};
	return table_new(pt, &pt->root);
}

static void destroy_level(struct pt *pt, hpa_t table, unsigned level) {
	const uint64_t *entries = frame_ptr(table);
	for (unsigned i = 0; level > 1 && i < PT_ENTRIES; i++)
		if (pt_present(pt->format, entries[i]) && !pt_is_leaf(pt->format, level, entries[i]))
			destroy_level(pt, pt_entry_pa(pt->format, entries[i]), level - 1);
	table_retire(pt, table);
}

void pt_destroy(struct pt *pt) { destroy_level(pt, pt->root, pt->levels); }

// ---- map ---------------------------------------------------------------------------------------

// The table an entry points to, made when the entry is empty.
static int child_get(struct pt *pt, uint64_t *entry, hpa_t *child) {
	if (pt_present(pt->format, *entry)) {
		*child = pt_entry_pa(pt->format, *entry);
		return 0;
	}
	int err = table_new(pt, child);
	if (err != 0) return err;
	pt->ops->flush(pt->ctx, frame_ptr(*child), PT_ENTRIES);
	entry_set(entry, pt_table_entry(pt->format, *child));
	pt->ops->flush(pt->ctx, entry, 1);
	return 0;
}

struct map_args {
	uint64_t delta; // physical minus virtual
	uint32_t attr;
};

static bool leaf_fits(const struct pt *pt, unsigned level, uint64_t va, uint64_t next, uint64_t pa) {
	uint64_t size = pt_level_bytes(level);
	return (pt->leaf_levels & 1u << level) != 0 && next - va == size && is_aligned(pa, size);
}

static int map_level(struct pt *pt, hpa_t table, unsigned level, uint64_t va, uint64_t last,
                     const struct map_args *args) {
	uint64_t *entries = frame_ptr(table);
	int err = 0;
	for (uint64_t at = va, next; at - 1 != last && err == 0; at = next) {
		next = pt_entry_next(at, last, level);
		uint64_t *entry = &entries[pt_index(at, level)];
		hpa_t pa = hpa(at + args->delta), child;
		if (!pt_present(pt->format, *entry) && leaf_fits(pt, level, at, next, pa.v)) {
			entry_set(entry, pt_leaf_entry(pt->format, level, pa, args->attr));
			continue;
		}
		err = child_get(pt, entry, &child);
		if (err == 0) err = map_level(pt, child, level - 1, at, next - 1, args);
	}
	pt->ops->flush(pt->ctx, &entries[pt_index(va, level)], pt_index(last, level) - pt_index(va, level) + 1);
	return err;
}

static int unmap_level(struct pt *pt, hpa_t table, unsigned level, uint64_t va, uint64_t last);

static int found(void *ctx __unused_arg, const struct pt_mapping *mapping __unused_arg) { return -ERR_EXIST; }

int pt_map(struct pt *pt, uint64_t va, hpa_t pa, uint64_t bytes, uint32_t attr) {
	int err = pt_range_check(pt, va, bytes);
	if (err != 0) return err;
	if (!is_aligned(pa.v, PAGE_BYTES) || (attr & PT_READ) == 0) return -ERR_INVAL;
	uint64_t pa_max = pt->format->addr_mask | (PAGE_BYTES - 1);
	if (pa.v > pa_max || pa_max - pa.v < bytes - 1) return -ERR_RANGE;
	if (pt_attr_type(attr) >= PT_TYPE_COUNT || pt->format->types[pt_attr_type(attr)] == PT_TYPE_NONE)
		return -ERR_UNSUP;
	err = pt_walk(pt, va, bytes, found, NULL);
	if (err != 0) return err;
	const struct map_args args = {.delta = pa.v - va, .attr = attr};
	err = map_level(pt, pt->root, pt->levels, va, va + (bytes - 1), &args);
	// Nothing of the range was mapped before: what is there now is ours.
	if (err != 0 && unmap_level(pt, pt->root, pt->levels, va, va + (bytes - 1)) != 0) generation_raise(pt);
	return err;
}

static int populate_level(struct pt *pt, hpa_t table, unsigned level, uint64_t va, uint64_t last,
                          unsigned to) {
	uint64_t *entries = frame_ptr(table);
	int err = 0;
	for (uint64_t at = va, next; level > to && at - 1 != last && err == 0; at = next) {
		next = pt_entry_next(at, last, level);
		uint64_t *entry = &entries[pt_index(at, level)];
		hpa_t child;
		if (pt_present(pt->format, *entry) && pt_is_leaf(pt->format, level, *entry)) return -ERR_EXIST;
		err = child_get(pt, entry, &child);
		if (err == 0) err = populate_level(pt, child, level - 1, at, next - 1, to);
	}
	return err;
}

int pt_populate(struct pt *pt, uint64_t va, uint64_t bytes, unsigned level) {
	int err = pt_range_check(pt, va, bytes);
	if (err != 0) return err;
	return populate_level(pt, pt->root, pt->levels, va, va + (bytes - 1), level);
}

// ---- split and merge -----------------------------------------------------------------------------

// Replaces a leaf of `level` by a table of leaves with the same translations.
static int leaf_split(struct pt *pt, uint64_t *entry, unsigned level) {
	const struct pt_format *f = pt->format;
	uint64_t old = *entry, size = pt_level_bytes(level - 1), flags = f->accessed | f->dirty;
	hpa_t table;
	int err = table_new(pt, &table);
	if (err != 0) return err;
	uint64_t *children = frame_ptr(table);
	uint64_t child = level == 2 ? old & ~f->large_bit : old;
	for (unsigned i = 0; i < PT_ENTRIES; i++) children[i] = child + i * size;
	pt->ops->flush(pt->ctx, children, PT_ENTRIES);
	uint64_t seen = __atomic_exchange_n(entry, pt_table_entry(f, table), __ATOMIC_ACQ_REL);
	pt->ops->flush(pt->ctx, entry, 1);
	uint64_t late = seen & ~old & flags; // set by the CPU since we read the entry
	for (unsigned i = 0; late != 0 && i < PT_ENTRIES; i++)
		__atomic_fetch_or(&children[i], late, __ATOMIC_RELAXED);
	return 0;
}

// Makes va a border between leaves.
static int border_split(struct pt *pt, uint64_t va) {
	hpa_t table = pt->root;
	for (unsigned level = pt->levels; level > 1; level--) {
		uint64_t *entry = (uint64_t *)frame_ptr(table) + pt_index(va, level);
		if (!pt_present(pt->format, *entry) || is_aligned(va, pt_level_bytes(level))) return 0;
		if (pt_is_leaf(pt->format, level, *entry)) {
			int err = leaf_split(pt, entry, level);
			if (err != 0) return err;
		}
		table = pt_entry_pa(pt->format, *entry);
	}
	return 0;
}

static int borders_split(struct pt *pt, uint64_t va, uint64_t bytes) {
	int err = pt_range_check(pt, va, bytes);
	if (err == 0) err = border_split(pt, va);
	if (err == 0) err = border_split(pt, va + bytes);
	return err;
}

static int split_level(struct pt *pt, hpa_t table, unsigned level, uint64_t va, uint64_t last, unsigned to) {
	uint64_t *entries = frame_ptr(table);
	int err = 0;
	for (uint64_t at = va, next; level > to && at - 1 != last && err == 0; at = next) {
		next = pt_entry_next(at, last, level);
		uint64_t *entry = &entries[pt_index(at, level)];
		if (!pt_present(pt->format, *entry)) continue;
		if (pt_is_leaf(pt->format, level, *entry)) err = leaf_split(pt, entry, level);
		if (err == 0) err = split_level(pt, pt_entry_pa(pt->format, *entry), level - 1, at, next - 1, to);
	}
	return err;
}

int pt_split(struct pt *pt, uint64_t va, uint64_t bytes, unsigned level) {
	int err = pt_range_check(pt, va, bytes);
	if (err != 0) return err;
	return split_level(pt, pt->root, pt->levels, va, va + (bytes - 1), level);
}

// True when the table (of `level`) is full of equal, contiguous leaves that make one leaf a level up.
static bool table_uniform(const struct pt *pt, hpa_t table, unsigned level, uint64_t *merged) {
	const struct pt_format *f = pt->format;
	const uint64_t *entries = frame_ptr(table);
	uint64_t flags = f->accessed | f->dirty, size = pt_level_bytes(level), first = entries[0] | flags;
	if (!pt_present(f, first) || !pt_is_leaf(f, level, first)) return false;
	if (!is_aligned(first & f->addr_mask, pt_level_bytes(level + 1))) return false;
	for (unsigned i = 1; i < PT_ENTRIES; i++)
		if ((entries[i] | flags) != first + i * size) return false;
	*merged = first | f->large_bit;
	return true;
}

static void merge_level(struct pt *pt, hpa_t table, unsigned level, uint64_t va, uint64_t last) {
	uint64_t *entries = frame_ptr(table), merged;
	for (uint64_t at = va, next; level > 1 && at - 1 != last; at = next) {
		next = pt_entry_next(at, last, level);
		uint64_t *entry = &entries[pt_index(at, level)];
		if (!pt_present(pt->format, *entry) || pt_is_leaf(pt->format, level, *entry)) continue;
		hpa_t child = pt_entry_pa(pt->format, *entry);
		merge_level(pt, child, level - 1, at, next - 1);
		if (next - at != pt_level_bytes(level) || (pt->leaf_levels & 1u << level) == 0) continue;
		if (level - 1 >= pt->keep_level || !table_uniform(pt, child, level - 1, &merged)) continue;
		entry_set(entry, merged);
		pt->ops->flush(pt->ctx, entry, 1);
		table_retire(pt, child);
	}
}

void pt_merge(struct pt *pt, uint64_t va, uint64_t bytes) {
	if (pt_range_check(pt, va, bytes) == 0) merge_level(pt, pt->root, pt->levels, va, va + (bytes - 1));
}

// ---- unmap and protect -----------------------------------------------------------------------------

// Returns how many leaves went. Every leaf that the range touches lies wholly in it.
static int unmap_level(struct pt *pt, hpa_t table, unsigned level, uint64_t va, uint64_t last) {
	uint64_t *entries = frame_ptr(table);
	int gone = 0;
	for (uint64_t at = va, next; at - 1 != last; at = next) {
		next = pt_entry_next(at, last, level);
		uint64_t *entry = &entries[pt_index(at, level)];
		if (!pt_present(pt->format, *entry)) continue;
		if (pt_is_leaf(pt->format, level, *entry)) {
			entry_set(entry, 0);
			gone = 1;
			continue;
		}
		hpa_t child = pt_entry_pa(pt->format, *entry);
		gone |= unmap_level(pt, child, level - 1, at, next - 1);
		if (level - 1 >= pt->keep_level || !table_empty(pt, child)) continue;
		entry_set(entry, 0);
		pt->ops->flush(pt->ctx, entry, 1);
		table_retire(pt, child);
	}
	pt->ops->flush(pt->ctx, &entries[pt_index(va, level)], pt_index(last, level) - pt_index(va, level) + 1);
	return gone;
}

int pt_unmap(struct pt *pt, uint64_t va, uint64_t bytes) {
	int err = borders_split(pt, va, bytes);
	if (err != 0) return err;
	if (unmap_level(pt, pt->root, pt->levels, va, va + (bytes - 1)) != 0) generation_raise(pt);
	return 0;
}

// Returns true when a right was taken from a leaf.
static bool protect_leaf(const struct pt_format *f, uint64_t *entry, uint32_t rights) {
	uint64_t mask = f->read | f->write | f->exec | f->noexec, bits = pt_rights_bits(f, rights);
	uint64_t old = __atomic_load_n(entry, __ATOMIC_RELAXED);
	while (!__atomic_compare_exchange_n(entry, &old, (old & ~mask) | bits, false, __ATOMIC_ACQ_REL,
	                                    __ATOMIC_RELAXED)) {
	}
	return (pt_rights(f, old) & ~rights) != 0;
}

static bool protect_level(struct pt *pt, hpa_t table, unsigned level, uint64_t va, uint64_t last,
                          uint32_t rights) {
	uint64_t *entries = frame_ptr(table);
	bool restricted = false;
	for (uint64_t at = va, next; at - 1 != last; at = next) {
		next = pt_entry_next(at, last, level);
		uint64_t *entry = &entries[pt_index(at, level)];
		if (!pt_present(pt->format, *entry)) continue;
		if (pt_is_leaf(pt->format, level, *entry))
			restricted |= protect_leaf(pt->format, entry, rights);
		else
			restricted |= protect_level(pt, pt_entry_pa(pt->format, *entry), level - 1, at, next - 1, rights);
	}
	pt->ops->flush(pt->ctx, &entries[pt_index(va, level)], pt_index(last, level) - pt_index(va, level) + 1);
	return restricted;
}

int pt_protect(struct pt *pt, uint64_t va, uint64_t bytes, uint32_t attr) {
	if ((attr & PT_READ) == 0) return -ERR_INVAL;
	int err = borders_split(pt, va, bytes);
	if (err != 0) return err;
	if (protect_level(pt, pt->root, pt->levels, va, va + (bytes - 1), attr & PT_RIGHTS)) generation_raise(pt);
	return 0;
}
