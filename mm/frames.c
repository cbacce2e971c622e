// SPDX-License-Identifier: Apache-2.0
// The frame allocator's regions and searches. A region is a run of frames of one zone and one node; its
// bitmap and block counts cover whole 2 MiB blocks, frames outside the region being never free. Searches
// go by words and skip by block counts. The pool is searched upwards, so that what is allocated before the
// direct map exists lies in the identity map; guest memory downwards by region, so that memory below 4 GiB
// stays for those who need it.
#include "mm/frames.h"

#include "kernel/lib/assert.h"
#include "kernel/lib/err.h"
#include "kernel/lib/string.h"

#define BLOCK_SHIFT 9u
#define BLOCK_WORDS (FRAMES_BLOCK_PAGES / 64)
#define PAGES_1G (PAGE_1G_BYTES / PAGE_BYTES)
#define NONE UINT64_MAX

uintptr_t frame_base;

void frame_base_set(uintptr_t base) { frame_base = base; }

// ---- bits of one region ------------------------------------------------------------------------

static uint64_t *region_words(const struct frames_region *r) { return frame_ptr(r->bitmap); }
static uint16_t *region_counts(const struct frames_region *r) { return frame_ptr(r->counts); }
static uint64_t region_end(const struct frames_region *r) { return r->first + r->pages; }

// Bit index of a frame in the region's bitmap.
static uint64_t region_bit(const struct frames_region *r, uint64_t pfn) {
	return pfn - (r->block0 << BLOCK_SHIFT);
}

// The bits of word `w` that lie in [bit, end).
static uint64_t word_mask(uint64_t w, uint64_t bit, uint64_t end) {
	uint64_t mask = UINT64_MAX;
	if (w * 64 < bit) mask &= UINT64_MAX << (bit - w * 64);
	if (w * 64 + 64 > end) mask &= UINT64_MAX >> (w * 64 + 64 - end);
	return mask;
}

// Marks a run free or used; every frame of it must be in the other state.
static void region_mark(struct frames *f, struct frames_region *r, uint64_t pfn, uint64_t pages, bool is_free)
    __requires_lock(f->lock) {
	uint64_t *words = region_words(r);
	uint16_t *counts = region_counts(r);
	uint64_t bit = region_bit(r, pfn), end = bit + pages;
	for (uint64_t w = bit / 64; w * 64 < end; w++) {
		uint64_t mask = word_mask(w, bit, end);
		assert((words[w] & mask) == (is_free ? 0 : mask));
		words[w] ^= mask;
		uint16_t n = (uint16_t)__builtin_popcountll(mask);
		uint16_t *count = &counts[w / BLOCK_WORDS];
		*count = (uint16_t)(is_free ? *count + n : *count - n);
	}
	uint32_t block = (uint32_t)(bit >> BLOCK_SHIFT);
	if (is_free) {
		if (block < r->hint) r->hint = block;
		r->free += pages;
		f->free[r->zone] += pages;
	} else {
		while (r->hint < r->blocks && counts[r->hint] == 0) r->hint++;
		r->free -= pages;
		f->free[r->zone] -= pages;
	}
}

// First frame in [pfn, end) whose state is `is_free`, NONE when there is none.
static uint64_t region_next(const struct frames_region *r, uint64_t pfn, uint64_t end, bool is_free) {
	const uint64_t *words = region_words(r);
	const uint16_t *counts = region_counts(r);
	uint16_t skip = is_free ? 0 : FRAMES_BLOCK_PAGES;
	uint64_t bit = region_bit(r, pfn), last = region_bit(r, end);
	while (bit < last) {
		if (counts[bit >> BLOCK_SHIFT] == skip) {
			bit = align_down(bit, FRAMES_BLOCK_PAGES) + FRAMES_BLOCK_PAGES;
			continue;
		}
		uint64_t word = (is_free ? words[bit / 64] : ~words[bit / 64]) & word_mask(bit / 64, bit, last);
		if (word != 0) return pfn + (align_down(bit, 64) + bit_first(word) - region_bit(r, pfn));
		bit = align_down(bit, 64) + 64;
	}
	return NONE;
}

// ---- searching -------------------------------------------------------------------------------------

// First frame of the run whose colour is not in the set, NONE when all are.
static uint64_t colour_next_bad(const struct frames *f, const struct frames_request *q, uint64_t pfn) {
	if (q->colours == 0) return NONE;
	for (uint64_t i = 0; i < q->pages && i < f->colours; i++)
		if ((q->colours >> ((pfn + i) & (f->colours - 1)) & 1) == 0) return pfn + i;
	return NONE;
}

// A fitting run that starts in [from, end - pages], NONE when there is none.
static uint64_t region_search(const struct frames *f, const struct frames_region *r,
                              const struct frames_request *q, uint64_t from, uint64_t end) {
	uint64_t pfn = from;
	for (;;) {
		if (pfn >= end) return NONE;
		pfn = region_next(r, pfn, end, true);
		if (pfn == NONE) return NONE;
		pfn = align_up(pfn, q->align_pages);
		if (pfn >= end || end - pfn < q->pages) return NONE;
		uint64_t bad = region_next(r, pfn, pfn + q->pages, false);
		if (bad == NONE) bad = colour_next_bad(f, q, pfn);
		if (bad == NONE) return pfn;
		pfn = bad + 1;
	}
}

