// SPDX-License-Identifier: Apache-2.0
// Leftist heap: of a node's two subtrees the right one has the smaller rank, so a way to the right has at most
// log2(n + 1) nodes, and only such ways are gone down. Ways up end where a rank stays as it was: with every step the
// rank that changes is larger by one at least, so they are as short.
#include "kernel/lib/heap.h"

static uint32_t rank(const struct heap_node *node) { return node == NULL ? 0 : node->rank; }

// After a subtree of `node` changed; true when that changes what its parent has.
static bool settle(struct heap_node *node) {
	struct heap_node *left = node->left;
	if (rank(left) < rank(node->right)) {
		node->left = node->right;
		node->right = left;
	}
	uint32_t before = node->rank;
	node->rank = rank(node->right) + 1;
	return node->rank != before;
}

// Two heaps made one, and its parent.
static struct heap_node *merge(struct heap_node *a, struct heap_node *b) {
	struct heap_node *root, *last = NULL, **link = &root;
	while (b != NULL) {
		if (a == NULL || heap_key_before(b->key, a->key)) {
			struct heap_node *other = a;
			a = b;
			b = other;
		}
		*link = a;
		a->parent = last;
		last = a;
		link = &a->right;
		a = a->right;
	}
	*link = a;
	if (a != NULL) a->parent = last;
	for (; last != NULL; last = last->parent) (void)settle(last);
	return root;
}

void heap_insert(struct heap *heap, struct heap_node *node) {
	node->left = node->right = NULL;
	node->rank = 1;
	heap->first = merge(heap->first, node);
}

void heap_remove(struct heap *heap, struct heap_node *node) {
	struct heap_node *parent = node->parent, *rest = merge(node->left, node->right);
	if (rest != NULL) rest->parent = parent;
	if (parent == NULL)
		heap->first = rest;
	else if (parent->left == node)
		parent->left = rest;
	else
		parent->right = rest;
	while (parent != NULL && settle(parent)) parent = parent->parent;
}
