// SPDX-License-Identifier: Apache-2.0
// Single producer, single consumer. The producer's release store of head pairs with the consumer's
// acquire load of it (records are written before they are seen); the consumer's release store of tail
// pairs with the producer's acquire load (a slot is read before it is written again).
#include "kernel/lib/ring.h"

#include "kernel/lib/assert.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/string.h"

void ring_init(struct ring *ring, void *buffer, uint32_t capacity, uint32_t record_bytes) {
	assert(is_pow2(capacity) && capacity <= BIT32(31) && record_bytes != 0);
	*ring = (struct ring){.buffer = buffer, .capacity = capacity, .record_bytes = record_bytes};
}

uint32_t ring_put(struct ring *ring, const void *records, uint32_t count) {
	uint32_t head = ring->head;
	uint32_t room = ring->capacity - (head - __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE));
	size_t size = ring->record_bytes;

	if (count > room) count = room;
	uint32_t slot = head & (ring->capacity - 1);
	uint32_t first = ring->capacity - slot < count ? ring->capacity - slot : count;
	memcpy(ring->buffer + slot * size, records, first * size);
	memcpy(ring->buffer, (const uint8_t *)records + first * size, (count - first) * size);
	__atomic_store_n(&ring->head, head + count, __ATOMIC_RELEASE);
	return count;
}

uint32_t ring_get(struct ring *ring, void *records, uint32_t count) {
	uint32_t tail = ring->tail;
	uint32_t used = __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE) - tail;
	size_t size = ring->record_bytes;

	if (count > used) count = used;
	uint32_t slot = tail & (ring->capacity - 1);
	uint32_t first = ring->capacity - slot < count ? ring->capacity - slot : count;
	memcpy(records, ring->buffer + slot * size, first * size);
	memcpy((uint8_t *)records + first * size, ring->buffer, (count - first) * size);
	__atomic_store_n(&ring->tail, tail + count, __ATOMIC_RELEASE);
	return count;
}

uint32_t ring_used(const struct ring *ring) {
	uint32_t tail = __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE);

	return __atomic_load_n(&ring->head, __ATOMIC_ACQUIRE) - tail;
}
