// SPDX-License-Identifier: Apache-2.0
// Run queues: a list a CPU, each entity its slice in turn.
#include "kernel/sched.h"

#include "kernel/lib/assert.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"
#include "kernel/lib/lock.h"

#define SLICE_NS UINT64_C(4000000)

struct queue {
	struct lock lock;
	struct list ready;
	struct sched_entity *running; // NULL: idle
	uint32_t entities;            // whose home it is
	uint64_t slice_end_ns;
};

static struct queue queue[SMP_CPU_MAX];

void sched_cpu_init(uint32_t cpu) {
	lock_init(&queue[cpu].lock, LOCK_RANK_SCHED);
	list_init(&queue[cpu].ready);
}

int sched_add(struct sched_entity *e, const struct sched_params *params, uint64_t online) {
	uint32_t best = SCHED_CPU_NONE;
	for (uint64_t left = params->cpus & online; left != 0; left &= left - 1) {
		uint32_t cpu = bit_first(left);
		if (best == SCHED_CPU_NONE || queue[cpu].entities < queue[best].entities) best = cpu;
	}
	if (best == SCHED_CPU_NONE) return -ERR_NOENT;
	*e = (struct sched_entity){.params = *params, .cpu = best, .state = SCHED_BLOCKED};
	list_init(&e->node);
	queue[best].entities++;
	return 0;
}

uint32_t sched_wake(struct sched_entity *e, uint64_t now_ns __unused_arg) {
	struct queue *q = &queue[e->cpu];
	uint32_t kick = SCHED_CPU_NONE;
	lock_acquire(&q->lock);
	if (e->state == SCHED_BLOCKED) {
		e->state = SCHED_READY;
		list_push_back(&q->ready, &e->node);
		kick = e->cpu; // an idle CPU begins, a busy one begins to count slices
	}
	lock_release(&q->lock);
	return kick;
}

void sched_block(struct sched_entity *e, uint64_t now_ns __unused_arg) {
	struct queue *q = &queue[e->cpu];
	lock_acquire(&q->lock);
	if (e->state == SCHED_READY) list_remove(&e->node);
	if (q->running == e) q->running = NULL;
	e->state = SCHED_BLOCKED;
	lock_release(&q->lock);
}

struct sched_entity *sched_pick(uint32_t cpu, uint64_t now_ns, uint64_t *until_ns) {
	struct queue *q = &queue[cpu];
	lock_acquire(&q->lock);
	struct sched_entity *e = q->running;
	if (!list_empty(&q->ready) && (e == NULL || now_ns >= q->slice_end_ns)) {
		struct sched_entity *next = container_of(q->ready.next, struct sched_entity, node);
		list_remove(&next->node);
		if (e != NULL) {
			e->state = SCHED_READY;
			list_push_back(&q->ready, &e->node);
		}
		next->state = SCHED_RUNNING;
		q->running = e = next;
		q->slice_end_ns = now_ns + SLICE_NS;
	}
	*until_ns = e == NULL || list_empty(&q->ready) ? SCHED_NEVER : q->slice_end_ns;
	lock_release(&q->lock);
	return e;
}
