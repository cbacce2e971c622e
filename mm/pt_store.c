// SPDX-License-Identifier: Apache-2.0
// The table store over the frame allocator. The link to the next retired table is its page-aligned address
// in entry 0: without a present bit in every format, so a CPU that still walks the table sees at most a
// page that is not there.
#include "mm/pt_store.h"

static int store_alloc(void *ctx, hpa_t *table) {
	struct pt_store *s = ctx;
	return frames_alloc_zeroed(s->frames, table);
}

static void store_free(void *ctx, hpa_t table) {
	struct pt_store *s = ctx;
	__atomic_store_n((uint64_t *)frame_ptr(table), s->retired.v, __ATOMIC_RELAXED);
	s->retired = table;
	s->retired_count++;
	s->retired_generation = pt_generation(s->pt);
}

const struct pt_ops pt_store_ops = {
    .table_alloc = store_alloc,
    .table_free = store_free,
    .flush = pt_flush_none,
};

void pt_store_reclaim(struct pt_store *s, uint64_t flushed) {
	if (flushed < s->retired_generation) return;
	while (s->retired_count != 0) {
		hpa_t table = s->retired;
		s->retired = hpa(*(const uint64_t *)frame_ptr(table));
		s->retired_count--;
		frames_free(s->frames, hpa_pfn(table), 1);
	}
}
