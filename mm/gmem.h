// SPDX-License-Identifier: Apache-2.0
// Guest memory access: the only door. Everything but gmem_other_* goes through the window of the VM that
// this CPU works for: one check, one mask (so that not even speculation leaves the window), one access
// with fault fix-up. What is no memory, device memory, or read-only and written gives -ERR_FAULT; a
// multi-byte access that faults half-way may have taken effect up to there. Guest structures are copied
// once with these, then the copy is validated and used. In hosted builds the window is an arena and the
// slots are checked instead of faulting.
#pragma once

#include "mm/insn.h"
#include "mm/layout.h"
#include "mm/window.h"

struct gspace {
	uintptr_t base;                    // address of guest physical 0: WINDOW_BASE, or the arena
	uint64_t mask;                     // bytes - 1, a power of two minus 1: addresses above it are nobody's
	bool logging;                      // some slot has MEMSLOT_LOG
	const struct memslot_table *slots; // published; NULL only in hosted builds: all of the arena is memory
};

// The kernel's: the window. The table may be swapped later with gspace_publish.
void gspace_init(struct gspace *g, const struct memslot_table *slots);
// Swaps the table and returns the old one, which is freed after quiescence.
const struct memslot_table *gspace_publish(struct gspace *g, const struct memslot_table *slots);
// For hosted tests: guest physical 0 .. bytes-1 (a power of two) is the arena.
void gspace_init_arena(struct gspace *g, void *arena, uint64_t bytes, const struct memslot_table *slots);

static inline const struct memslot_table *gspace_slots(const struct gspace *g) {
	return __atomic_load_n(&g->slots, __ATOMIC_ACQUIRE); // pairs with gspace_publish
}

// True when hosted rules allow the access; in the kernel the page tables decide.
bool gmem_hosted_allows(const struct gspace *g, uint64_t addr, uint64_t len, bool write);
void gmem_log_dirty(const struct gspace *g, uint64_t addr, uint64_t len);

#if __STDC_HOSTED__
#define GMEM_ALLOWS(g, addr, len, write) gmem_hosted_allows(g, addr, len, write)
#else
#define GMEM_ALLOWS(g, addr, len, write) true
#endif

// gmem_readN / gmem_writeN, N = 8, 16, 32, 64: one access of that width (atomic when aligned).
#define GMEM_DEFINE(bits)                                                                                    \
	__must_check static inline int gmem_read##bits(const struct gspace *g, gpa_t a, uint##bits##_t *value) { \
		if (unlikely(a.v > g->mask || !GMEM_ALLOWS(g, a.v, bits / 8, false))) return -ERR_FAULT;             \
		return mm_load##bits(g->base + (a.v & g->mask), value);                                              \
	}                                                                                                        \
	__must_check static inline int gmem_write##bits(struct gspace *g, gpa_t a, uint##bits##_t value) {       \
		if (unlikely(a.v > g->mask || !GMEM_ALLOWS(g, a.v, bits / 8, true))) return -ERR_FAULT;              \
		int err = mm_store##bits(g->base + (a.v & g->mask), value);                                          \
		if (unlikely(g->logging) && err == 0) gmem_log_dirty(g, a.v, bits / 8);                              \
		return err;                                                                                          \
	}
GMEM_DEFINE(8)
GMEM_DEFINE(16)
GMEM_DEFINE(32)
GMEM_DEFINE(64)

// Locked compare and exchange of an aligned word (accessed and dirty bits in the guest's page tables):
// *expected becomes what was there; it succeeded when that is what it was. -ERR_INVAL unaligned.
__must_check int gmem_cmpxchg32(struct gspace *g, gpa_t a, uint32_t *expected, uint32_t desired);
__must_check int gmem_cmpxchg64(struct gspace *g, gpa_t a, uint64_t *expected, uint64_t desired);

// Any length, across pages and slots.
__must_check int gmem_read(const struct gspace *g, gpa_t a, void *buf, size_t len);
__must_check int gmem_write(struct gspace *g, gpa_t a, const void *buf, size_t len);
__must_check __step int gmem_zero(struct gspace *g, gpa_t a, size_t len);
// True when all of the range is memory (writable memory when `write`), by the slots.
bool gmem_backed(const struct gspace *g, gpa_t a, uint64_t len, bool write);

// The memory of a VM that this CPU does not work for, page by page through temporary mapping `slot` of
// this CPU; by the slots, so nothing faults.
__must_check int gmem_other_read(const struct gspace *g, struct hostpt_cpu *c, unsigned slot, gpa_t a,
                                 void *buf, size_t len);
__must_check int gmem_other_write(struct gspace *g, struct hostpt_cpu *c, unsigned slot, gpa_t a,
                                  const void *buf, size_t len);
