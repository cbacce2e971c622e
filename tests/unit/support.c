// SPDX-License-Identifier: Apache-2.0
// What every hosted test binary links: assert_fail and the random generator.
#include <stdio.h>
#include <stdlib.h>

#include "kernel/lib/types.h"

struct rng {
	uint64_t state;
};
noreturn void assert_fail(const char *expr, const char *file, int line);
void rng_init(struct rng *rng, uint64_t fallback_seed);
uint64_t rng_next(struct rng *rng);
uint64_t rng_below(struct rng *rng, uint64_t bound);

noreturn void assert_fail(const char *expr, const char *file, int line) {
	fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, expr);
	abort();
}

void rng_init(struct rng *rng, uint64_t fallback_seed) {
	const char *text = getenv("BULKHEAD_SEED");
	rng->state = text != NULL ? strtoull(text, NULL, 0) : fallback_seed;
	if (rng->state == 0) rng->state = 1;
	printf("seed %#llx\n", (unsigned long long)rng->state);
}

uint64_t rng_next(struct rng *rng) {
	rng->state ^= rng->state >> 12;
	rng->state ^= rng->state << 25;
	rng->state ^= rng->state >> 27;
	return rng->state * UINT64_C(0x2545F4914F6CDD1D);
}

uint64_t rng_below(struct rng *rng, uint64_t bound) { return rng_next(rng) % bound; }
