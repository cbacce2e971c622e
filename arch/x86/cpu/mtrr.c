// SPDX-License-Identifier: Apache-2.0
// The variable-range MTRRs, read once at boot, and the rules for where they overlap (SDM vol. 3, 11.11.4.1 "MTRR
// Precedences").
#include "arch/x86/cpu/mtrr.h"

#include "arch/x86/cpu/insn.h"
#include "arch/x86/cpu/regs.h"
#include "kernel/lib/bits.h"

#define CAP_COUNT 0xFFu
#define DEF_ENABLE BIT64(11)
#define PAIR_VALID BIT64(11) // in the mask
#define TYPE 7u              // the others are reserved
#define ADDRESS MASK64(51, 12)

void mtrr_read(struct mtrr_set *m) {
	uint64_t cap;
	*m = (struct mtrr_set){.default_type = MTRR_TYPE_WB};
	if (!rdmsr_safe(MSR_MTRR_CAP, &cap)) return;
	uint64_t type = rdmsr(MSR_MTRR_DEF_TYPE);
	if ((type & DEF_ENABLE) == 0) return;
	m->default_type = type & TYPE;
	m->count = (uint32_t)min_u64(cap & CAP_COUNT, MTRR_PAIRS_MAX);
	for (uint32_t i = 0; i < m->count; i++) {
		m->base[i] = rdmsr(MSR_MTRR_PHYSBASE0 + 2 * i);
		m->mask[i] = rdmsr(MSR_MTRR_PHYSBASE0 + 2 * i + 1);
	}
}

// No address bit below the lowest one of a mask matters to its pair.
bool mtrr_write_back(const struct mtrr_set *m, uint64_t at, uint64_t *end) {
	uint64_t last = at < MIB ? MIB - 1 : UINT64_MAX;
	uint32_t types = 0;
	for (uint32_t i = 0; i < m->count && at >= MIB; i++) {
		uint64_t mask = m->mask[i] & ADDRESS;
		if ((m->mask[i] & PAIR_VALID) == 0) continue;
		if (((at ^ m->base[i]) & mask) == 0) types |= BIT32(m->base[i] & TYPE);
		last = min_u64(last, at | ((mask & -mask) - 1));
	}
	*end = last + 1;
	return at < MIB || (types == 0 ? BIT32(m->default_type) : types) == BIT32(MTRR_TYPE_WB);
}
