// SPDX-License-Identifier: Apache-2.0
// A ring of fixed-size records (one byte makes it a byte ring) between one producer and one consumer,
// each on any CPU, without a lock. Both sides are ours: a ring shared with a guest needs its indices
// copied and checked and is another type. The buffer belongs to the caller.
#pragma once

#include "kernel/lib/types.h"

struct ring {
	uint8_t *buffer;
	uint32_t capacity;     // records, a power of two
	uint32_t record_bytes; // > 0
	uint32_t head;         // records ever put (mod 2^32), written by the producer only
	uint32_t tail;         // records ever taken (mod 2^32), written by the consumer only
};

// capacity: a power of two up to 2^31; buffer: capacity * record_bytes bytes that outlive the ring.
void ring_init(struct ring *ring, void *buffer, uint32_t capacity, uint32_t record_bytes);
// Producer: stores up to count records in order, returns how many fitted.
uint32_t ring_put(struct ring *ring, const void *records, uint32_t count);
// Consumer: takes up to count records, returns how many there were.
uint32_t ring_get(struct ring *ring, void *records, uint32_t count);
// Exact for the side that asks (its own index cannot move meanwhile), a lower bound seen by the other.
uint32_t ring_used(const struct ring *ring);
static inline uint32_t ring_free(const struct ring *ring) { return ring->capacity - ring_used(ring); }
