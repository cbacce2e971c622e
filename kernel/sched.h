// SPDX-License-Identifier: Apache-2.0
// The scheduler: which entity a CPU works for, and for how long. An entity is a vCPU (later also a job); it owns no
// stack. Every CPU has a run queue and a policy of its own. Pure decisions: whoever calls does the switching, the timers
// and the interrupts between CPUs, so the host tests run thousands of entities in simulated time.
//
// Every entity has a home CPU, whose queue it is in when it is ready. Locks: one a queue (LOCK_RANK_SCHED), never two
// at once. Times are in nanoseconds of a clock that never goes back and that all CPUs share.
#pragma once

#include "kernel/lib/list.h"
#include "kernel/smp.h"

#define SCHED_CPU_NONE UINT32_MAX
#define SCHED_NEVER UINT64_MAX

enum sched_state {
	SCHED_BLOCKED, // not in any queue
	SCHED_READY,   // in the queue of its home CPU
	SCHED_RUNNING, // what its home CPU works for
};

struct sched_params {
	uint64_t cpus; // it may run on, bit n: CPU n
};

struct sched_entity {
	struct list node;
	struct sched_params params;
	uint32_t cpu;   // home
	uint32_t state; // enum sched_state
};

// Boot, each CPU before it is used.
void sched_cpu_init(uint32_t cpu);
// Takes an entity in, blocked, and picks its home among the CPUs that it may run on and that are in `online`.
// -ERR_NOENT: there is none.
__must_check int sched_add(struct sched_entity *e, const struct sched_params *params, uint64_t online);
// It is ready from now on; ready already: nothing happens. Returns the CPU that has to call sched_pick for it,
// SCHED_CPU_NONE when that one has something better to do.
__must_check uint32_t sched_wake(struct sched_entity *e, uint64_t now_ns);
// On its home CPU: it can no longer run.
void sched_block(struct sched_entity *e, uint64_t now_ns);
// What this CPU should work for from now on, NULL when nothing is ready, and at what time to ask again at the latest
// (*until_ns, SCHED_NEVER: no need).
struct sched_entity *sched_pick(uint32_t cpu, uint64_t now_ns, uint64_t *until_ns);
