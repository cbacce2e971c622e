// SPDX-License-Identifier: Apache-2.0
// Slabs of equal objects. A slab is a naturally aligned run of frames with its header at the start, so
// that an object's slab is found by masking its address. Free objects are linked through themselves.
#include "mm/pool.h"

#include "kernel/lib/assert.h"
#include "kernel/lib/err.h"
#include "kernel/lib/string.h"

#define OBJECT_MAX (64 * KIB)
#define SLAB_OBJECTS_MIN 8u // fewer would waste too much of the last one
#define SLAB_PAGES_MAX 32u

struct slab {
	struct list node;
	struct pool *pool;
	void *free; // first free object
	uint32_t used;
};

static uint32_t header_bytes(const struct pool *p) {
	return (uint32_t)align_up(sizeof(struct slab), p->align);
}

int pool_init(struct pool *p, const char *name, struct frames *f, uint32_t object_bytes, uint32_t align) {
	if (object_bytes == 0 || object_bytes > OBJECT_MAX || !is_pow2(align) || align > PAGE_BYTES)
		return -ERR_INVAL;
	*p = (struct pool){.name = name, .frames = f, .align = align < alignof(void *) ? alignof(void *) : align};
	p->object_bytes = (uint32_t)align_up(object_bytes, p->align);
	list_init(&p->partial);
	list_init(&p->full);
	for (p->slab_pages = 1;; p->slab_pages *= 2) {
		p->slab_objects = (uint32_t)((p->slab_pages * PAGE_BYTES - header_bytes(p)) / p->object_bytes);
		if (p->slab_objects >= SLAB_OBJECTS_MIN) break;
		if (p->slab_pages == SLAB_PAGES_MAX) break; // 64 KiB objects: one a slab
	}
	return 0;
}

static int slab_new(struct pool *p) {
	struct frames_request request = FRAMES_REQUEST(FRAMES_POOL, p->slab_pages);
	request.align_pages = p->slab_pages;
	pfn_t pfn;
	int err = frames_alloc(p->frames, &request, &pfn);
	if (err != 0) return err;
	struct slab *slab = frame_ptr(pfn_hpa(pfn));
	*slab = (struct slab){.pool = p};
	char *object = (char *)slab + header_bytes(p);
	for (uint32_t i = 0; i < p->slab_objects; i++, object += p->object_bytes) {
		*(void **)(void *)object = slab->free;
		slab->free = object;
	}
	list_push_front(&p->partial, &slab->node);
	p->slabs++;
	return 0;
}

int pool_alloc(struct pool *p, void **object) {
	if (list_empty(&p->partial)) {
		int err = slab_new(p);
		if (err != 0) return err;
	}
	struct slab *slab = container_of(p->partial.next, struct slab, node);
	void *taken = slab->free;
	slab->free = *(void **)taken;
	slab->used++;
	p->used++;
	if (slab->free == NULL) {
		list_remove(&slab->node);
		list_push_front(&p->full, &slab->node);
	}
	memset(taken, 0, p->object_bytes);
	*object = taken;
	return 0;
}

void pool_free(struct pool *p, void *object) {
	uint64_t offset = frame_hpa(object).v & (p->slab_pages * PAGE_BYTES - 1);
	struct slab *slab = (struct slab *)(void *)((char *)object - offset);
	assert(slab->pool == p && slab->used != 0);
	assert(offset >= header_bytes(p) && (offset - header_bytes(p)) % p->object_bytes == 0);
	*(void **)object = slab->free;
	slab->free = object;
	slab->used--;
	p->used--;
	list_remove(&slab->node);
	if (slab->used != 0) {
		list_push_front(&p->partial, &slab->node);
		return;
	}
	p->slabs--;
	slab->pool = NULL;
	frames_free(p->frames, hpa_pfn(frame_hpa(slab)), p->slab_pages);
}

void pool_destroy(struct pool *p) { assert(p->used == 0 && p->slabs == 0); }
