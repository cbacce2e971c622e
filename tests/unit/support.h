// SPDX-License-Identifier: Apache-2.0
// Shared by all unit tests: cmocka with the headers it needs, and a seedable generator so that random
// tests repeat (the seed is printed on failure and taken from BULKHEAD_SEED).
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "kernel/lib/types.h"

// xorshift64*: never 0 state.
struct rng {
	uint64_t state;
};
void rng_init(struct rng *rng, uint64_t fallback_seed); // BULKHEAD_SEED overrides
uint64_t rng_next(struct rng *rng);
uint64_t rng_below(struct rng *rng, uint64_t bound); // bound > 0
