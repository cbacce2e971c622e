// SPDX-License-Identifier: Apache-2.0
// The one page-table engine: 512-entry tables of 8-byte entries, up to five levels, leaves of 4 KiB,
// 2 MiB and 1 GiB. What differs between the host's tables, EPT, NPT (and later VT-d and AMD-Vi) is data
// in struct pt_format. Levels are numbered as the manuals walk them upwards: 1 = the table that holds
// 4 KiB entries, 2 = 2 MiB, 3 = 1 GiB, 4 = PML4, 5 = PML5.
//
// Invariants: a table below the kept levels is never empty; every entry is written by one 8-byte store
// after what it points to is complete; on an error no translation has changed.
// Locking: the owner's lock around every call that changes; translate may race with changes only when
// the owner defers the reuse of freed tables. Whoever caches translations compares `generation`.
#pragma once

#include "mm/frames.h"

// Attributes of a mapping, vendor-neutral. A mapping always has PT_READ.
enum pt_attr {
	PT_READ = 1u << 0,
	PT_WRITE = 1u << 1,
	PT_EXEC = 1u << 2,
	PT_GLOBAL = 1u << 3,     // kept over a CR3 load (host format)
	PT_IGNORE_PAT = 1u << 4, // the guest's PAT does not change the type (EPT)
	PT_ACCESSED = 1u << 5,   // also settable at map, to save the CPU the update
	PT_DIRTY = 1u << 6,
	PT_TYPE_SHIFT = 8,
};
enum pt_type { PT_WB, PT_WC, PT_UC, PT_WT, PT_WP, PT_TYPE_COUNT };
#define PT_TYPE(type) ((uint32_t)(type) << PT_TYPE_SHIFT) // PT_WB is 0
#define PT_RIGHTS (PT_READ | PT_WRITE | PT_EXEC)

static inline enum pt_type pt_attr_type(uint32_t attr) { return (enum pt_type)(attr >> PT_TYPE_SHIFT & 7u); }

#define PT_LEVEL_4K 1u
#define PT_LEVEL_2M 2u
#define PT_LEVEL_1G 3u
#define PT_LEVEL_MAX 5u
#define PT_ENTRIES 512u
#define PT_TYPE_NONE UINT64_MAX // in types[]: the format cannot say it

static inline uint64_t pt_level_bytes(unsigned level) { return UINT64_C(1) << (12 + 9 * (level - 1)); }

struct pt_format {
	char name[8];
	uint64_t present;                   // an entry with none of these bits is empty
	uint64_t table_bits;                // in every entry that points to a table
	uint64_t leaf_bits;                 // in every leaf
	uint64_t large_bit;                 // in a leaf at level 2 and 3
	uint64_t read, write, exec, noexec; // 0 when the format has no such bit; noexec is the inverse
	uint64_t global, ignore_pat, accessed, dirty;
	uint64_t addr_mask;
	uint64_t types[PT_TYPE_COUNT]; // memory-type bits of a leaf, PT_TYPE_NONE when it cannot be said
	uint64_t types_mask;
	bool sign_extended; // addresses are canonical: the bits above are copies of the top one
};

// Where tables come from and go to, and what has to happen after entries were written. Complete.
struct pt_ops {
	// One zeroed frame that frame_ptr reaches. -ERR_NOMEM.
	int (*table_alloc)(void *ctx, hpa_t *table);
	// Called after the last reference was cleared and `generation` raised. A CPU may still walk it or
	// hold it in a paging-structure cache: the owner reuses it only after every CPU has flushed.
	void (*table_free)(void *ctx, hpa_t table);
	// `count` neighbouring entries changed; pt_flush_none where hardware snoops.
	void (*flush)(void *ctx, const uint64_t *entry, unsigned count);
};
void pt_flush_none(void *ctx, const uint64_t *entry, unsigned count);

struct pt {
	const struct pt_format *format;
	const struct pt_ops *ops;
	void *ctx;
	hpa_t root;
	uint64_t generation; // read by pt_generation; see below
	uint64_t tables;     // held now, root included
	uint8_t levels;      // of the root table
	uint8_t leaf_levels; // bit `level` set: leaves allowed there (capability of the machine as data)
	uint8_t keep_level;  // tables of this level and above are never freed by unmap
};

