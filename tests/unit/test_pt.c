// SPDX-License-Identifier: Apache-2.0
// The page-table engine against a plain model: random sequences of map, unmap, protect, split, merge and
// harvest on every format, with tables running out now and then. The tables are read back twice, by the
// engine and by a walker of this file that knows the formats from the manuals only. Checked besides: the
// generation rises exactly when something cached could be wrong, and no table leaks or stays empty.
#include "mm/pt.h"

#include "kernel/lib/err.h"
#include "mm/ept/ept.h"
#include "mm/ept/npt.h"
#include "mm/hostpt.h"
#include "tests/unit/mm_arena.h"

#define ARENA_BYTES (64 * MIB)
#define ARENA_PAGES (ARENA_BYTES / PAGE_BYTES)
#define UNIVERSE_PAGES ((GIB + 64 * MIB) / PAGE_BYTES) // 1 GiB aligned from 512 MiB on

struct model_page {
	uint64_t pa;
	uint32_t attr; // 0 = not mapped; accessed and dirty: what must not be lost
};

struct fixture {
	const struct pt_format *format;
	unsigned levels, leaf_levels;
	uint64_t base; // first address of the universe
	bool has_types;
};

static const struct fixture fixtures[] = {
    {&ept_format, 4, PT_LEAF_1G, 7 * GIB + 512 * MIB, true},
    {&ept_format_ad, 4, PT_LEAF_2M, 511 * GIB + 512 * MIB, true},
    {&ept_format_ad, 5, PT_LEAF_1G, (UINT64_C(1) << 48) - 512 * MIB, true},
    {&npt_format, 4, PT_LEAF_1G, 512 * MIB, false},
    {&npt_format, 5, PT_LEAF_1G, (UINT64_C(1) << 50) - 512 * MIB, false},
    {&hostpt_format, 4, PT_LEAF_1G, 0 - (UINT64_C(1) << 47) + 512 * GIB - 512 * MIB, false},
    {&hostpt_format, 5, PT_LEAF_1G, 0 - GIB - 64 * MIB, false}, // up to the last byte
    {&hostpt_format, 5, PT_LEAF_2M, 0 - (UINT64_C(1) << 47) - 512 * MIB, false},
    {&hostpt_format, 3, PT_LEAF_1G, 300 * GIB + 512 * MIB, false},
    {&hostpt_format, 4, PT_LEAF_4K, 3 * GIB + 512 * MIB, false},
};

// ---- tables -----------------------------------------------------------------------------------------

struct store {
	uint8_t used[ARENA_PAGES];
	uint64_t held;
	uint64_t budget; // tables that may still be had
	uint64_t flushed;
};

static struct store store;
static struct model_page model[UNIVERSE_PAGES];
static struct rng rng;
static struct pt pt;
static const struct fixture *fix;

static int store_alloc(void *ctx, hpa_t *table) {
	struct store *s = ctx;
	if (s->budget == 0) return -ERR_NOMEM;
	s->budget--;
	for (uint64_t i = 1; i < ARENA_PAGES; i++) {
		if (s->used[i]) continue;
		s->used[i] = 1;
		s->held++;
		*table = hpa(i * PAGE_BYTES);
		memset(frame_ptr(*table), 0, PAGE_BYTES);
		return 0;
	}
	return -ERR_NOMEM;
}

static void store_free(void *ctx, hpa_t table) {
	struct store *s = ctx;
	assert_int_equal(s->used[table.v / PAGE_BYTES], 1);
	s->used[table.v / PAGE_BYTES] = 0;
	s->held--;
	memset(frame_ptr(table), 0xa5, PAGE_BYTES);
}

static void store_flush(void *ctx, const uint64_t *entry, unsigned count) {
	struct store *s = ctx;
	assert_true(count > 0 && count <= PT_ENTRIES);
	assert_true(((uintptr_t)entry & (PAGE_BYTES - 1)) + count * 8 <= PAGE_BYTES);
	s->flushed += count;
}

static const struct pt_ops store_ops = {store_alloc, store_free, store_flush};

// ---- the second opinion: entries as the manuals describe them -------------------------------------------

struct seen {
	bool mapped;
	uint64_t pa, *entry;
	uint32_t rights;
	unsigned level;
};

