// SPDX-License-Identifier: Apache-2.0
// The rounds of stress=entry, a few before every entry, so that they begin from many states of the guest. The generator
// is the option's own: the same seed tries the same.
#include "arch/x86/guest/entrystress.h"

#include "arch/x86/cpu/features.h"
#include "kernel/arch.h"
#include "kernel/lib/log.h"
#include "kernel/memory.h"

#define ROUNDS_A_STEP 32u

static struct entry_stress stress;

static const char *const verdict_name[ENTRY_VERDICTS] = {
    [ENTRY_BAD_CONTROLS] = "controls", [ENTRY_BAD_HOST] = "host state", [ENTRY_BAD_GUEST] = "guest state",
    [ENTRY_BAD_MSR] = "MSR",           [ENTRY_TAKEN] = "taken",         [ENTRY_STRANGE] = "strange",
};

// xorshift64*
__attribute__((noinline)) uint64_t entry_random(struct entry_stress *s) {
	uint64_t x = s->random;
	x ^= x >> 12;
	x ^= x << 25;
	x ^= x >> 27;
	s->random = x;
	return x * UINT64_C(0x2545f4914f6cdd1d);
}

__attribute__((noinline)) uint64_t entry_mutate(struct entry_stress *s, uint64_t old, uint64_t other) {
	uint64_t r = entry_random(s);
	switch (r >> 60) {
	case 0: return 0;
	case 1: return UINT64_MAX;
	case 2: return r;
	case 3: return other;
	case 4:
	case 5: return old ^ BIT64(r & 63) ^ BIT64(r >> 6 & 63);
	case 6:
	case 7: return old ^ BIT64(r & 31);
	case 8:
	case 9: return old ^ BIT64(r & 15);
	default: return old ^ BIT64(r & 63);
	}
}

void entry_judge(struct entry_stress *s, enum entry_verdict cpu, enum entry_verdict sound,
                 const struct entry_broken *broken, unsigned count,
                 const struct entry_change change[static ENTRY_CHANGES_MAX]) {
	bool agrees = count == 0 && cpu == sound, fresh = count == 0;
	for (unsigned i = 0; i < count; i++) agrees = agrees || broken[i].section->verdict == cpu;
	s->count[cpu]++;
	if (agrees) return;
	s->differ++;
	for (unsigned i = 0; i < count; i++) {
		const struct entry_rule *rule = broken[i].rule;
		unsigned slot = (unsigned)(uintptr_t)rule / sizeof *rule % SHOWN_RULES;
		fresh = fresh || s->shown[cpu][slot] != rule || broken[i].section->verdict == ENTRY_BAD_MSR;
		s->shown[cpu][slot] = rule;
	}
	if (!fresh) return;
	log_error("stress", "entry: difference %u: the CPU says %s, the rules %s", s->differ, verdict_name[cpu],
	          verdict_name[count > 0 ? broken[0].section->verdict : sound]);
	entry_report(broken, count);
	for (unsigned i = 0; i < ENTRY_CHANGES_MAX; i++)
		if (change[i].name != NULL)
			log_error("stress", "entry:   %s = %#llx, was %#llx", change[i].name,
			          (unsigned long long)change[i].is, (unsigned long long)change[i].was);
}

int arch_entry_stress_start(uint32_t seed, uint32_t rounds) {
	stress = (struct entry_stress){.random = seed, .rounds = rounds};
	return memory_pool_pages(ENTRY_STRESS_PAGES, &stress.pages);
}

void arch_entry_stress_step(struct vcpu *vcpu) {
	uint32_t rounds = stress.rounds < ROUNDS_A_STEP ? stress.rounds : ROUNDS_A_STEP;
	if (rounds == 0) return;
	(features.svm ? svm_entry_stress : vmx_entry_stress)(vcpu, &stress, rounds);
	stress.rounds -= rounds;
	if (stress.rounds != 0) return;
	for (unsigned i = 0; i < ENTRY_VERDICTS; i++)
		log_info("stress", "entry: %s %u", verdict_name[i], stress.count[i]);
	log_info("stress", "entry: differences %u", stress.differ);
}
