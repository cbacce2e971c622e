// SPDX-License-Identifier: Apache-2.0
// What the backends share of stress=entry (kernel/option.h): values that are wrong or nearly right, and the book of what
// the CPU said and where the rules of entrycheck said something else. No part of the shipped image (kernel/stress.h).
#pragma once

#include "arch/x86/guest/entrycheck.h"
#include "mm/addr.h"

struct vcpu;

#define SHOWN_RULES 256u // a table of rules has fewer
struct entry_stress {
	uint64_t random; // state of the generator
	hpa_t pages;     // ENTRY_STRESS_PAGES of them, for what the state points at
	uint32_t rounds; // to come
	uint32_t count[ENTRY_VERDICTS];
	uint32_t differ;
	const struct entry_rule *shown[ENTRY_VERDICTS][SHOWN_RULES]; // in the log already, by what the CPU said
};
#define ENTRY_STRESS_PAGES 2u
#define ENTRY_CHANGES_MAX 3u

struct entry_change {
	const char *name;
	uint64_t was, is;
};

uint64_t entry_random(struct entry_stress *stress);
// Another value for one that is `old`: bits turned over, all or none, a random or a small one, or `other`.
uint64_t entry_mutate(struct entry_stress *stress, uint64_t old, uint64_t other);
// Writes down what the CPU said. The rules allow what broken[] names, and without any `sound`. A difference goes to the
// log, with the changes that made it, unless all its rules have been there.
void entry_judge(struct entry_stress *stress, enum entry_verdict cpu, enum entry_verdict sound,
                 const struct entry_broken *broken, unsigned count,
                 const struct entry_change change[static ENTRY_CHANGES_MAX]);

// The backends' own, each in its stress.c: `rounds` entries of a state made invalid at random, each compared with what
// the backend's rules say; the guest never runs, and the vCPU is as before.
void svm_entry_stress(struct vcpu *vcpu, struct entry_stress *stress, unsigned rounds);
void vmx_entry_stress(struct vcpu *vcpu, struct entry_stress *stress, unsigned rounds);
