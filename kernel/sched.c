// SPDX-License-Identifier: Apache-2.0
// Run queues: a heap of the ready ones by `order`, and one of the throttled ones by the time their next period begins.
// Fair: a turn goes to who had least of the CPU, and who slept comes back as if it had had as much as the neediest of
// those that were awake, so that sleep saves nothing up. Budgets are the constant-bandwidth server's (Abeni and
// Buttazzo, "Integrating Multimedia Applications in Hard Real-Time Systems", 1998): no entity has more than
// budget/period of any stretch of time, and one budget.
#include "kernel/sched.h"

#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"
#include "kernel/lib/lock.h"

#define WEIGHT_SHIFT 16u
#define PRIORITY_SHIFT 56u   // above the count that makes a queue of equals
#define RAN_MAX_NS BIT64(40) // counted in one piece; longer is only who was alone
#define WHOLE_PPM 1000000u

struct queue {
	struct lock lock;
	struct heap ready, throttled;
	struct sched_entity *running; // NULL: idle
	uint64_t since_ns;            // up to when its time is counted
	uint64_t turn_begin_ns, turn_ns;
	uint64_t order;    // fair: of the neediest that is awake; fixed: the count of the next in the queue
	uint32_t entities; // whose home it is
	uint32_t booked_ppm;
	enum sched_policy policy;
};

static struct queue queue[SMP_CPU_MAX];

// Out of line: inlined, its multiplication is done again and again.
static __attribute__((noinline)) struct queue *queue_of(uint32_t cpu) { return &queue[cpu]; }

static struct sched_entity *first(const struct heap *heap) {
	return heap->first == NULL ? NULL : container_of(heap->first, struct sched_entity, node);
}

static uint32_t share_ppm(const struct sched_params *params) {
	return params->budget_ns == 0 ? 0 : (uint32_t)(params->budget_ns * WHOLE_PPM / params->period_ns);
}

void sched_cpu_init(uint32_t cpu) { lock_init(&queue[cpu].lock, LOCK_RANK_SCHED); }
void sched_policy_set(uint32_t cpu, enum sched_policy policy) { queue[cpu].policy = policy; }

int sched_add(struct sched_entity *e, const struct sched_params *params, uint64_t online) {
	struct queue *best = NULL;
	uint32_t share = share_ppm(params);
	for (uint64_t left = params->cpus & online; left != 0; left &= left - 1) {
		struct queue *q = &queue[bit_first(left)];
		if (q->booked_ppm + share > WHOLE_PPM || (q->policy == SCHED_DEDICATED && q->entities != 0)) continue;
		if (best == NULL || q->entities < best->entities) best = q;
	}
	if (best == NULL) return -ERR_NOENT;
	bool limit = params->budget_ns != 0;
	*e = (struct sched_entity){.params = *params,
	                           .cpu = (uint32_t)(best - queue),
	                           .left_ns = limit ? 0 : INT64_MAX,
	                           .period_end_ns = limit ? 0 : SCHED_NEVER,
	                           .order = best->order};
	best->entities++;
	best->booked_ppm += share;
	return 0;
}

// ---- with the queue's lock -------------------------------------------------------------------------------------

// Counts the time of the one that runs.
static void charge(struct queue *q, uint64_t now_ns) {
	struct sched_entity *e = q->running, *head = first(&q->ready);
	uint64_t ran = now_ns - q->since_ns;
	if ((int64_t)ran <= 0) return; // another CPU's reading of the clock was a moment younger
	q->since_ns = now_ns;
	if (e == NULL) return;
	e->left_ns -= (int64_t)ran;
	if (q->policy == SCHED_FIXED) return;
	e->order += (min_u64(ran, RAN_MAX_NS) << WEIGHT_SHIFT) / e->params.weight;
	uint64_t least = head != NULL && heap_key_before(head->order, e->order) ? head->order : e->order;
	if (heap_key_before(q->order, least)) q->order = least;
}

// Behind those that have waited longer; fair: who slept, before those that were awake.
static void line_up(struct queue *q, struct sched_entity *e) {
	if (q->policy == SCHED_FIXED)
		e->order = ((uint64_t)(SCHED_PRIORITY_MAX - e->params.priority) << PRIORITY_SHIFT) + q->order++;
	else if (heap_key_before(e->order, q->order))
		e->order = q->order - 1;
}

// The period that now_ns lies in.
static void period_begin(struct sched_entity *e, uint64_t now_ns) {
	if (now_ns < e->period_end_ns) return;
	uint64_t count = (now_ns - e->period_end_ns) / e->params.period_ns + 1;
	e->period_end_ns += count * e->params.period_ns;
	int64_t left = e->left_ns + (int64_t)(count * e->params.budget_ns), budget = (int64_t)e->params.budget_ns;
	e->left_ns = left < budget ? left : budget;
}

