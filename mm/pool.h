// SPDX-License-Identifier: Apache-2.0
// Objects of one fixed size out of pool frames: counted, zeroed when handed out, given back page by
// page when a slab is empty. For what is smaller than some pages; page-sized hardware structures come
// from frames_alloc directly. Locking: the lock of whoever owns the pool.
#pragma once

#include "kernel/lib/list.h"
#include "mm/frames.h"

struct pool {
	const char *name; // for logs
	struct frames *frames;
	uint32_t object_bytes; // rounded up to the alignment
	uint32_t align;
	uint32_t slab_pages;       // power of two
	uint32_t slab_objects;     // that fit a slab
	uint32_t used, slabs;      // objects handed out, slabs held
	struct list partial, full; // slabs by fill
};

// object_bytes in 1 .. 64 KiB, align a power of two up to 4096. -ERR_INVAL otherwise. Takes no memory.
__must_check int pool_init(struct pool *p, const char *name, struct frames *f, uint32_t object_bytes,
                           uint32_t align);
// -ERR_NOMEM when a new slab is needed and the pool zone has none.
__must_check int pool_alloc(struct pool *p, void **object);
void pool_free(struct pool *p, void *object);
// All objects must be back (assert).
void pool_destroy(struct pool *p);
