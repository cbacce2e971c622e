// SPDX-License-Identifier: Apache-2.0
// Intrusive priority queue: a leftist heap (Crane; Knuth, The Art of Computer Programming vol. 3, 5.2.3). Insertion and
// removal of any node take O(log n) steps in the worst case, looking at the first one takes one; nothing is allocated.
// No locking: the owner's lock.
#pragma once

#include "kernel/lib/types.h"

struct heap_node {
	struct heap_node *left, *right, *parent; // NULL: none
	uint64_t key;                            // the owner's, fixed while it is in a heap
	uint32_t rank;                           // nodes on the way down to the right, this one included
};

struct heap {
	struct heap_node *first; // NULL: empty
};

// Keys wrap around: of two that are less than 2^63 apart, a comes first.
static inline bool heap_key_before(uint64_t a, uint64_t b) { return (int64_t)(a - b) < 0; }

// The node is in no heap. Behind those in the heap that have the same key only while nothing is removed.
void heap_insert(struct heap *heap, struct heap_node *node);
// The node is in this heap.
void heap_remove(struct heap *heap, struct heap_node *node);