static struct seen manual_walk(uint64_t va) {
	bool ept = fix->format == &ept_format || fix->format == &ept_format_ad;
	uint64_t table = pt.root.v;
	for (unsigned level = fix->levels;; level--) {
		unsigned shift = 12 + 9 * (level - 1);
		uint64_t *entry = (uint64_t *)frame_ptr(hpa(table)) + (va >> shift & 511), e = *entry;
		if ((e & (ept ? 7u : 1u)) == 0) return (struct seen){.mapped = false};
		uint64_t address = e & UINT64_C(0x000ffffffffff000);
		if (level == 1 || (e & 0x80) != 0) {
			assert_true(level <= 3);
			assert_true((level == 1) == ((e & 0x80) == 0)); // in a 4 KiB entry bit 7 is the PAT bit
			assert_int_equal(address & ((UINT64_C(1) << shift) - 1), 0); // reserved bits in large leaves
			if (fix->format == &npt_format) assert_true((e & 4) != 0);
			uint32_t rights = PT_READ | ((e & 2) != 0 ? PT_WRITE : 0);
			if (ept ? (e & 4) != 0 : e >> 63 == 0) rights |= PT_EXEC;
			if (ept) assert_true((e & 1) != 0);
			return (struct seen){true, address + (va & ((UINT64_C(1) << shift) - 1)), entry, rights, level};
		}
		if (ept) assert_int_equal(e & 0xff8, 0); // reserved or ignored, and never used here
		if (!ept) assert_true((e & 2) != 0 && e >> 63 == 0);
		if (fix->format == &npt_format) assert_true((e & 4) != 0);
		table = address;
	}
}

// Tables reachable from here; none but kept ones may be empty.
static uint64_t count_tables(uint64_t table, unsigned level) {
	const uint64_t *entries = frame_ptr(hpa(table));
	uint64_t tables = 1, present = 0;
	assert_int_equal(store.used[table / PAGE_BYTES], 1);
	for (unsigned i = 0; i < 512; i++) {
		if ((entries[i] & fix->format->present) == 0) continue;
		present++;
		if (level > 1 && (entries[i] & 0x80) == 0)
			tables += count_tables(entries[i] & UINT64_C(0x000ffffffffff000), level - 1);
	}
	assert_true(present != 0 || level == fix->levels);
	return tables;
}

static uint64_t va_of(uint64_t page) { return fix->base + page * PAGE_BYTES; }

static void check_page(uint64_t page) {
	struct seen seen = manual_walk(va_of(page));
	const struct model_page *m = &model[page];
	struct pt_mapping mapping;
	assert_int_equal(seen.mapped, m->attr != 0);
	assert_int_equal(pt_translate(&pt, va_of(page) + 123, &mapping), m->attr != 0 ? 0 : -ERR_NOENT);
	if (m->attr == 0) return;
	assert_int_equal(seen.pa, m->pa);
	assert_int_equal(seen.rights, m->attr & PT_RIGHTS);
	assert_int_equal(mapping.pa.v, m->pa + 123);
	assert_int_equal(mapping.level, seen.level);
	assert_int_equal(pt_attr_type(mapping.attr), pt_attr_type(m->attr));
	uint32_t flags = PT_ACCESSED | PT_DIRTY;
	uint32_t exact =
	    PT_RIGHTS | (fix->format->global ? PT_GLOBAL : 0) | (fix->format->ignore_pat ? PT_IGNORE_PAT : 0);
	assert_int_equal(mapping.attr & exact, m->attr & exact);
	if (fix->format->dirty != 0) assert_int_equal(m->attr & flags & ~mapping.attr, 0); // none lost
}

struct compare {
	uint64_t page; // everything before it was compared
};

static int compare_leaf(void *ctx, const struct pt_mapping *leaf) {
	struct compare *c = ctx;
	uint64_t from = c->page, first = (leaf->va - fix->base) / PAGE_BYTES,
	         pages = pt_level_bytes(leaf->level) / PAGE_BYTES;
	if ((int64_t)(leaf->va - fix->base) < 0) fail_msg("leaf below the universe");
	for (; from < first; from++) assert_int_equal(model[from].attr, 0);
	for (uint64_t i = 0; i < pages; i++, from++) {
		if (model[from].attr == 0) fail_msg("page %#llx is mapped", (unsigned long long)from);
		assert_int_equal(model[from].pa, leaf->pa.v + i * PAGE_BYTES);
		assert_int_equal(model[from].attr & PT_RIGHTS, leaf->attr & PT_RIGHTS);
	}
	c->page = from;
	return 0;
}

