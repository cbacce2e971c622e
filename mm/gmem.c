// SPDX-License-Identifier: Apache-2.0
// Guest memory access of any length, and of a VM whose window is not loaded.
#include "mm/gmem.h"

#include "kernel/lib/assert.h"
#include "kernel/lib/err.h"
#include "kernel/lib/string.h"

static bool any_logging(const struct memslot_table *slots) {
	for (uint32_t i = 0; slots != NULL && i < slots->count; i++)
		if ((slots->slot[i].flags & MEMSLOT_LOG) != 0) return true;
	return false;
}

void gspace_init(struct gspace *g, const struct memslot_table *slots) {
	*g = (struct gspace){
	    .base = WINDOW_BASE, .mask = WINDOW_BYTES - 1, .logging = any_logging(slots), .slots = slots};
}

const struct memslot_table *gspace_publish(struct gspace *g, const struct memslot_table *slots) {
	g->logging = any_logging(slots);
	return __atomic_exchange_n(&g->slots, slots, __ATOMIC_ACQ_REL); // pairs with gspace_slots
}

void gspace_init_arena(struct gspace *g, void *arena, uint64_t bytes, const struct memslot_table *slots) {
	assert(is_pow2(bytes));
	*g = (struct gspace){
	    .base = (uintptr_t)arena, .mask = bytes - 1, .logging = any_logging(slots), .slots = slots};
}

// The range lies below the end of the address space; len > 0.
static bool in_space(const struct gspace *g, uint64_t addr, uint64_t len) {
	return addr <= g->mask && len - 1 <= g->mask - addr;
}

bool gmem_backed(const struct gspace *g, gpa_t a, uint64_t len, bool write) {
	if (len == 0) return true;
	if (!in_space(g, a.v, len)) return false;
	const struct memslot_table *slots = gspace_slots(g);
	gfn_t gfn = gpa_gfn(a), last = gpa_gfn(gpa_add(a, len - 1));
	while (gfn.v <= last.v) {
		const struct memslot *s = memslot_find(slots, gfn);
		if (s == NULL || (s->flags & MEMSLOT_MMIO) != 0) return false;
		if (write && (s->flags & MEMSLOT_RO) != 0) return false;
		gfn.v = s->base.v + s->pages;
	}
	return true;
}

bool gmem_hosted_allows(const struct gspace *g, uint64_t addr, uint64_t len, bool write) {
	return g->slots == NULL ? in_space(g, addr, len) : gmem_backed(g, gpa(addr), len, write);
}

void gmem_log_dirty(const struct gspace *g, uint64_t addr, uint64_t len) {
	gfn_t gfn = gpa_gfn(gpa(addr));
	memslot_mark_dirty(gspace_slots(g), gfn, gpa_gfn(gpa(addr + len - 1)).v - gfn.v + 1);
}

int gmem_read(const struct gspace *g, gpa_t a, void *buf, size_t len) {
	if (len == 0) return 0;
	if (!in_space(g, a.v, len) || !GMEM_ALLOWS(g, a.v, len, false)) return -ERR_FAULT;
	return mm_copy((uintptr_t)buf, g->base + (a.v & g->mask), len);
}

int gmem_write(struct gspace *g, gpa_t a, const void *buf, size_t len) {
	if (len == 0) return 0;
	if (!in_space(g, a.v, len) || !GMEM_ALLOWS(g, a.v, len, true)) return -ERR_FAULT;
	int err = mm_copy(g->base + (a.v & g->mask), (uintptr_t)buf, len);
	if (g->logging) gmem_log_dirty(g, a.v, len); // a fault half-way has written a prefix
	return err;
}

int gmem_zero(struct gspace *g, gpa_t a, size_t len) {
	if (len == 0) return 0;
	if (!in_space(g, a.v, len) || !GMEM_ALLOWS(g, a.v, len, true)) return -ERR_FAULT;
	int err = mm_zero(g->base + (a.v & g->mask), len);
	if (g->logging) gmem_log_dirty(g, a.v, len);
	return err;
}

#define GMEM_CMPXCHG(bits)                                                                                   \
	int gmem_cmpxchg##bits(struct gspace *g, gpa_t a, uint##bits##_t *expected, uint##bits##_t desired) {    \
		if (!is_aligned(a.v, bits / 8)) return -ERR_INVAL;                                                   \
		if (a.v > g->mask || !GMEM_ALLOWS(g, a.v, bits / 8, true)) return -ERR_FAULT;                        \
		int err = mm_cmpxchg##bits(g->base + (a.v & g->mask), expected, desired);                            \
		if (g->logging && err == 0) gmem_log_dirty(g, a.v, bits / 8);                                        \
		return err;                                                                                          \
	}
GMEM_CMPXCHG(32)
GMEM_CMPXCHG(64)

// One piece of an access to another VM: as much as is contiguous and fits a temporary mapping.
static uint64_t other_piece(const struct memslot_table *slots, gpa_t a, uint64_t len, hpa_t *pa) {
	const struct memslot *s = memslot_find(slots, gpa_gfn(a));
	uint64_t run, offset = page_offset(a.v);
	*pa = hpa_add(pfn_hpa(memslot_pfn(s, gpa_gfn(a), &run)), offset);
	return min_u64(len, min_u64(run << PAGE_SHIFT, TEMP_BYTES) - offset);
}

int gmem_other_read(const struct gspace *g, struct hostpt_cpu *c, unsigned slot, gpa_t a, void *buf,
                    size_t len) {
	if (!gmem_backed(g, a, len, false)) return -ERR_FAULT;
	uint8_t *to = buf;
	while (len != 0) {
		hpa_t pa;
		uint64_t piece = other_piece(gspace_slots(g), a, len, &pa);
		memcpy(to, hostmap_temp(c, slot, pa, piece, false), piece);
		hostunmap_temp(c, slot);
		to += piece;
		len -= piece;
		a = gpa_add(a, piece);
	}
	return 0;
}

int gmem_other_write(struct gspace *g, struct hostpt_cpu *c, unsigned slot, gpa_t a, const void *buf,
                     size_t len) {
	if (!gmem_backed(g, a, len, true)) return -ERR_FAULT;
	const uint8_t *from = buf;
	if (g->logging && len != 0) gmem_log_dirty(g, a.v, len);
	while (len != 0) {
		hpa_t pa;
		uint64_t piece = other_piece(gspace_slots(g), a, len, &pa);
		memcpy(hostmap_temp(c, slot, pa, piece, true), from, piece);
		hostunmap_temp(c, slot);
		from += piece;
		len -= piece;
		a = gpa_add(a, piece);
	}
	return 0;
}
