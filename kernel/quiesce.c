// SPDX-License-Identifier: Apache-2.0
// Items wait in two batches: `waiting`, whose grace period runs (`missing`: CPUs that have not passed since it began),
// and `next`, what came meanwhile and begins a period of its own when that ends. The lock orders everything: a CPU that
// passes sees each swap made before the period began, and what it did before is done.
#include "kernel/quiesce.h"

#include "kernel/lib/bits.h"
#include "kernel/lib/lock.h"
#include "kernel/smp.h"

struct batch {
	struct quiesce_item *first, **last;
};

static struct lock lock = LOCK_INIT(LOCK_RANK_QUIESCE);
static struct batch waiting __guarded_by_global(lock), next __guarded_by_global(lock);
static uint64_t missing; // written under the lock, read by quiesce_wanted without

static void batch_add(struct batch *b, struct quiesce_item *item) {
	item->next = NULL;
	*(b->first == NULL ? &b->first : b->last) = item;
	b->last = &item->next;
}

// Returns the CPUs to kick, when the lock is released.
static uint64_t period_begin(void) __requires_lock(lock) {
	uint64_t cpus = smp_online_mask();
	__atomic_store_n(&missing, cpus, __ATOMIC_RELAXED);
	return cpus;
}

static void kick_all(uint64_t cpus) {
	for (; cpus != 0; cpus &= cpus - 1) smp_kick(bit_first(cpus));
}

void quiesce_defer(struct quiesce_item *item, void (*run)(struct quiesce_item *item)) {
	uint64_t kick = 0;
	item->run = run;
	lock_acquire(&lock);
	if (waiting.first != NULL) {
		batch_add(&next, item);
	} else {
		batch_add(&waiting, item);
		kick = period_begin();
	}
	lock_release(&lock);
	kick_all(kick);
}

bool quiesce_wanted(void) {
	uint64_t cpus = __atomic_load_n(&missing, __ATOMIC_RELAXED);
	return cpus != 0 && (cpus >> smp_self() & 1) != 0;
}

void quiesce_pass(void) {
	struct quiesce_item *done = NULL;
	uint64_t kick = 0;
	lock_acquire(&lock);
	uint64_t left = missing & ~BIT64(smp_self());
	bool ends = left == 0 && waiting.first != NULL;
	__atomic_store_n(&missing, left, __ATOMIC_RELAXED);
	if (ends) {
		done = waiting.first;
		waiting = next;
		next.first = NULL;
		if (waiting.first != NULL) kick = period_begin();
	}
	lock_release(&lock);
	kick_all(kick);
	while (done != NULL) {
		struct quiesce_item *item = done;
		done = item->next; // the callback frees it
		item->run(item);
	}
}
