// SPDX-License-Identifier: Apache-2.0
// The scheduler: which entity a CPU works for, and for how long. An entity is a vCPU (later also a job); it owns no
// stack. Every CPU has a run queue and a policy of its own. Pure decisions: whoever calls does the switching, the timers
// and the interrupts between CPUs, so the host tests run thousands of entities in simulated time. All calls take
// O(log n) steps (sched_pick: for each entity whose period begins), none allocates.
//
// Every entity has a home CPU, whose queue it is in when it is ready. sched_add chooses the home, and it stays: who
// notifies a vCPU (run_notify), and the timers of its VM, go by entity.cpu without a lock, so nothing is moved later.
// Locks: one a queue (LOCK_RANK_SCHED), never two at once. Times are in nanoseconds of a clock that never goes back and
// that all CPUs share.
#pragma once

#include "kernel/lib/heap.h"
#include "kernel/smp.h"

#define SCHED_CPU_NONE UINT32_MAX
#define SCHED_NEVER UINT64_MAX
#define SCHED_PRIORITY_MAX 99u
#define SCHED_WEIGHT_MAX 10000u
#define SCHED_PERIOD_MAX_NS UINT64_C(1000000000)
// A turn on a CPU that others wait for, and how long one lasts at least when somebody wakes up who had less of the CPU:
// what a wake-up waits for at most, if no other woke up before it.
#define SCHED_TURN_NS UINT64_C(4000000)
#define SCHED_SHORT_TURN_NS UINT64_C(1000000)

enum sched_policy {
	SCHED_FAIR,      // those that are ready share the CPU in proportion to their weights
	SCHED_FIXED,     // the highest priority that is ready; equal ones in turns
	SCHED_DEDICATED, // one entity only
};

enum sched_state {
	SCHED_BLOCKED, // not in any queue
	SCHED_READY,   // in the queue of its home CPU
	SCHED_RUNNING, // what its home CPU works for
	SCHED_THROTTLED, // would be ready, but its budget is used up: in the queue of those that wait for their next period
};

struct sched_params {
	uint64_t cpus;     // it may run on, bit n: CPU n
	uint32_t weight;   // 1 to SCHED_WEIGHT_MAX; fair
	uint32_t priority; // up to SCHED_PRIORITY_MAX, the larger goes first; fixed
	// Of every period it gets `budget` at most; 0 <= budget <= period <= SCHED_PERIOD_MAX_NS, budget 0: no limit. A
	// period begins with a wake-up (when the last one is over, or too much is left of it for what is left in it), and
	// where one ends while it is awake. What it did not use in a period is gone, what it used too much comes off the
	// next one.
	uint64_t period_ns, budget_ns;
};

struct sched_entity {
	struct heap_node node; // while READY or THROTTLED
	struct sched_params params;
	uint32_t cpu;   // home
	uint32_t state; // enum sched_state
	// Smaller goes first. Fair: what it had of the CPU, over its weight. Fixed: priority, then how long it waits.
	uint64_t order;
	int64_t left_ns; // of the budget
	uint64_t period_end_ns;
};

// Boot, each CPU before it is used: fair.
void sched_cpu_init(uint32_t cpu);
// Before anything is added there.
void sched_policy_set(uint32_t cpu, enum sched_policy policy);
// Takes an entity in, blocked, and picks its home among the CPUs that it may run on and that are in `online`: the one
// with the fewest entities, whose budgets leave room for it. A dedicated CPU has room for one.
// -ERR_NOENT: there is none.
__must_check int sched_add(struct sched_entity *e, const struct sched_params *params, uint64_t online);
// On its home CPU: it can no longer run, and gives up its place there. It may be added again.
void sched_remove(struct sched_entity *e, uint64_t now_ns);
// It is ready from now on; if it was not blocked, nothing happens. Returns the CPU that has to call sched_pick for it,
// SCHED_CPU_NONE when that one has something better to do. Any CPU.
__must_check uint32_t sched_wake(struct sched_entity *e, uint64_t now_ns);
// On its home CPU: it can no longer run.
void sched_block(struct sched_entity *e, uint64_t now_ns);
// On the CPU whose running entity waits in a loop: the rest of its turn goes to the next one, if its policy lets that
// have it. Call sched_pick then.
void sched_give_way(uint32_t cpu, uint64_t now_ns);
// What this CPU should work for from now on, NULL when nothing is ready, and at what time to ask again at the latest
// (*until_ns, SCHED_NEVER: no need; always so when one entity without a budget is alone).
struct sched_entity *sched_pick(uint32_t cpu, uint64_t now_ns, uint64_t *until_ns);
