// SPDX-License-Identifier: Apache-2.0
// NPT entries: long-mode entries (APM vol. 2, 5.3 "Long-Mode Page Translation") with the user bit on every
// level (15.25.5 "Nested Table Walk"). Types are indices into the host's PAT (HOSTPT_PAT).
#include "mm/ept/npt.h"

#include "kernel/lib/bits.h"

#define NPT_PRESENT BIT64(0)
#define NPT_WRITE BIT64(1)
#define NPT_USER BIT64(2)
#define NPT_PAT_INDEX(index) ((uint64_t)(index) << 3) // PCD, PWT
#define NPT_ACCESSED BIT64(5)
#define NPT_DIRTY BIT64(6)
#define NPT_LARGE BIT64(7)
#define NPT_NX BIT64(63)

const struct pt_format npt_format = {
    .name = "npt",
    .present = NPT_PRESENT,
    .table_bits = NPT_PRESENT | NPT_WRITE | NPT_USER,
    .leaf_bits = NPT_USER,
    .large_bit = NPT_LARGE,
    .read = NPT_PRESENT,
    .write = NPT_WRITE,
    .noexec = NPT_NX,
    .accessed = NPT_ACCESSED,
    .dirty = NPT_DIRTY,
    .addr_mask = MASK64(51, 12),
    .types = {[PT_WB] = NPT_PAT_INDEX(0),
              [PT_WC] = NPT_PAT_INDEX(1),
              [PT_UC] = NPT_PAT_INDEX(3),
              [PT_WT] = PT_TYPE_NONE,
              [PT_WP] = PT_TYPE_NONE},
    .types_mask = NPT_PAT_INDEX(3),
};