static void check_all(void) {
	struct compare c = {0};
	assert_int_equal(pt_walk(&pt, fix->base, UNIVERSE_PAGES * PAGE_BYTES, compare_leaf, &c), 0);
	for (; c.page < UNIVERSE_PAGES; c.page++) assert_int_equal(model[c.page].attr, 0);
	assert_int_equal(count_tables(pt.root.v, pt.levels), pt.tables);
	assert_int_equal(store.held, pt.tables);
	for (unsigned i = 0; i < 200; i++) check_page(rng_below(&rng, UNIVERSE_PAGES));
}

// ---- random operations -----------------------------------------------------------------------------------

struct range {
	uint64_t page, pages;
};

// Sizes of all kinds, with a liking for the borders of large pages.
static struct range random_range(void) {
	static const uint64_t aligns[] = {1, 1, 8, 512, 512, 4096, 65536, 131072};
	uint64_t align = aligns[rng_below(&rng, array_count(aligns))];
	struct range r;
	r.page = rng_below(&rng, UNIVERSE_PAGES) / align * align;
	r.pages = align * (1 + rng_below(&rng, rng_below(&rng, 4) == 0 ? 600 : 3));
	if (rng_below(&rng, 40) == 0) r = (struct range){.page = 0, .pages = UNIVERSE_PAGES};
	if (r.pages > UNIVERSE_PAGES - r.page) r.pages = UNIVERSE_PAGES - r.page;
	return r;
}

static uint32_t random_rights(void) {
	return PT_READ | (rng_below(&rng, 3) ? PT_WRITE : 0) | (rng_below(&rng, 2) ? PT_EXEC : 0);
}

static uint32_t random_attr(void) {
	uint32_t attr = random_rights();
	if (rng_below(&rng, 4) == 0) attr |= PT_TYPE(rng_below(&rng, fix->has_types ? PT_TYPE_COUNT : PT_WT));
	if (rng_below(&rng, 4) == 0 && fix->format->global != 0) attr |= PT_GLOBAL;
	if (rng_below(&rng, 4) == 0 && fix->format->ignore_pat != 0) attr |= PT_IGNORE_PAT;
	return attr;
}

static void op_map(struct range r) {
	uint64_t pa = rng_below(&rng, 1 << 20) * 64 * PAGE_BYTES;
	if (rng_below(&rng, 3) != 0) pa = align_down(pa, GIB) + va_of(r.page) % GIB; // congruent
	uint32_t attr = random_attr();
	bool taken = false;
	for (uint64_t i = 0; i < r.pages && !taken; i++) taken = model[r.page + i].attr != 0;
	uint64_t generation = pt_generation(&pt);
	int err = pt_map(&pt, va_of(r.page), hpa(pa), r.pages * PAGE_BYTES, attr);
	if (taken) {
		assert_int_equal(err, -ERR_EXIST);
	} else if (err == 0) {
		for (uint64_t i = 0; i < r.pages; i++)
			model[r.page + i] = (struct model_page){pa + i * PAGE_BYTES, attr};
	} else {
		assert_int_equal(err, -ERR_NOMEM);
		return;
	}
	assert_int_equal(pt_generation(&pt), generation);
}

static void op_unmap(struct range r) {
	bool any = false;
	uint64_t generation = pt_generation(&pt);
	int err = pt_unmap(&pt, va_of(r.page), r.pages * PAGE_BYTES);
	if (err != 0) {
		assert_int_equal(err, -ERR_NOMEM);
		return;
	}
	for (uint64_t i = 0; i < r.pages; i++) {
		any |= model[r.page + i].attr != 0;
		model[r.page + i].attr = 0;
	}
	assert_int_equal(pt_generation(&pt) > generation, any);
}

static void op_protect(struct range r) {
	uint32_t rights = random_rights();
	bool less = false;
	uint64_t generation = pt_generation(&pt);
	int err = pt_protect(&pt, va_of(r.page), r.pages * PAGE_BYTES, rights);
	if (err != 0) {
		assert_int_equal(err, -ERR_NOMEM);
		return;
	}
	for (uint64_t i = 0; i < r.pages; i++) {
		struct model_page *m = &model[r.page + i];
		if (m->attr == 0) continue;
		less |= (m->attr & PT_RIGHTS & ~rights) != 0;
		m->attr = (m->attr & ~(uint32_t)PT_RIGHTS) | rights;
	}
	assert_int_equal(pt_generation(&pt) > generation, less);
}

