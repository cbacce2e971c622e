// SPDX-License-Identifier: Apache-2.0
// One loop over the rules. A rule applies when its conditions hold, and is broken when its test fails then.
#include "arch/x86/guest/entrycheck.h"

#include "arch/x86/cpu/regs.h"
#include "arch/x86/guest/state.h"

#define AREA_ENTRY_BYTES 16u

static bool canonical(uint64_t linear_bits, uint64_t address) {
	uint64_t unused = 64u - linear_bits;
	return (uint64_t)((int64_t)(address << unused) >> unused) == address;
}

static bool pat_valid(uint64_t pat) {
	for (; pat != 0; pat >>= 8) {
		uint64_t type = pat & 0xff;
		if (type > 7 || type == 2 || type == 3) return false;
	}
	return true;
}

// SDM vol. 3, 26.3.1.2, APM vol. 2, 4.8.1: a limit in pages ends in FFF, one above 1 MiB is in pages.
static bool granularity_valid(uint64_t limit, uint64_t access) {
	return (access & SEG_G) != 0 ? (limit & 0xfffu) == 0xfffu : limit <= 0xfffffu;
}

static bool in_set(uint64_t v, uint64_t set) {
	uint64_t number = v & 0xff;
	return number < 64 && (set >> number & 1) != 0;
}

static bool test(const struct entry_rule *r, const uint64_t *value, unsigned lane) {
	uint64_t v = value[r->field + lane], mask = r->mask;
	uint64_t other = value[r->other], own = value[r->other + lane]; // of the same segment
	uint64_t rpl = own & 3, dpl = v >> SEG_DPL_SHIFT & 3;
	switch ((enum entry_test)r->test) {
	case ENTRY_NEVER: return false;
	case ENTRY_AREA:
		if (((v + other * AREA_ENTRY_BYTES - 1) & value[ENTRY_BEYOND_PHYSICAL]) != 0) return false;
		// fall through
	case ENTRY_ADDRESS: mask |= value[ENTRY_BEYOND_PHYSICAL]; // fall through
	case ENTRY_ZERO: return (v & mask) == 0;
	case ENTRY_CAPABLE: return (other & ~v & UINT32_MAX) == 0 && (v & ~(other >> 32)) == 0;
	case ENTRY_HAS: return (other & ~v & ~mask) == 0;
	case ENTRY_ONLY: return (v & ~other & ~mask) == 0;
	case ENTRY_ONES: return (~v & mask) == 0;
	case ENTRY_NONZERO: return (v & mask) != 0;
	case ENTRY_EQUAL: return v == mask;
	case ENTRY_AT_MOST: return v <= mask;
	case ENTRY_IN_SET: return in_set(v, mask);
	case ENTRY_NOT_IN_SET: return !in_set(v, mask);
	case ENTRY_CANONICAL: return canonical(value[ENTRY_LINEAR_BITS] + mask, v);
	case ENTRY_PAT: return pat_valid(v);
	case ENTRY_SAME: return ((v ^ other) & mask) == 0;
	case ENTRY_NOT_ABOVE: return (v & mask) <= (other & mask);
	case ENTRY_BASE: return v == own << 4;
	case ENTRY_GRANULARITY: return granularity_valid(v, own);
	case ENTRY_DPL_IS_RPL: return dpl == rpl;
	case ENTRY_DPL_COVERS_RPL: return dpl >= rpl;
	}
	return false;
}

static bool applies(const struct entry_rules *rules, const struct entry_rule *r, const uint64_t *value,
                    unsigned lane) {
	for (unsigned i = 0; i < ENTRY_CONDITIONS; i++) {
		int when = r->when[i];
		const struct entry_fact *f = &rules->fact[when < 0 ? -when : when];
		bool holds = (value[f->field + (f->by_lane ? lane : 0)] & f->mask) == f->value;
		if (when != 0 && holds != (when > 0)) return false;
	}
	return true;
}

unsigned entry_check(const struct entry_rules *rules, const uint64_t *value,
                     struct entry_broken broken[static ENTRY_BROKEN_MAX]) {
	static const char segment[SEG_COUNT][8] = {
	    "ES: ", "CS: ", "SS: ", "DS: ", "FS: ", "GS: ", "LDTR: ", "TR: "};
	unsigned count = 0;
	for (unsigned i = 0; i < rules->rules; i++) {
		const struct entry_rule *r = &rules->rule[i];
		const struct entry_section *s = &rules->section[r->section];
		unsigned lanes = r->lanes != 0 ? r->lanes : 1u;
		for (unsigned lane = 0; lane < SEG_COUNT && count < ENTRY_BROKEN_MAX; lane++) {
			if ((lanes >> lane & 1) == 0 || !applies(rules, r, value, lane) || test(r, value, lane)) continue;
			broken[count++] = (struct entry_broken){r, s, r->lanes != 0 ? segment[lane] : ""};
		}
	}
	return count;
}
