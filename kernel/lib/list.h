// SPDX-License-Identifier: Apache-2.0
// Intrusive doubly linked circular list; the head is a node of its own. No locking: the owner's lock.
#pragma once

#include "kernel/lib/types.h"

struct list {
	struct list *next, *prev;
};

static inline void list_init(struct list *node) { node->next = node->prev = node; }
static inline bool list_empty(const struct list *head) { return head->next == head; }

static inline void list_insert_before(struct list *at, struct list *node) {
	node->prev = at->prev;
	node->next = at;
	at->prev->next = node;
	at->prev = node;
}
static inline void list_push_back(struct list *head, struct list *node) { list_insert_before(head, node); }
static inline void list_push_front(struct list *head, struct list *node) {
	list_insert_before(head->next, node);
}

// Unlinks and re-initialises, so removing twice is harmless.
static inline void list_remove(struct list *node) {
	node->prev->next = node->next;
	node->next->prev = node->prev;
	list_init(node);
}

#define list_for_each(it, head) for (struct list *it = (head)->next; it != (head); it = it->next)