// A small request prefers blocks that are broken already, so that whole blocks stay whole.
static uint64_t region_search_broken(const struct frames *f, const struct frames_region *r,
                                     const struct frames_request *q, uint64_t end) {
	const uint16_t *counts = region_counts(r);
	for (uint64_t b = r->hint; b < r->blocks; b++) {
		if (counts[b] < q->pages || counts[b] == FRAMES_BLOCK_PAGES) continue;
		uint64_t from = max_u64((r->block0 + b) << BLOCK_SHIFT, r->first);
		uint64_t to = min_u64((r->block0 + b + 1) << BLOCK_SHIFT, end);
		uint64_t pfn = region_search(f, r, q, from, to);
		if (pfn != NONE) return pfn;
	}
	return NONE;
}

static uint64_t region_find(const struct frames *f, const struct frames_region *r,
                            const struct frames_request *q, bool broken) {
	if (r->zone != q->zone || r->free < q->pages) return NONE;
	if (q->node != FRAMES_NODE_ANY && q->node != r->node) return NONE;
	uint64_t end = min_u64(region_end(r), q->limit >> PAGE_SHIFT);
	uint64_t from = max_u64((r->block0 + r->hint) << BLOCK_SHIFT, r->first);
	if (end <= from || end - from < q->pages) return NONE;
	return broken ? region_search_broken(f, r, q, end) : region_search(f, r, q, from, end);
}

static bool find(struct frames *f, const struct frames_request *q, bool broken, struct frames_region **region,
                 uint64_t *pfn) __requires_lock(f->lock) {
	for (uint32_t i = 0; i < f->region_count; i++) {
		struct frames_region *r = &f->region[q->zone == FRAMES_POOL ? i : f->region_count - 1 - i];
		uint64_t found = region_find(f, r, q, broken);
		if (found == NONE) continue;
		*region = r;
		*pfn = found;
		return true;
	}
	return false;
}

int frames_alloc(struct frames *f, const struct frames_request *request, pfn_t *first) {
	const struct frames_request *q = request;
	if (q->pages == 0 || !is_pow2(q->align_pages) || q->zone >= FRAMES_ZONE_COUNT) return -ERR_INVAL;
	struct frames_region *r;
	uint64_t pfn;
	bool small = q->pages < FRAMES_BLOCK_PAGES && q->align_pages < FRAMES_BLOCK_PAGES;
	lock_acquire(&f->lock);
	bool found = (small && find(f, q, true, &r, &pfn)) || find(f, q, false, &r, &pfn);
	if (found) region_mark(f, r, pfn, q->pages, false);
	lock_release(&f->lock);
	if (!found) return -ERR_NOMEM;
	first->v = pfn;
	return 0;
}

int frames_alloc_zeroed(struct frames *f, hpa_t *frame) {
	pfn_t pfn;
	int err = frames_alloc(f, &FRAMES_REQUEST(FRAMES_POOL, 1), &pfn);
	if (err != 0) return err;
	*frame = pfn_hpa(pfn);
	memset(frame_ptr(*frame), 0, PAGE_BYTES);
	return 0;
}

// The region that holds pfn, NULL when nobody manages it.
static struct frames_region *region_of(struct frames *f, uint64_t pfn) __requires_lock(f->lock) {
	uint32_t low = 0, high = f->region_count;
	while (low < high) {
		uint32_t mid = (low + high) / 2;
		if (region_end(&f->region[mid]) <= pfn)
			low = mid + 1;
		else
			high = mid;
	}
	return low < f->region_count && f->region[low].first <= pfn ? &f->region[low] : NULL;
}

void frames_free(struct frames *f, pfn_t first, uint64_t pages) {
	uint64_t pfn = first.v, end = pfn + pages;
	lock_acquire(&f->lock);
	while (pfn < end) { // a run may span the border of two nodes' regions
		struct frames_region *r = region_of(f, pfn);
		assert(r != NULL);
		uint64_t n = min_u64(end, region_end(r)) - pfn;
		region_mark(f, r, pfn, n, true);
		pfn += n;
	}
	lock_release(&f->lock);
}

// One pass over [first, end): is all that is managed free? Or, with take, takes it.
static bool reserve_pass(struct frames *f, uint64_t first, uint64_t end, bool take) __requires_lock(f->lock) {
	for (uint32_t i = 0; i < f->region_count; i++) {
		struct frames_region *r = &f->region[i];
		uint64_t from = max_u64(first, r->first), to = min_u64(end, region_end(r));
		if (from >= to) continue;
		if (!take && region_next(r, from, to, false) != NONE) return false;
		if (!take) continue;
		region_mark(f, r, from, to - from, false);
		f->total[r->zone] -= to - from;
	}
	return true;
}

