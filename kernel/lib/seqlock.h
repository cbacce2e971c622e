// SPDX-License-Identifier: Apache-2.0
// A sequence counter for small records that are read on every CPU and written rarely (clock parameters).
// Readers never block the writer; writers are serialised by their own lock. The record holds plain
// integers only: a reader may see a torn copy, which seqlock_retry then tells it to throw away.
#pragma once

#include "kernel/lib/types.h"

struct seqlock {
	uint32_t sequence; // odd while a write is under way
};

// The fence pairs with the acquire fence in seqlock_retry: a reader that saw any of the new data sees
// the odd sequence.
static inline void seqlock_write_begin(struct seqlock *lock) {
	__atomic_store_n(&lock->sequence, lock->sequence + 1, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
}
// The release store pairs with the acquire load in seqlock_read_begin.
static inline void seqlock_write_end(struct seqlock *lock) {
	__atomic_store_n(&lock->sequence, lock->sequence + 1, __ATOMIC_RELEASE);
}

// Spins only while a write is under way (a handful of stores with interrupts off).
static inline uint32_t seqlock_read_begin(const struct seqlock *lock) {
	uint32_t sequence;

	while ((sequence = __atomic_load_n(&lock->sequence, __ATOMIC_ACQUIRE)) & 1) __builtin_ia32_pause();
	return sequence;
}
static inline bool seqlock_retry(const struct seqlock *lock, uint32_t sequence) {
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
	return __atomic_load_n(&lock->sequence, __ATOMIC_RELAXED) != sequence;
}
