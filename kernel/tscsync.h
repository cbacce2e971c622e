// SPDX-License-Identifier: Apache-2.0
// Do two CPUs' TSCs agree? They read in turn, each after it has seen the other's reading: a reading that is smaller
// than the one before it proves that they do not, and the shortest round trip tells by how much.
#pragma once

#include "kernel/lib/types.h"

#define TSCSYNC_ROUNDS 128u

// Shared by the two CPUs for one comparison; all zero before it.
struct tscsync {
	uint32_t turn; // of the boot CPU when even, of the other when odd
	uint64_t tsc;  // what was read last
};

struct tscsync_result {
	uint64_t warp;       // largest step backwards from one CPU to the other, ticks; 0: they agree
	uint64_t round_trip; // the shortest, ticks
	int64_t ahead;       // what to take off the other CPU's TSC, ticks; good to half of round_trip
};

typedef uint64_t tscsync_read_fn(void);

// Both sides at the same time. `boot` fills the result; `other` only answers. They spin for each other.
void tscsync_boot(struct tscsync *s, tscsync_read_fn *read, struct tscsync_result *result);
void tscsync_other(struct tscsync *s, tscsync_read_fn *read);