int frames_reserve(struct frames *f, hpa_t base, uint64_t bytes) {
	if (bytes == 0) return 0;
	uint64_t first = base.v >> PAGE_SHIFT, end = ((base.v + (bytes - 1)) >> PAGE_SHIFT) + 1;
	lock_acquire(&f->lock);
	bool is_free = reserve_pass(f, first, end, false);
	if (is_free) reserve_pass(f, first, end, true);
	lock_release(&f->lock);
	return is_free ? 0 : -ERR_BUSY;
}

uint64_t frames_free_count(const struct frames *f, enum frames_zone zone) {
	return __atomic_load_n(&f->free[zone], __ATOMIC_RELAXED);
}

uint64_t frames_largest(struct frames *f, enum frames_zone zone) {
	uint64_t largest = 0;
	lock_acquire(&f->lock);
	for (uint32_t i = 0; i < f->region_count; i++) {
		const struct frames_region *r = &f->region[i];
		uint64_t end = region_end(r), pfn = r->zone == zone ? r->first : end;
		while ((pfn = region_next(r, pfn, end, true)) != NONE) {
			uint64_t first = pfn;
			pfn = min_u64(region_next(r, pfn, end, false), end); // NONE is the highest number
			largest = max_u64(largest, pfn - first);
		}
	}
	lock_release(&f->lock);
	return largest;
}

bool frames_pool_range(struct frames *f, unsigned index, hpa_t *base, uint64_t *bytes) {
	bool found = false;
	lock_acquire(&f->lock);
	for (uint32_t i = 0; i < f->region_count && !found; i++) {
		const struct frames_region *r = &f->region[i];
		if (r->zone != FRAMES_POOL || index-- != 0) continue;
		*base = hpa(r->first << PAGE_SHIFT);
		*bytes = r->pages << PAGE_SHIFT;
		found = true;
	}
	lock_release(&f->lock);
	return found;
}

// ---- lists of runs -----------------------------------------------------------------------------------

static bool list_add(struct extent *list, unsigned max, unsigned *count, uint64_t pfn, uint64_t pages) {
	struct extent *last = *count == 0 ? NULL : &list[*count - 1];
	if (last != NULL && last->pfn.v + last->pages == pfn) {
		last->pages += pages;
		return true;
	}
	if (*count == max) return false;
	uint64_t first = last == NULL ? 0 : last->first + last->pages;
	list[(*count)++] = (struct extent){.first = first, .pfn = {pfn}, .pages = pages};
	return true;
}

// Takes runs of multiples of `unit` aligned to it, the longest first, until less than a unit is wanted or
// nothing is left of that size. -ERR_RANGE when the list is full (the frames of this run are back).
static int take_units(struct frames *f, const struct frames_request *request, uint64_t unit, uint64_t *left,
                      struct extent *list, unsigned max, unsigned *count) {
	uint64_t chunk = align_down(*left, unit);
	while (chunk != 0 && *left >= unit) {
		struct frames_request q = *request;
		q.pages = chunk = min_u64(chunk, align_down(*left, unit));
		q.align_pages = max_u64(unit, request->align_pages);
		pfn_t pfn;
		int err = frames_alloc(f, &q, &pfn);
		if (err == -ERR_NOMEM) {
			chunk = align_down(chunk / 2, unit);
			continue;
		}
		if (err != 0) return err;
		if (!list_add(list, max, count, pfn.v, chunk)) {
			frames_free(f, pfn, chunk);
			return -ERR_RANGE;
		}
		*left -= chunk;
	}
	return 0;
}

int frames_alloc_extents(struct frames *f, const struct frames_request *request, struct extent *list,
                         unsigned max, unsigned *count) {
	static const uint64_t units[] = {PAGES_1G, FRAMES_BLOCK_PAGES, 1};
	uint64_t left = request->pages;
	int err = left == 0 ? -ERR_INVAL : 0;
	*count = 0;
	for (unsigned i = 0; i < array_count(units) && err == 0; i++)
		err = take_units(f, request, units[i], &left, list, max, count);
	if (err == 0 && left == 0) return 0;
	frames_free_extents(f, list, *count);
	*count = 0;
	return err == -ERR_INVAL ? err : -ERR_NOMEM;
}

void frames_free_extents(struct frames *f, const struct extent *list, unsigned count) {
	for (unsigned i = 0; i < count; i++) frames_free(f, list[i].pfn, list[i].pages);
}

int extents_slice(const struct extent *list, unsigned count, uint64_t first, uint64_t pages,
                  struct extent *out, unsigned max, unsigned *out_count) {
	*out_count = 0;
	if (pages == 0 || range_wraps(first, pages)) return -ERR_RANGE;
	uint64_t at = first, end = first + pages;
	for (unsigned i = 0; i < count && at < end; i++) {
		const struct extent *e = &list[i];
		if (at < e->first || at >= e->first + e->pages) continue;
		uint64_t n = min_u64(end, e->first + e->pages) - at;
		if (!list_add(out, max, out_count, e->pfn.v + (at - e->first), n)) return -ERR_NOMEM;
		at += n;
	}
	return at == end ? 0 : -ERR_RANGE;
}
