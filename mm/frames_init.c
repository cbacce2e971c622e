// SPDX-License-Identifier: Apache-2.0
// How the frame allocator comes to be: the firmware map is sorted and swept once (overlaps resolved
// towards not usable), the pool is carved out of the result, and the bitmaps are laid into the pool.
#include "kernel/lib/assert.h"
#include "kernel/lib/err.h"
#include "kernel/lib/string.h"
#include "mm/frames.h"
#include "mm/layout.h"

#define BLOCK_BITMAP_BYTES (FRAMES_BLOCK_PAGES / 8)
#define BLOCK_META_BYTES (BLOCK_BITMAP_BYTES + sizeof(uint16_t))
#define IDENTITY_PAGES (4 * GIB / PAGE_BYTES)
#define POOL_MIN_BYTES (8 * MIB)
// Carving one pool range can split a region into three; room for that is kept while sweeping.
#define SWEEP_REGION_MAX (FRAMES_REGION_MAX - 2 * FRAMES_POOL_RANGE_MAX)

// A guest of n bytes in 4 KiB pages needs n/512 of tables in the nested tree and as much in the window.
uint64_t frames_pool_suggest(uint64_t usable_bytes) { return POOL_MIN_BYTES + usable_bytes / 256; }

// Firmware maps are nearly sorted: insertion.
static void sort(struct frames_range *ranges, unsigned count) {
	for (unsigned i = 1; i < count; i++) {
		struct frames_range range = ranges[i];
		unsigned at = i;
		for (; at > 0 && ranges[at - 1].base > range.base; at--) ranges[at] = ranges[at - 1];
		ranges[at] = range;
	}
}

static void region_insert(struct frames *f, uint32_t at, uint64_t first, uint64_t pages, uint8_t zone) {
	assert(f->region_count < FRAMES_REGION_MAX);
	memmove(&f->region[at + 1], &f->region[at], (f->region_count - at) * sizeof f->region[0]);
	f->region[at] = (struct frames_region){.first = first, .pages = pages, .zone = zone};
	f->region_count++;
}

static void region_remove(struct frames *f, uint32_t at) {
	f->region_count--;
	memmove(&f->region[at], &f->region[at + 1], (f->region_count - at) * sizeof f->region[0]);
}

// Adds the whole frames of a piece of usable memory; a full table loses its smallest region.
static void piece_add(struct frames *f, uint64_t base, uint64_t end) {
	base = align_up(max_u64(base, FRAMES_LOW_BYTES), PAGE_BYTES);
	end = align_down(min_u64(end, DIRECT_BYTES), PAGE_BYTES); // a map that says more is not believed
	if (base >= end) return;
	if (f->region_count == SWEEP_REGION_MAX) {
		uint32_t least = 0;
		for (uint32_t i = 1; i < f->region_count; i++)
			if (f->region[i].pages < f->region[least].pages) least = i;
		uint64_t pages = (end - base) >> PAGE_SHIFT;
		f->skipped_pages += min_u64(pages, f->region[least].pages);
		if (pages <= f->region[least].pages) return;
		region_remove(f, least);
	}
	region_insert(f, f->region_count, base >> PAGE_SHIFT, (end - base) >> PAGE_SHIFT, FRAMES_GUEST);
}

// One pass over the sorted ranges: between two neighbouring bases, memory is usable from where the last
// reserved range ended up to where the last usable one ends.
static int sweep(struct frames *f, const struct frames_range *ranges, unsigned count) {
	uint64_t usable_end = 0, reserved_end = 0, base = 0, end = 0; // [base, end): the piece so far
	for (unsigned i = 0; i < count; i++) {
		const struct frames_range *r = &ranges[i];
		if (r->base + r->bytes < r->base) return -ERR_INVAL;
		uint64_t *active_end = r->usable ? &usable_end : &reserved_end;
		*active_end = max_u64(*active_end, r->base + r->bytes);
		uint64_t next = i + 1 < count ? ranges[i + 1].base : UINT64_MAX;
		uint64_t from = max_u64(r->base, reserved_end), to = min_u64(next, usable_end);
		if (from >= to) continue;
		if (from != end) {
			piece_add(f, base, end);
			base = from;
		}
		end = to;
	}
	piece_add(f, base, end);
	return 0;
}