// Leaf capabilities as a leaf_levels value.
#define PT_LEAF_4K (1u << PT_LEVEL_4K)
#define PT_LEAF_2M (PT_LEAF_4K | 1u << PT_LEVEL_2M)
#define PT_LEAF_1G (PT_LEAF_2M | 1u << PT_LEVEL_1G)

struct pt_mapping {
	uint64_t va; // first address of the page
	hpa_t pa;    // of the page (walk) or of the byte asked for (translate)
	unsigned level;
	uint32_t attr; // enum pt_attr with type, accessed and dirty
};

// Allocates the root. levels 3..5 (3: a subtree that hangs in one PML4 slot). -ERR_NOMEM.
__must_check int pt_init(struct pt *pt, const struct pt_format *format, unsigned levels, unsigned leaf_levels,
                         const struct pt_ops *ops, void *ctx);
// Frees all tables, the root too.
void pt_destroy(struct pt *pt);

// All ranges are in bytes, multiples of 4 KiB, not empty; -ERR_INVAL / -ERR_RANGE otherwise.

// Maps with the largest leaves alignment and leaf_levels allow. -ERR_EXIST when any page of the range is
// mapped, -ERR_UNSUP when the format cannot express the type, -ERR_NOMEM: then nothing is mapped.
__must_check int pt_map(struct pt *pt, uint64_t va, hpa_t pa, uint64_t bytes, uint32_t attr);
// Holes in the range are fine. Splits a large page at the edges, hence -ERR_NOMEM (nothing unmapped).
__must_check int pt_unmap(struct pt *pt, uint64_t va, uint64_t bytes);
// Sets the rights (PT_RIGHTS bits of attr, PT_READ at least); type, accessed and dirty stay. Holes are
// skipped. -ERR_NOMEM: nothing changed.
__must_check int pt_protect(struct pt *pt, uint64_t va, uint64_t bytes, uint32_t attr);
// Splits until no leaf in the range is above `level`. -ERR_NOMEM: some are split, translations the same.
__must_check int pt_split(struct pt *pt, uint64_t va, uint64_t bytes, unsigned level);
// Joins whatever is contiguous, aligned and uniform in the range to larger leaves and marks
// them accessed and dirty (a CPU may still set flags in what was taken out). Cannot fail.
void pt_merge(struct pt *pt, uint64_t va, uint64_t bytes);
// Allocates the tables of the range down to and including `level` (so that they exist and stay when
// level >= keep_level). -ERR_NOMEM, -ERR_EXIST when a leaf is in the way.
__must_check int pt_populate(struct pt *pt, uint64_t va, uint64_t bytes, unsigned level);
// -ERR_NOENT when va is not mapped.
__must_check int pt_translate(const struct pt *pt, uint64_t va, struct pt_mapping *out);

// Every leaf that touches the range, in ascending order; a non-zero return ends the walk and is returned.
typedef int pt_walk_fn(void *ctx, const struct pt_mapping *mapping);
int pt_walk(const struct pt *pt, uint64_t va, uint64_t bytes, pt_walk_fn *fn, void *ctx);
// Reads and clears `which` (PT_ACCESSED, PT_DIRTY or both) of every leaf that touches the range and calls
// fn (result ignored) for each leaf that had one, with attr as it was. -ERR_UNSUP when the format or the
// machine has none.
__must_check int pt_harvest(struct pt *pt, uint64_t va, uint64_t bytes, uint32_t which, pt_walk_fn *fn,
                            void *ctx);

// Raised whenever something that a CPU could have cached is removed or restricted (unmap, protect to
// less, cleared accessed/dirty, a table freed). Never by map, split, or protect to more. Whoever flushed
// at a generation is clean as long as it stays the same.
static inline uint64_t pt_generation(const struct pt *pt) {
	return __atomic_load_n(&pt->generation, __ATOMIC_ACQUIRE);
}

// The entry of a leaf, for owners that keep a few fixed tables of their own (temporary mappings, the
// per-CPU slots). The type must be one the format can express.
uint64_t pt_leaf_entry(const struct pt_format *format, unsigned level, hpa_t pa, uint32_t attr);
static inline uint64_t pt_table_entry(const struct pt_format *format, hpa_t table) {
	return table.v | format->table_bits;
}