static int check_level(void *ctx, const struct pt_mapping *leaf) {
	assert_true(leaf->level <= *(const unsigned *)ctx);
	return 0;
}

static void op_split(struct range r) {
	unsigned level = 1 + (unsigned)rng_below(&rng, 2);
	uint64_t generation = pt_generation(&pt);
	if (level == 1 && r.pages > 20000) r.pages = 20000;
	int err = pt_split(&pt, va_of(r.page), r.pages * PAGE_BYTES, level);
	assert_int_equal(pt_generation(&pt), generation);
	if (err == 0) pt_walk(&pt, va_of(r.page), r.pages * PAGE_BYTES, check_level, &level);
}

// The CPU reads or writes a page.
static void op_touch(struct range r) {
	if (fix->format->dirty == 0) return;
	for (uint64_t i = 0; i < r.pages; i += 1 + rng_below(&rng, 64)) {
		struct seen seen = manual_walk(va_of(r.page + i));
		if (!seen.mapped) continue;
		bool write = (seen.rights & PT_WRITE) != 0 && rng_below(&rng, 2);
		*seen.entry |= fix->format->accessed | (write ? fix->format->dirty : 0);
		model[r.page + i].attr |= PT_ACCESSED | (write ? PT_DIRTY : 0);
	}
}

struct harvest {
	uint32_t which;
	uint64_t leaves;
};

static int harvest_leaf(void *ctx, const struct pt_mapping *leaf) {
	struct harvest *h = ctx;
	assert_true((leaf->attr & h->which) != 0);
	uint64_t first = (leaf->va - fix->base) / PAGE_BYTES;
	for (uint64_t i = 0; i < pt_level_bytes(leaf->level) / PAGE_BYTES; i++) {
		assert_int_equal(model[first + i].attr & h->which & ~leaf->attr, 0);
		model[first + i].attr &= ~h->which;
	}
	h->leaves++;
	return 0;
}

static void op_harvest(struct range r) {
	struct harvest h = {.which = rng_below(&rng, 2) ? PT_DIRTY : PT_ACCESSED | PT_DIRTY};
	uint64_t generation = pt_generation(&pt);
	int err = pt_harvest(&pt, va_of(r.page), r.pages * PAGE_BYTES, h.which, harvest_leaf, &h);
	assert_int_equal(err, fix->format->dirty != 0 ? 0 : -ERR_UNSUP);
	assert_int_equal(pt_generation(&pt) > generation, h.leaves != 0);
	for (uint64_t i = 0; err == 0 && i < r.pages; i++) assert_int_equal(model[r.page + i].attr & h.which, 0);
}

static void random_operation(void) {
	struct range r = random_range();
	store.budget = rng_below(&rng, 8) == 0 ? rng_below(&rng, 4) : UINT64_MAX;
	switch (rng_below(&rng, 10)) {
	case 0:
	case 1:
	case 2: op_map(r); break;
	case 3:
	case 4: op_unmap(r); break;
	case 5:
	case 6: op_protect(r); break;
	case 7: op_split(r); break;
	case 8: pt_merge(&pt, va_of(r.page), r.pages * PAGE_BYTES); break;
	default:
		op_touch(r);
		if (rng_below(&rng, 2)) op_harvest(r);
	}
}

static void run_fixture(const struct fixture *fixture) {
	fix = fixture;
	memset(model, 0, sizeof model);
	memset(&store, 0, sizeof store);
	store.budget = UINT64_MAX;
	assert_int_equal(pt_init(&pt, fix->format, fix->levels, fix->leaf_levels, &store_ops, &store), 0);
	for (unsigned step = 0; step < 600; step++) {
		random_operation();
		if (step % 10 == 0) check_all();
	}
	check_all();
	assert_true(store.flushed != 0);
	store.budget = 4; // enough for the two edges, which are aligned here: nothing is needed at all
	assert_int_equal(pt_unmap(&pt, fix->base, UNIVERSE_PAGES * PAGE_BYTES), 0);
	assert_int_equal(pt.tables, 1);
	pt_destroy(&pt);
	assert_int_equal(store.held, 0);
}