// The 2 MiB aligned part of a region below limit_pfn.
static uint64_t aligned_part(const struct frames_region *r, uint64_t limit_pfn, uint64_t *first) {
	uint64_t end = align_down(min_u64(r->first + r->pages, limit_pfn), FRAMES_BLOCK_PAGES);
	*first = align_up(r->first, FRAMES_BLOCK_PAGES);
	return end > *first ? end - *first : 0;
}

// Turns up to `want` pages (a multiple of a block) into a pool range: the top of the longest aligned part
// below limit_pfn. Returns how many.
static uint64_t pool_carve(struct frames *f, uint64_t want, uint64_t limit_pfn) {
	uint32_t best = 0;
	uint64_t best_pages = 0, best_first = 0;
	for (uint32_t i = 0; i < f->region_count; i++) {
		uint64_t first, pages;
		if (f->region[i].zone == FRAMES_POOL) continue;
		pages = aligned_part(&f->region[i], limit_pfn, &first);
		if (pages <= best_pages) continue;
		best = i;
		best_pages = pages;
		best_first = first;
	}
	uint64_t pages = min_u64(want, best_pages), first = best_first + best_pages - pages;
	if (pages == 0) return 0;
	uint64_t before = first - f->region[best].first;
	uint64_t end = f->region[best].first + f->region[best].pages, behind = end - (first + pages);
	region_remove(f, best);
	if (behind != 0) region_insert(f, best, first + pages, behind, FRAMES_GUEST);
	region_insert(f, best, first, pages, FRAMES_POOL);
	if (before != 0) region_insert(f, best, first - before, before, FRAMES_GUEST);
	return pages;
}

static void region_blocks(struct frames_region *r) {
	r->block0 = r->first / FRAMES_BLOCK_PAGES;
	r->blocks = (uint32_t)((r->first + r->pages - 1) / FRAMES_BLOCK_PAGES - r->block0 + 1);
}

static uint64_t meta_pages(struct frames *f) {
	uint64_t blocks = 0;
	for (uint32_t i = 0; i < f->region_count; i++) {
		region_blocks(&f->region[i]);
		blocks += f->region[i].blocks;
	}
	return bytes_pages(blocks * BLOCK_META_BYTES);
}

// Sets the bits of the region's frames, which are all free, and counts them.
static void region_fill(struct frames *f, struct frames_region *r) {
	uint64_t *words = frame_ptr(r->bitmap);
	uint16_t *counts = frame_ptr(r->counts);
	uint64_t bit = r->first - r->block0 * FRAMES_BLOCK_PAGES, end = bit + r->pages;
	for (uint64_t w = bit / 64; w * 64 < end; w++) {
		uint64_t from = max_u64(bit, w * 64), to = min_u64(end, w * 64 + 64);
		words[w] = MASK64(to - 1 - w * 64, from - w * 64);
		uint16_t *count = &counts[w * 64 / FRAMES_BLOCK_PAGES];
		*count = (uint16_t)(*count + (to - from));
	}
	r->free = r->pages;
	f->free[r->zone] += r->pages;
	f->total[r->zone] += r->pages;
}

