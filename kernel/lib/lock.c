// SPDX-License-Identifier: Apache-2.0
// Ticket lock and its debug checks. The acquire load of `serving` pairs with the release store in
// lock_release: what the last holder wrote is seen by the next.
#include "kernel/lib/lock.h"

#include "kernel/lib/assert.h"

static void (*wait_hook)(void);
static struct lock_held *(*held_current)(void);

void lock_wait_hook_set(void (*hook)(void)) { wait_hook = hook; }

void lock_debug_set(struct lock_held *(*current)(void)) { held_current = current; }

static struct lock_held *held_here(void) {
	return LOCK_DEBUG && held_current != NULL ? held_current() : NULL;
}

// Before spinning, so that a wrong order is reported instead of hanging. try: a lock that is not waited
// for cannot deadlock, its rank is free.
static void held_check(const struct lock *lock, bool try) {
	const struct lock_held *held = held_here();

	if (LOCK_DEBUG) assert(lock->rank != 0);
	if (held == NULL) return;
	assert(held->count < LOCK_HELD_MAX);
	for (uint32_t i = 0; i < held->count; i++) {
		assert(held->lock[i] != lock);
		assert(try || held->lock[i]->rank < lock->rank);
	}
}

static void held_push(struct lock *lock) {
	struct lock_held *held = held_here();

	if (held != NULL) held->lock[held->count++] = lock;
}

static void held_remove(const struct lock *lock) {
	struct lock_held *held = held_here();
	uint32_t at = 0;

	if (held == NULL) return;
	while (at < held->count && held->lock[at] != lock) at++;
	assert(at < held->count); // released by a CPU that does not hold it
	held->count--;
	for (; at < held->count; at++) held->lock[at] = held->lock[at + 1];
}

void lock_acquire(struct lock *lock) __no_lock_analysis {
	held_check(lock, false);

	uint16_t ticket = __atomic_fetch_add(&lock->next, 1, __ATOMIC_RELAXED);
	while (__atomic_load_n(&lock->serving, __ATOMIC_ACQUIRE) != ticket) {
		if (wait_hook != NULL) wait_hook();
		__builtin_ia32_pause();
	}
	held_push(lock);
}

bool lock_try(struct lock *lock) __no_lock_analysis {
	held_check(lock, true);

	uint16_t serving = __atomic_load_n(&lock->serving, __ATOMIC_RELAXED);
	uint16_t ticket = serving;
	if (!__atomic_compare_exchange_n(&lock->next, &ticket, (uint16_t)(serving + 1), false, __ATOMIC_ACQUIRE,
	                                 __ATOMIC_RELAXED))
		return false;
	held_push(lock);
	return true;
}

void lock_release(struct lock *lock) __no_lock_analysis {
	held_remove(lock);
	__atomic_store_n(&lock->serving, (uint16_t)(lock->serving + 1), __ATOMIC_RELEASE);
}

void lock_assert_held(struct lock *lock) __no_lock_analysis {
	const struct lock_held *held = held_here();
	bool held_by_this_cpu = held == NULL;

	for (uint32_t i = 0; held != NULL && i < held->count; i++) held_by_this_cpu |= held->lock[i] == lock;
	if (LOCK_DEBUG) assert(held_by_this_cpu);
}