static void pt_random_operations_match_model(void **state) {
	(void)state;
	rng_init(&rng, 0x7074);
	for (unsigned i = 0; i < array_count(fixtures); i++) run_fixture(&fixtures[i]);
}

// ---- named cases ------------------------------------------------------------------------------------------

static void start(const struct pt_format *format, unsigned levels, unsigned leaf_levels) {
	memset(&store, 0, sizeof store);
	store.budget = UINT64_MAX;
	assert_int_equal(pt_init(&pt, format, levels, leaf_levels, &store_ops, &store), 0);
}

static unsigned level_at(uint64_t va) {
	struct pt_mapping m;
	assert_int_equal(pt_translate(&pt, va, &m), 0);
	return m.level;
}

static void pt_map_aligned_range_uses_largest_leaves(void **state) {
	(void)state;
	start(&ept_format_ad, 4, PT_LEAF_1G);
	// 1 GiB - 4 KiB up to 3 GiB + 2 MiB + 4 KiB: 4K, 1G, 1G, 2M, 4K.
	assert_int_equal(pt_map(&pt, GIB - 4096, hpa(5 * GIB - 4096), 2 * GIB + 2 * MIB + 8192, PT_RIGHTS), 0);
	assert_int_equal(level_at(GIB - 4096), PT_LEVEL_4K);
	assert_int_equal(level_at(GIB), PT_LEVEL_1G);
	assert_int_equal(level_at(3 * GIB - 1), PT_LEVEL_1G);
	assert_int_equal(level_at(3 * GIB), PT_LEVEL_2M);
	assert_int_equal(level_at(3 * GIB + 2 * MIB), PT_LEVEL_4K);
	assert_int_equal(pt.tables, 6); // root, PDPT, PD + PT at the start, PD + PT at the end
	pt_destroy(&pt);
	start(&ept_format_ad, 4, PT_LEAF_2M); // the same machine without 1 GiB pages
	assert_int_equal(pt_map(&pt, 0, hpa(0), 4 * GIB, PT_RIGHTS), 0);
	assert_int_equal(level_at(3 * GIB), PT_LEVEL_2M);
	assert_int_equal(pt.tables, 6);
	pt_destroy(&pt);
	assert_int_equal(store.held, 0);
}

static void pt_map_bad_arguments_are_refused(void **state) {
	(void)state;
	start(&hostpt_format, 4, PT_LEAF_1G);
	assert_int_equal(pt_map(&pt, 0, hpa(0), 0, PT_READ), -ERR_INVAL);
	assert_int_equal(pt_map(&pt, 1, hpa(0), 4096, PT_READ), -ERR_INVAL);
	assert_int_equal(pt_map(&pt, 0, hpa(1), 4096, PT_READ), -ERR_INVAL);
	assert_int_equal(pt_map(&pt, 0, hpa(0), 4095, PT_READ), -ERR_INVAL);
	assert_int_equal(pt_map(&pt, 0, hpa(0), 4096, PT_WRITE), -ERR_INVAL);
	assert_int_equal(pt_map(&pt, 0, hpa(0), 4096, PT_READ | PT_TYPE(PT_WP)), -ERR_UNSUP);
	assert_int_equal(pt_map(&pt, 0, hpa(0), 4096, PT_READ | PT_TYPE(PT_TYPE_COUNT)), -ERR_UNSUP);
	assert_int_equal(pt_map(&pt, 0, hpa(UINT64_C(1) << 52), 4096, PT_READ), -ERR_RANGE);
	assert_int_equal(pt_map(&pt, 0, hpa((UINT64_C(1) << 52) - 4096), 8192, PT_READ), -ERR_RANGE);
	assert_int_equal(pt_map(&pt, 0 - UINT64_C(4096), hpa(0), 8192, PT_READ), -ERR_RANGE);
	assert_int_equal(pt_map(&pt, UINT64_C(1) << 47, hpa(0), 4096, PT_READ), -ERR_RANGE);
	assert_int_equal(pt_map(&pt, (UINT64_C(1) << 47) - 4096, hpa(0), 8192, PT_READ), -ERR_RANGE);
	assert_int_equal(pt_unmap(&pt, 0, 12), -ERR_INVAL);
	assert_int_equal(pt_protect(&pt, 0, 4096, PT_EXEC), -ERR_INVAL);
	assert_int_equal(pt.tables, 1);
	pt_destroy(&pt);
	start(&ept_format, 4, PT_LEAF_1G);
	assert_int_equal(pt_map(&pt, (UINT64_C(1) << 48) - 4096, hpa(0), 8192, PT_READ), -ERR_RANGE);
	assert_int_equal(pt_map(&pt, (UINT64_C(1) << 48) - 4096, hpa(0), 4096, PT_READ), 0);
	pt_destroy(&pt);
}

