// SPDX-License-Identifier: Apache-2.0
// The numbers that tag a vCPU's cached translations: ASIDs (APM vol. 2, 15.16) and VPIDs (SDM vol. 3, 28.1). Each CPU
// hands out its own, upwards; when they run out its generation moves on, it drops what is cached under any of them, and
// every vCPU takes a new one before it is entered next. So none is used twice in a generation of a CPU.
#pragma once

#include "kernel/lib/types.h"

struct tlbid_pool {
	uint64_t generation; // 0: none was taken yet
	uint32_t next;
};
#define TLBID_GENERATION_NONE UINT64_MAX

// The next of 1 .. limit - 1, 0 is the host's, and its generation. True: that is a new one, so everything cached under
// the numbers must go before one of them is used.
static inline bool tlbid_take(struct tlbid_pool *pool, uint32_t limit, uint32_t *id, uint64_t *generation) {
	bool wrapped = pool->generation == 0 || pool->next >= limit;
	if (wrapped) {
		pool->generation++;
		pool->next = 1;
	}
	*id = pool->next++;
	*generation = pool->generation;
	return wrapped;
}
