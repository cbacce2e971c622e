// SPDX-License-Identifier: Apache-2.0
// Physical page frames. Two zones: the hypervisor's pool, carved at boot as a few large 2 MiB aligned
// ranges and the only memory in the permanent map, and guest memory, which is never in it. One bit a
// frame and a count per 2 MiB block, kept in the pool itself (about 1/28000 of the memory); giving back
// can never fail. Memory below 1 MiB is never handed out (firmware writes there; the AP trampoline and
// real-mode data live there). Every call takes the allocator's own lock.
#pragma once

#include "kernel/lib/lock.h"
#include "mm/addr.h"

// ---- reaching a pool frame ---------------------------------------------------------------------

// What is added to a physical address of a pool frame to reach it: 0 (identity) from entry, DIRECT_BASE
// after hostpt_cpu_load on the boot CPU, the arena in unit tests. See mm/layout.h.
extern uintptr_t frame_base;
void frame_base_set(uintptr_t base);

static inline void *frame_ptr(hpa_t a) { return (void *)(frame_base + a.v); }
static inline hpa_t frame_hpa(const void *p) { return hpa((uintptr_t)p - frame_base); }

// ---- the allocator --------------------------------------------------------------------------------

enum frames_zone { FRAMES_POOL, FRAMES_GUEST, FRAMES_ZONE_COUNT };

#define FRAMES_REGION_MAX 128u // usable ranges after merging, pool ranges included
#define FRAMES_POOL_RANGE_MAX 8u
#define FRAMES_BLOCK_PAGES 512u
#define FRAMES_NODE_ANY 0xffu
#define FRAMES_LIMIT_NONE UINT64_MAX
#define FRAMES_LOW_BYTES MIB // below: never handed out

// One range of the firmware map, any alignment. Overlaps are resolved towards not usable.
struct frames_range {
	uint64_t base, bytes;
	bool usable;
};

struct frames_region {
	uint64_t first, pages; // pfn and length of what belongs to it
	uint64_t block0;       // pfn >> 9 of its first block
	uint32_t blocks;
	uint32_t hint; // no free frame in blocks before this one
	hpa_t bitmap;  // 512 bits a block, 1 = free
	hpa_t counts;  // uint16_t a block: free frames
	uint64_t free; // frames
	uint8_t zone, node;
};

struct frames {
	struct lock lock; // LOCK_RANK_FRAMES: everything here
	uint32_t region_count;
	uint32_t colours; // number of page colours, a power of two up to 64
	uint64_t total[FRAMES_ZONE_COUNT], free[FRAMES_ZONE_COUNT]; // frames
	uint64_t meta_pages;                                        // pool frames the bookkeeping took
	uint64_t skipped_pages;                                     // usable, but the region table was full
	struct frames_region region[FRAMES_REGION_MAX];             // sorted by first
};

// What an allocation asks for. FRAMES_REQUEST gives the usual one; change what differs.
struct frames_request {
	enum frames_zone zone;
	uint64_t pages;       // contiguous frames, > 0
	uint64_t align_pages; // power of two
	uint64_t limit;       // bytes: the run ends at or below this physical address
	uint64_t colours;     // set of allowed page colours, bit c for colour c; 0 = any
	uint32_t node;        // NUMA node, FRAMES_NODE_ANY
};
#define FRAMES_REQUEST(z, n)                                                                                 \
	((struct frames_request){                                                                                \
	    .zone = (z), .pages = (n), .align_pages = 1, .limit = FRAMES_LIMIT_NONE, .node = FRAMES_NODE_ANY})

// A contiguous run of frames in a list of such runs; first = pages in the list before it.
struct extent {
	uint64_t first;
	pfn_t pfn;
	uint64_t pages;
};

// Pool size that is enough for `usable_bytes` of memory even when all guests are mapped by 4 KiB pages.
uint64_t frames_pool_suggest(uint64_t usable_bytes);
// Builds the allocator over a firmware map. `ranges` is scratch: it is sorted in place. The pool gets at
// least pool_bytes (rounded up to 2 MiB), its first range below 4 GiB and reachable by frame_ptr; the
// bookkeeping is taken from the pool. -ERR_INVAL for a wrapping range, -ERR_NOMEM when there is no pool
// of that size in FRAMES_POOL_RANGE_MAX ranges below DIRECT_BYTES.
__must_check int frames_init(struct frames *f, struct frames_range *ranges, unsigned count,
                             uint64_t pool_bytes);
// Says that [base, base + bytes) belongs to a NUMA node (0 until then), in whole 2 MiB blocks. Before any
// allocation with a node; with a full region table, a region stays with its first node.
void frames_node_set(struct frames *f, uint64_t base, uint64_t bytes, uint8_t node);
// Number of page colours (power of two, at most 64); colour of a frame = pfn % colours. Default 1.
void frames_colours_set(struct frames *f, uint32_t colours);
// Takes the free frames of the range out for good; what is not managed is ignored. -ERR_BUSY (and nothing
// changed) when a frame of it is in use.
__must_check int frames_reserve(struct frames *f, hpa_t base, uint64_t bytes);
// A contiguous run, content undefined. -ERR_NOMEM, -ERR_INVAL for an impossible request.
__must_check int frames_alloc(struct frames *f, const struct frames_request *request, pfn_t *first);
// One zeroed pool frame.
__must_check int frames_alloc_zeroed(struct frames *f, hpa_t *frame);
// Gives back any part of what was allocated; freeing a free or foreign frame is our bug (assert).
void frames_free(struct frames *f, pfn_t first, uint64_t pages);
// request->pages frames as a list of runs in descending block size (1 GiB, 2 MiB, 4 KiB aligned blocks,
// neighbours merged), so that a list mapped at a 1 GiB aligned guest address gets the largest pages
// everywhere. At most `max` runs are written. -ERR_NOMEM: nothing is left allocated.
__must_check int frames_alloc_extents(struct frames *f, const struct frames_request *request,
                                      struct extent *list, unsigned max, unsigned *count);
void frames_free_extents(struct frames *f, const struct extent *list, unsigned count);
// The part [first, first + pages) of a list as a list of its own. -ERR_RANGE outside, -ERR_NOMEM when
// it needs more than max.
__must_check int extents_slice(const struct extent *list, unsigned count, uint64_t first, uint64_t pages,
                               struct extent *out, unsigned max, unsigned *out_count);
// Frames free at this moment.
uint64_t frames_free_count(const struct frames *f, enum frames_zone zone);
// The longest contiguous run of free frames; walks the whole zone.
uint64_t frames_largest(struct frames *f, enum frames_zone zone);
// The pool's ranges in ascending order, for the direct map: false when index is past the last.
bool frames_pool_range(struct frames *f, unsigned index, hpa_t *base, uint64_t *bytes);