static void pt_unmap_inside_large_page_splits_edges_only(void **state) {
	(void)state;
	start(&npt_format, 4, PT_LEAF_1G);
	assert_int_equal(pt_map(&pt, 0, hpa(0), GIB, PT_RIGHTS | PT_DIRTY), 0);
	store.budget = 1; // it needs two tables at the first edge
	uint64_t generation = pt_generation(&pt);
	assert_int_equal(pt_unmap(&pt, 4096, 4096), -ERR_NOMEM);
	assert_int_equal(pt_generation(&pt), generation);
	struct pt_mapping m;
	assert_int_equal(pt_translate(&pt, 4096, &m), 0);
	assert_int_equal(m.pa.v, 4096);
	store.budget = 1; // one was had
	assert_int_equal(pt_unmap(&pt, 4096, 4096), 0);
	assert_int_equal(pt_translate(&pt, 4096, &m), -ERR_NOENT);
	assert_int_equal(pt_translate(&pt, 8192, &m), 0);
	assert_true((m.attr & PT_DIRTY) != 0);
	assert_int_equal(level_at(2 * MIB), PT_LEVEL_2M);
	pt_destroy(&pt);
}

static void pt_merge_uniform_tables_join_upwards(void **state) {
	(void)state;
	start(&ept_format, 4, PT_LEAF_1G);
	assert_int_equal(pt_map(&pt, 0, hpa(GIB), 2 * GIB, PT_RIGHTS), 0);
	assert_int_equal(pt_split(&pt, 0, GIB, PT_LEVEL_4K), 0);
	assert_int_equal(pt.tables, 2 + 1 + 512);
	assert_int_equal(pt_protect(&pt, 5 * MIB, 4096, PT_READ), 0);
	pt_merge(&pt, 0, 2 * GIB);
	assert_int_equal(level_at(0), PT_LEVEL_2M);
	assert_int_equal(level_at(5 * MIB), PT_LEVEL_4K);
	uint64_t generation = pt_generation(&pt);
	assert_int_equal(pt_protect(&pt, 5 * MIB, 4096, PT_RIGHTS), 0);
	assert_int_equal(pt_generation(&pt), generation); // more rights: nothing stale
	pt_merge(&pt, 0, GIB - 4096);                     // the gigabyte is not wholly in the range
	assert_int_equal(level_at(5 * MIB), PT_LEVEL_2M);
	pt_merge(&pt, 0, GIB);
	assert_int_equal(level_at(5 * MIB), PT_LEVEL_1G);
	assert_true(pt_generation(&pt) > generation); // tables went
	assert_int_equal(pt.tables, 2);
	pt_destroy(&pt);
}

static void pt_merge_differing_flags_are_all_set(void **state) {
	(void)state;
	start(&npt_format, 4, PT_LEAF_1G);
	assert_int_equal(pt_map(&pt, 0, hpa(0), 2 * MIB, PT_RIGHTS), 0);
	assert_int_equal(pt_split(&pt, 0, 4096, PT_LEVEL_4K), 0);
	fix = &fixtures[3];
	*manual_walk(12288).entry |= npt_format.accessed;
	pt_merge(&pt, 0, 2 * MIB);
	struct pt_mapping m;
	assert_int_equal(pt_translate(&pt, 0, &m), 0);
	assert_int_equal(m.level, PT_LEVEL_2M);
	assert_int_equal(m.attr, PT_RIGHTS | PT_ACCESSED | PT_DIRTY);
	pt_destroy(&pt);
}

