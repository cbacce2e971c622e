// SPDX-License-Identifier: Apache-2.0
// Physical memory for the tests of mm: a lazily backed range of host memory, so that frame_ptr(hpa)
// reaches it as the direct map does in the kernel.
#pragma once

#include <sys/mman.h>

#include "mm/frames.h"
#include "tests/unit/support.h"

// Physical 0 .. bytes-1; pages that nobody touches cost nothing.
static inline void *arena_map(uint64_t bytes) {
	void *arena =
	    mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	assert_true(arena != MAP_FAILED);
	frame_base_set((uintptr_t)arena);
	return arena;
}

static inline void arena_unmap(void *arena, uint64_t bytes) {
	munmap(arena, bytes);
	frame_base_set(0);
}

// One usable range [base, base + bytes) with a pool of pool_bytes.
static inline void arena_frames(struct frames *f, uint64_t base, uint64_t bytes, uint64_t pool_bytes) {
	struct frames_range range = {.base = base, .bytes = bytes, .usable = true};
	assert_int_equal(frames_init(f, &range, 1, pool_bytes), 0);
}
