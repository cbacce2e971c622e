// SPDX-License-Identifier: Apache-2.0
// The one lock: a fair ticket spin lock, held with interrupts off. Every lock has a rank, and a CPU takes
// locks in ascending rank only, so no two can be taken in opposite orders. clang checks statically what a
// lock guards (make check); builds with LOCK_DEBUG check rank and owner at run time.
#pragma once

#include "kernel/lib/types.h"

#if defined(__clang__)
#define LOCK_ATTRIBUTE(x) __attribute__((x))
#else
#define LOCK_ATTRIBUTE(x)
#endif
#define __lock_type LOCK_ATTRIBUTE(capability("lock"))
// File-scope data. clang's C front end cannot name a sibling member, so for members __guarded_by is a word to
// the reader, and their functions say __requires_lock.
#define __guarded_by_global(lock) LOCK_ATTRIBUTE(guarded_by(lock))
#define __guarded_by(lock)
#define __requires_lock(...) LOCK_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define __acquires(...) LOCK_ATTRIBUTE(acquire_capability(__VA_ARGS__))
#define __releases(...) LOCK_ATTRIBUTE(release_capability(__VA_ARGS__))
#define __try_acquires(...) LOCK_ATTRIBUTE(try_acquire_capability(__VA_ARGS__))
#define __asserts_lock(...) LOCK_ATTRIBUTE(assert_capability(__VA_ARGS__))
// For the body of the lock itself, and for initialisation before the object is published.
#define __no_lock_analysis LOCK_ATTRIBUTE(no_thread_safety_analysis)

#if !defined(LOCK_DEBUG)
#define LOCK_DEBUG 0
#endif

// Outermost first: while holding one, a CPU may take only locks further down.
enum lock_rank {
	LOCK_RANK_VM_TABLE = 1, // the table of VMs, ids and reference counts
	LOCK_RANK_VM,           // one VM's lifecycle state
	LOCK_RANK_SLOTS,        // a VM's memory slots, writer side
	LOCK_RANK_DEVICES,      // a VM's virtual devices
	LOCK_RANK_VCPU,         // one vCPU's pending events
	LOCK_RANK_TIMERS,       // a timer queue
	LOCK_RANK_SCHED,        // a CPU's run queue
	LOCK_RANK_NESTED_PAGES, // a VM's nested page table
	LOCK_RANK_HOST_PAGES,   // the host's page table
	LOCK_RANK_FRAMES,       // the frame allocator
	LOCK_RANK_IRQ_CHIP,     // host interrupt controllers
	LOCK_RANK_QUIESCE,      // what waits to be freed
	LOCK_RANK_PORTS,        // what VMs write to the console, and who reads
	LOCK_RANK_CONSOLE,      // innermost: anything may log
};

struct __lock_type lock {
	uint16_t next;    // ticket handed out next
	uint16_t serving; // ticket that holds the lock
	uint8_t rank;     // enum lock_rank, 0 is a lock that was never initialised
};

#define LOCK_INIT(lock_rank)                                                                                 \
	{ .rank = (lock_rank) }
static inline void lock_init(struct lock *lock, enum lock_rank rank) {
	*lock = (struct lock)LOCK_INIT((uint8_t)rank);
}

void lock_acquire(struct lock *lock) __acquires(lock);
void lock_release(struct lock *lock) __releases(lock);
// Never spins; true when the lock was taken.
__must_check bool lock_try(struct lock *lock) __try_acquires(true, lock);
// States (and checks in debug builds) that this CPU holds the lock.
void lock_assert_held(struct lock *lock) __asserts_lock(lock);

// Called in every turn of a contended wait: serves this CPU's remote-call mailbox, so that the holder may
// wait for our acknowledgement. It takes no lock. Set once at boot.
void lock_wait_hook_set(void (*hook)(void));

// What one CPU holds, in the order taken; the debug checks keep it. `current` returns this CPU's record and
// is set once per-CPU data exists (until then nothing is checked). Without LOCK_DEBUG neither is used.
#define LOCK_HELD_MAX 12u
struct lock_held {
	uint32_t count;
	struct lock *lock[LOCK_HELD_MAX];
};
void lock_debug_set(struct lock_held *(*current)(void));
