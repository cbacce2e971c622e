// SPDX-License-Identifier: Apache-2.0
// kernel/lib/heap: against a plain array, with the shape that makes it O(log n) checked after every step, and the
// number of nodes that an operation touches in the worst shapes.
#include "tests/unit/support.h"

#include <stdlib.h>

#include "kernel/lib/heap.h"

#define NODES 4096u

static struct heap_node node[NODES];
static bool in[NODES];
static struct heap heap;

static int setup(void **state __unused_arg) {
	heap.first = NULL;
	memset(in, 0, sizeof in);
	srandom(1);
	return 0;
}

// Returns the number of nodes.
static unsigned check(const struct heap_node *n, const struct heap_node *parent) {
	unsigned count = 0;
	for (; n != NULL; parent = n, n = n->left) { // the left way may be long
		uint32_t left = n->left == NULL ? 0 : n->left->rank, right = n->right == NULL ? 0 : n->right->rank;
		assert_ptr_equal(n->parent, parent);
		assert_true(parent == NULL || !heap_key_before(n->key, parent->key));
		assert_true(right <= left);
		assert_int_equal(n->rank, right + 1);
		count += 1 + check(n->right, n);
	}
	return count;
}

static void insert(unsigned i, uint64_t key) {
	node[i].key = key;
	heap_insert(&heap, &node[i]);
	in[i] = true;
}

static void take(unsigned i) {
	heap_remove(&heap, &node[i]);
	in[i] = false;
}

static void insert_and_remove_random_is_a_heap(void **state __unused_arg) {
	unsigned count = 0, most = 200;
	for (unsigned step = 0; step < 40000; step++) {
		unsigned i = (unsigned)random() % most;
		// Around the wrap, with many of the same key.
		if (in[i]) {
			take(i);
			count--;
		} else {
			insert(i, (uint64_t)random() % 64 - 32);
			count++;
		}
		assert_int_equal(check(heap.first, NULL), count);
		for (unsigned k = 0; k < most; k++)
			assert_false(in[k] && heap_key_before(node[k].key, heap.first->key));
	}
}

static void remove_first_gives_ascending_keys(void **state __unused_arg) {
	for (unsigned i = 0; i < NODES; i++) insert(i, (uint64_t)random());
	uint64_t last = 0;
	for (unsigned i = 0; i < NODES; i++) {
		assert_true(heap.first->key >= last);
		last = heap.first->key;
		heap_remove(&heap, heap.first);
	}
	assert_null(heap.first);
}

static void insert_equal_keys_come_in_order(void **state __unused_arg) {
	insert(0, 5);
	insert(1, 5);
	assert_ptr_equal(heap.first, &node[0]);
}

// How many nodes differ from what they were.
static unsigned touched(const struct heap_node *was) {
	unsigned count = 0;
	for (unsigned i = 0; i < NODES; i++) count += memcmp(&was[i], &node[i], sizeof node[i]) != 0;
	return count;
}

// Descending keys make one long way to the left; the others a mixed shape. No operation touches more than a few
// times log2 of the nodes: two ways down, each with a subtree's parent, and one up.
static void operations_touch_few_nodes(void **state __unused_arg) {
	static struct heap_node was[NODES];
	for (unsigned shape = 0; shape < 3; shape++) {
		setup(NULL);
		for (unsigned i = 0; i < NODES; i++)
			insert(i, shape == 0 ? NODES - i : shape == 1 ? i : (uint64_t)random());
		for (unsigned i = 0; i < 2000; i++) {
			unsigned n = (unsigned)random() % NODES;
			memcpy(was, node, sizeof was);
			take(n);
			assert_in_range(touched(was), 0, 5 * 13);
			memcpy(was, node, sizeof was);
			insert(n, (uint64_t)random());
			assert_in_range(touched(was), 1, 3 * 13);
		}
		assert_int_equal(check(heap.first, NULL), NODES);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(insert_and_remove_random_is_a_heap, setup),
	    cmocka_unit_test_setup(remove_first_gives_ascending_keys, setup),
	    cmocka_unit_test_setup(insert_equal_keys_come_in_order, setup),
	    cmocka_unit_test_setup(operations_touch_few_nodes, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