// Into the heap it belongs to.
static void enqueue(struct queue *q, struct sched_entity *e, uint64_t now_ns) {
	period_begin(e, now_ns);
	bool out = e->left_ns <= 0;
	e->state = out ? SCHED_THROTTLED : SCHED_READY;
	e->node.key = out ? e->period_end_ns : e->order;
	heap_insert(out ? &q->throttled : &q->ready, &e->node);
}

static void take_out(struct queue *q, struct sched_entity *e) {
	if (e->state == SCHED_READY) heap_remove(&q->ready, &e->node);
	if (e->state == SCHED_THROTTLED) heap_remove(&q->throttled, &e->node);
	if (q->running == e) q->running = NULL;
	e->state = SCHED_BLOCKED;
}

// ---- the interface ---------------------------------------------------------------------------------------------

uint32_t sched_wake(struct sched_entity *e, uint64_t now_ns) {
	struct queue *q = queue_of(e->cpu);
	uint32_t kick = SCHED_CPU_NONE;
	lock_acquire(&q->lock);
	if (e->state == SCHED_BLOCKED) {
		bool look = q->ready.first == NULL; // who is alone counts no turns
		charge(q, now_ns);
		period_begin(e, now_ns);
		// What is left must be no larger a part of the period's rest than the budget is of the period.
		if (e->left_ns > 0 &&
		    (uint64_t)e->left_ns * e->params.period_ns > (e->period_end_ns - now_ns) * e->params.budget_ns) {
			e->period_end_ns = now_ns + e->params.period_ns;
			e->left_ns = (int64_t)e->params.budget_ns;
		}
		line_up(q, e);
		enqueue(q, e, now_ns);
		if (e->state == SCHED_THROTTLED) {
			look = true;
		} else if (q->running != NULL && !heap_key_before(q->running->order, e->order)) {
			q->turn_ns = min_u64(q->turn_ns, SCHED_SHORT_TURN_NS);
			look = true;
		}
		if (look) kick = e->cpu;
	}
	lock_release(&q->lock);
	return kick;
}

void sched_block(struct sched_entity *e, uint64_t now_ns) {
	struct queue *q = queue_of(e->cpu);
	lock_acquire(&q->lock);
	charge(q, now_ns);
	take_out(q, e);
	lock_release(&q->lock);
}

void sched_remove(struct sched_entity *e, uint64_t now_ns) {
	struct queue *q = queue_of(e->cpu);
	sched_block(e, now_ns);
	q->entities--;
	q->booked_ppm -= share_ppm(&e->params);
}

void sched_give_way(uint32_t cpu, uint64_t now_ns) {
	struct queue *q = queue_of(cpu);
	lock_acquire(&q->lock);
	charge(q, now_ns);
	struct sched_entity *e = q->running, *head = first(&q->ready);
	if (e != NULL && head != NULL && q->policy != SCHED_FIXED && heap_key_before(e->order, head->order))
		e->order = head->order;
	q->turn_ns = 0;
	lock_release(&q->lock);
}

// The one that runs goes back among the others when its turn or its budget is over, or a higher priority waits.
static void put_back(struct queue *q, uint64_t now_ns) {
	struct sched_entity *e = q->running, *head = first(&q->ready);
	if (e == NULL) return;
	period_begin(e, now_ns);
	if (e->left_ns <= 0 || now_ns - q->turn_begin_ns >= q->turn_ns)
		line_up(q, e);
	else if (q->policy != SCHED_FIXED || head == NULL || !heap_key_before(head->order, e->order))
		return;
	q->running = NULL;
	enqueue(q, e, now_ns);
}

static uint64_t look_again_ns(const struct queue *q, uint64_t now_ns) {
	struct sched_entity *e = q->running, *head = first(&q->ready), *waits = first(&q->throttled);
	uint64_t ns = waits == NULL ? SCHED_NEVER : waits->period_end_ns;
	if (e == NULL) return ns;
	if (e->params.budget_ns != 0) ns = min_u64(ns, min_u64(now_ns + (uint64_t)e->left_ns, e->period_end_ns));
	if (head != NULL && (q->policy != SCHED_FIXED || head->params.priority == e->params.priority))
		ns = min_u64(ns, q->turn_begin_ns + q->turn_ns);
	return ns;
}

struct sched_entity *sched_pick(uint32_t cpu, uint64_t now_ns, uint64_t *until_ns) {
	struct queue *q = queue_of(cpu);
	struct sched_entity *e;
	lock_acquire(&q->lock);
	charge(q, now_ns);
	while ((e = first(&q->throttled)) != NULL && e->period_end_ns <= now_ns) {
		take_out(q, e);
		line_up(q, e);
		enqueue(q, e, now_ns);
	}
	put_back(q, now_ns);
	if (q->running == NULL && (e = first(&q->ready)) != NULL) {
		take_out(q, e);
		period_begin(e, now_ns);
		e->state = SCHED_RUNNING;
		q->running = e;
		q->turn_begin_ns = now_ns;
		q->turn_ns = SCHED_TURN_NS;
	}
	*until_ns = look_again_ns(q, now_ns);
	e = q->running;
	lock_release(&q->lock);
	return e;
}
