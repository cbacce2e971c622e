// SPDX-License-Identifier: Apache-2.0
// Where the tables of a tree come from in this hypervisor: zeroed pool frames. Tables that the engine
// takes out are kept until their owner says that every CPU has flushed, since a CPU may still walk them.
#pragma once

#include "mm/pt.h"

struct pt_store {
	struct frames *frames;
	const struct pt *pt;         // the tree; the object that holds both never moves
	hpa_t retired;               // waiting for a flush, linked through their first entry
	uint64_t retired_count;      // frames
	uint64_t retired_generation; // of the last one: free once all have flushed at this or a later one
};

// ctx is the struct pt_store.
extern const struct pt_ops pt_store_ops;

static inline void pt_store_init(struct pt_store *s, struct frames *f, const struct pt *pt) {
	*s = (struct pt_store){.frames = f, .pt = pt};
}
// Gives retired tables back when every CPU has flushed at generation `flushed` or later; UINT64_MAX when
// no CPU can use the tree any more.
void pt_store_reclaim(struct pt_store *s, uint64_t flushed);
