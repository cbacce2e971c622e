// SPDX-License-Identifier: Apache-2.0
// The timer queue: a list sorted by deadline, equal deadlines in the order they were armed. A timer is
// linked exactly while it is armed. Expiry first moves what is due to a list of its own and then fires
// from there, so a handler may arm or cancel any timer (list_remove works wherever it is linked) and a
// timer that is armed again, even in the past, waits for the next call.
#include "kernel/timerq.h"

void timerq_init(struct timerq *q) { list_init(&q->head); }

void timer_init(struct timer *t, void (*fire)(void *ctx), void *ctx) {
	list_init(&t->node);
	t->deadline_ns = TIMER_NEVER;
	t->fire = fire;
	t->ctx = ctx;
	t->armed = false;
}

static struct timer *timer_of(struct list *node) { return container_of(node, struct timer, node); }

void timerq_arm(struct timerq *q, struct timer *t, uint64_t deadline_ns) {
	timerq_cancel(t);
	t->deadline_ns = deadline_ns;
	if (deadline_ns == TIMER_NEVER) return;
	t->armed = true;
	struct list *at = q->head.next;
	while (at != &q->head && timer_of(at)->deadline_ns <= deadline_ns) at = at->next;
	list_insert_before(at, &t->node);
}

void timerq_cancel(struct timer *t) {
	list_remove(&t->node);
	t->armed = false;
}

uint64_t timerq_next(const struct timerq *q) {
	return list_empty(&q->head) ? TIMER_NEVER : timer_of(q->head.next)->deadline_ns;
}

void timerq_expire(struct timerq *q, uint64_t now_ns) {
	struct list due;
	list_init(&due);
	while (!list_empty(&q->head) && timerq_next(q) <= now_ns) {
		struct list *first = q->head.next;
		list_remove(first);
		list_push_back(&due, first);
	}
	while (!list_empty(&due)) {
		struct timer *t = timer_of(due.next);
		timerq_cancel(t);
		t->fire(t->ctx);
	}
}