// Lays bitmaps and counts into the start of the longest pool range that can be reached now, and takes
// those frames.
static int meta_place(struct frames *f) {
	struct frames_region *home = NULL;
	for (uint32_t i = 0; i < f->region_count; i++) {
		struct frames_region *r = &f->region[i];
		if (r->zone != FRAMES_POOL || r->first + r->pages > IDENTITY_PAGES) continue;
		if (home == NULL || r->pages > home->pages) home = r;
	}
	f->meta_pages = meta_pages(f);
	if (home == NULL || home->pages < f->meta_pages) return -ERR_NOMEM;
	hpa_t at = hpa(home->first << PAGE_SHIFT);
	memset(frame_ptr(at), 0, f->meta_pages << PAGE_SHIFT);
	for (uint32_t i = 0; i < f->region_count; i++) {
		f->region[i].bitmap = at;
		at = hpa_add(at, (uint64_t)f->region[i].blocks * BLOCK_BITMAP_BYTES);
	}
	for (uint32_t i = 0; i < f->region_count; i++) {
		f->region[i].counts = at;
		at = hpa_add(at, f->region[i].blocks * sizeof(uint16_t));
		region_fill(f, &f->region[i]);
	}
	return frames_reserve(f, hpa(home->first << PAGE_SHIFT), f->meta_pages << PAGE_SHIFT);
}

int frames_init(struct frames *f, struct frames_range *ranges, unsigned count, uint64_t pool_bytes) {
	memset(f, 0, sizeof *f);
	lock_init(&f->lock, LOCK_RANK_FRAMES);
	f->colours = 1;
	if (pool_bytes == 0 || pool_bytes > DIRECT_BYTES) return -ERR_INVAL;
	sort(ranges, count);
	int err = sweep(f, ranges, count);
	if (err != 0) return err;
	uint64_t want = bytes_pages(pool_bytes) + meta_pages(f) + 1; // carving adds a few blocks' worth
	want = align_up(want, FRAMES_BLOCK_PAGES);
	for (unsigned i = 0; i < FRAMES_POOL_RANGE_MAX && want != 0; i++) {
		uint64_t limit = i == 0 ? IDENTITY_PAGES : DIRECT_BYTES / PAGE_BYTES;
		uint64_t got = pool_carve(f, want, limit);
		if (got == 0) return -ERR_NOMEM;
		want -= got;
	}
	return want == 0 ? meta_place(f) : -ERR_NOMEM;
}

// Splits a region at a block border, so that each part can have its own node.
static void region_split(struct frames *f, uint32_t at, uint64_t pfn) __requires_lock(f->lock) {
	if (f->region_count == FRAMES_REGION_MAX) return;
	uint64_t end = f->region[at].first + f->region[at].pages;
	region_insert(f, at + 1, pfn, end - pfn, f->region[at].zone);
	struct frames_region *low = &f->region[at], *high = &f->region[at + 1];
	high->node = low->node;
	low->pages = pfn - low->first;
	uint32_t moved = (uint32_t)(pfn / FRAMES_BLOCK_PAGES - low->block0);
	region_blocks(low);
	region_blocks(high);
	high->bitmap = hpa_add(low->bitmap, (uint64_t)moved * BLOCK_BITMAP_BYTES);
	high->counts = hpa_add(low->counts, moved * sizeof(uint16_t));
	const uint16_t *counts = frame_ptr(high->counts);
	for (uint32_t b = 0; b < high->blocks; b++) high->free += counts[b];
	low->free -= high->free;
	low->hint = low->hint < low->blocks ? low->hint : low->blocks;
}

void frames_node_set(struct frames *f, uint64_t base, uint64_t bytes, uint8_t node) {
	uint64_t block = align_up(base, PAGE_2M_BYTES) >> PAGE_SHIFT;
	uint64_t end = align_down(base + bytes, PAGE_2M_BYTES) >> PAGE_SHIFT;
	lock_acquire(&f->lock);
	for (uint32_t i = 0; i < f->region_count; i++) {
		uint64_t first = f->region[i].first, last = first + f->region[i].pages;
		if (last <= block || first >= end) continue;
		if (first < block) {
			region_split(f, i, block);
			continue;
		}
		if (last > end) region_split(f, i, end);
		f->region[i].node = node;
	}
	lock_release(&f->lock);
}

void frames_colours_set(struct frames *f, uint32_t colours) {
	assert(is_pow2(colours) && colours <= 64);
	lock_acquire(&f->lock);
	f->colours = colours;
	lock_release(&f->lock);
}