static void pt_populate_kept_tables_survive_unmap(void **state) {
	(void)state;
	start(&hostpt_format, 4, PT_LEAF_1G);
	pt.keep_level = PT_LEVEL_2M;
	assert_int_equal(pt_populate(&pt, 0, 2 * GIB, PT_LEVEL_2M), 0);
	assert_int_equal(pt.tables, 4);
	assert_int_equal(pt_map(&pt, 4096, hpa(0), 4096, PT_READ), 0);
	assert_int_equal(pt_unmap(&pt, 0, 2 * GIB), 0);
	assert_int_equal(pt.tables, 4);
	assert_int_equal(pt_map(&pt, 0, hpa(0), GIB, PT_READ), 0);
	assert_int_equal(level_at(0), PT_LEVEL_2M); // the kept table is in the way of 1 GiB
	assert_int_equal(pt_populate(&pt, 0, MIB, PT_LEVEL_4K), -ERR_EXIST);
	pt_destroy(&pt);
	assert_int_equal(store.held, 0);
}

static int stop_at_second(void *ctx, const struct pt_mapping *leaf) {
	(void)leaf;
	return ++*(int *)ctx == 2 ? 77 : 0;
}

static void pt_walk_nonzero_return_ends_it(void **state) {
	(void)state;
	start(&hostpt_format, 4, PT_LEAF_1G);
	assert_int_equal(pt_map(&pt, 0, hpa(4096), 16384, PT_READ), 0);
	int visits = 0;
	assert_int_equal(pt_walk(&pt, 0, GIB, stop_at_second, &visits), 77);
	assert_int_equal(visits, 2);
	pt_destroy(&pt);
}

static void pt_entries_are_bit_exact(void **state) {
	(void)state;
	// SDM vol. 3, tables 29-x; APM vol. 2, 5.3.
	assert_int_equal(pt_leaf_entry(&ept_format, 1, hpa(0x1000), PT_RIGHTS), 0x1037);
	assert_int_equal(pt_leaf_entry(&ept_format, 2, hpa(0x200000), PT_READ | PT_EXEC | PT_IGNORE_PAT),
	                 0x2000f5);
	assert_int_equal(
	    pt_leaf_entry(&ept_format_ad, 3, hpa(GIB), PT_READ | PT_WRITE | PT_TYPE(PT_UC) | PT_DIRTY),
	    0x40000283);
	assert_int_equal(pt_leaf_entry(&npt_format, 1, hpa(0x1000), PT_RIGHTS), 0x1007);
	assert_int_equal(pt_leaf_entry(&npt_format, 2, hpa(0x200000), PT_READ | PT_TYPE(PT_UC)),
	                 UINT64_C(0x800000000020009d));
	assert_int_equal(
	    pt_leaf_entry(&hostpt_format, 1, hpa(0x1000), PT_READ | PT_WRITE | PT_GLOBAL | PT_TYPE(PT_WC)),
	    UINT64_C(0x800000000000110b));
	assert_int_equal(pt_leaf_entry(&hostpt_format, 3, hpa(GIB), PT_READ | PT_EXEC | PT_ACCESSED | PT_DIRTY),
	                 0x400000e1);
	start(&ept_format_ad, 4, PT_LEAF_1G);
	assert_int_equal(ept_pointer(&pt), pt.root.v | 0x5e);
	pt_destroy(&pt);
	start(&ept_format, 5, PT_LEAF_1G);
	assert_int_equal(ept_pointer(&pt), pt.root.v | 0x26);
	pt_destroy(&pt);
}

static int setup(void **state) {
	*state = arena_map(ARENA_BYTES);
	return 0;
}
static int teardown(void **state) {
	arena_unmap(*state, ARENA_BYTES);
	return 0;
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(pt_entries_are_bit_exact),
	    cmocka_unit_test(pt_map_aligned_range_uses_largest_leaves),
	    cmocka_unit_test(pt_map_bad_arguments_are_refused),
	    cmocka_unit_test(pt_unmap_inside_large_page_splits_edges_only),
	    cmocka_unit_test(pt_merge_uniform_tables_join_upwards),
	    cmocka_unit_test(pt_merge_differing_flags_are_all_set),
	    cmocka_unit_test(pt_populate_kept_tables_survive_unmap),
	    cmocka_unit_test(pt_walk_nonzero_return_ends_it),
	    cmocka_unit_test(pt_random_operations_match_model),
	};
	return cmocka_run_group_tests(tests, setup, teardown);
}
