// SPDX-License-Identifier: Apache-2.0
// The nested page table of a VM, vendor-blind: memory slots in, translations out, eagerly and with the
// largest pages that fit. Tables that were taken out are kept until every CPU that ran the VM has
// flushed. A CPU that finds nested_generation() differ from what it flushed at last flushes before it
// enters the guest; a nested fault on an address that is mapped is spurious (a stale entry) and is
// answered by flushing and entering again.
// Every call that changes takes the tree's own lock; nested_translate and nested_generation take none.
#pragma once

#include "mm/memslot.h"
#include "mm/pt_store.h"

struct nested {
	struct lock lock; // LOCK_RANK_NESTED_PAGES: pt and store
	struct pt pt;
	struct pt_store store;
};

// format: ept_format, ept_format_ad or npt_format; levels 4 or 5; leaf_levels = what the CPU's nested paging
// can do (PT_LEAF_2M where there are no 1 GiB pages). -ERR_NOMEM.
__must_check int nested_init(struct nested *n, struct frames *f, const struct pt_format *format,
                             unsigned levels, unsigned leaf_levels);
// Only when no CPU can use it any more.
void nested_destroy(struct nested *n);

// RAM: read, write, execute, write-back; MEMSLOT_RO: no write; MEMSLOT_MMIO: read, write, uncached.
// -ERR_NOMEM, -ERR_EXIST: nothing is mapped.
__must_check int nested_map_slot(struct nested *n, const struct memslot *slot);
// A page that is in no slot: maps `frame` there with rights of PT_RIGHTS, uncached, or unmaps it when they are 0. What
// nested_map_slot says; a table that holds other pages is there already and stays.
__must_check __attribute__((noinline)) int nested_page_set(struct nested *n, gpa_t at, hpa_t frame,
                                                           uint32_t rights);
// Raises the generation; the slot's frames may be freed when every CPU has flushed.
void nested_unmap_slot(struct nested *n, const struct memslot *slot);
// Rights of [gfn, gfn + pages) to PT_RIGHTS bits (PT_READ at least). -ERR_NOMEM: nothing changed.
__must_check int nested_protect(struct nested *n, gfn_t gfn, uint64_t pages, uint32_t rights);
__must_check int nested_translate(const struct nested *n, gpa_t a, struct pt_mapping *out);

// Dirty logging of a slot with a bitmap. Start splits to 4 KiB and clears the dirty flags, or takes the
// write right away where the format has none; collect adds what was written since the last collect (or
// start) to slot->dirty and arms again; the fault of an armed page goes to nested_log_fault, which marks it
// and gives the right back (true: it was that, enter again). Stop joins pages again.
__must_check int nested_log_start(struct nested *n, const struct memslot *slot);
void nested_log_collect(struct nested *n, const struct memslot *slot);
bool nested_log_fault(struct nested *n, const struct memslot_table *table, gpa_t a);
void nested_log_stop(struct nested *n, const struct memslot *slot);

static inline uint64_t nested_generation(const struct nested *n) { return pt_generation(&n->pt); }
// Frees what was retired when every CPU has flushed at `flushed` or later.
void nested_reclaim(struct nested *n, uint64_t flushed);
