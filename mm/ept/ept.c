// SPDX-License-Identifier: Apache-2.0
// EPT entries, SDM vol. 3, tables 29-1 to 29-7 ("Format of an EPT ... Entry").
#include "mm/ept/ept.h"

#include "kernel/lib/bits.h"

#define EPT_READ BIT64(0)
#define EPT_WRITE BIT64(1)
#define EPT_EXEC BIT64(2)
#define EPT_TYPE(type) ((uint64_t)(type) << 3) // bits 5:3, as in the MTRRs
#define EPT_IGNORE_PAT BIT64(6)
#define EPT_LARGE BIT64(7)
#define EPT_ACCESSED BIT64(8)
#define EPT_DIRTY BIT64(9)

// EPTP, SDM vol. 3, 25.6.11 "Extended-Page-Table Pointer (EPTP)".
#define EPTP_WB UINT64_C(6)
#define EPTP_LEVELS_SHIFT 3u // the number of levels minus 1
#define EPTP_AD BIT64(6)

#define EPT_FORMAT(format_name, accessed_bit, dirty_bit)                                                     \
	{                                                                                                        \
		.name = format_name, .present = EPT_READ | EPT_WRITE | EPT_EXEC,                                     \
		.table_bits = EPT_READ | EPT_WRITE | EPT_EXEC, .large_bit = EPT_LARGE, .read = EPT_READ,             \
		.write = EPT_WRITE, .exec = EPT_EXEC, .ignore_pat = EPT_IGNORE_PAT, .accessed = accessed_bit,        \
		.dirty = dirty_bit, .addr_mask = MASK64(51, 12),                                                     \
		.types = {[PT_WB] = EPT_TYPE(6),                                                                     \
		          [PT_WC] = EPT_TYPE(1),                                                                     \
		          [PT_UC] = EPT_TYPE(0),                                                                     \
		          [PT_WT] = EPT_TYPE(4),                                                                     \
		          [PT_WP] = EPT_TYPE(5)},                                                                    \
		.types_mask = EPT_TYPE(7),                                                                           \
	}

const struct pt_format ept_format = EPT_FORMAT("ept", 0, 0);
const struct pt_format ept_format_ad = EPT_FORMAT("ept-ad", EPT_ACCESSED, EPT_DIRTY);

uint64_t ept_pointer(const struct pt *pt) {
	uint64_t ad = pt->format->accessed != 0 ? EPTP_AD : 0;
	return pt->root.v | (uint64_t)(pt->levels - 1) << EPTP_LEVELS_SHIFT | ad | EPTP_WB;
}
