// SPDX-License-Identifier: Apache-2.0
// Mailboxes. The sender fills its record, then sets its bit in the receiver's mailbox (release); the receiver takes all
// bits (acquire), runs, and clears its own bit in the sender's record (release), which the sender waits for (acquire).
#include "kernel/smp.h"

#include "kernel/lib/assert.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"
#include "kernel/lib/lock.h"

struct call {
	smp_fn *fn;
	void *arg;
	uint64_t todo; // CPUs that have not run it yet
	bool serving;  // this CPU runs somebody's call
};

static const struct smp_machine *machine;
static uint64_t online;
static struct call call[SMP_CPU_MAX]; // by sender
static uint64_t mailbox[SMP_CPU_MAX]; // by receiver: bit s, sender s wants something
static struct lock_held held[SMP_CPU_MAX];

static struct lock_held *held_current(void) { return &held[machine->self()]; }

void smp_init(const struct smp_machine *m) {
	machine = m;
	lock_wait_hook_set(smp_serve);
	if (LOCK_DEBUG) lock_debug_set(held_current);
}

void smp_online(void) { __atomic_fetch_or(&online, BIT64(machine->self()), __ATOMIC_SEQ_CST); }
uint64_t smp_online_mask(void) { return __atomic_load_n(&online, __ATOMIC_ACQUIRE); }
uint32_t smp_self(void) { return machine->self(); }
void smp_kick(uint32_t cpu) { machine->kick(cpu); }

void smp_serve(void) {
	uint32_t self = machine->self();
	uint64_t senders = __atomic_load_n(&mailbox[self], __ATOMIC_RELAXED);
	if (likely(senders == 0)) return;
	bool was_serving = call[self].serving; // an interrupted call that waits for a lock
	call[self].serving = true;
	senders = __atomic_exchange_n(&mailbox[self], 0, __ATOMIC_ACQUIRE);
	for (; senders != 0; senders &= senders - 1) {
		struct call *c = &call[bit_first(senders)];
		c->fn(c->arg);
		__atomic_fetch_and(&c->todo, ~BIT64(self), __ATOMIC_RELEASE);
	}
	call[self].serving = was_serving;
}

static void call_mask(uint64_t targets, smp_fn *fn, void *arg) {
	uint32_t self = machine->self();
	struct call *c = &call[self];
	assert(!c->serving && c->todo == 0);
	c->fn = fn;
	c->arg = arg;
	__atomic_store_n(&c->todo, targets, __ATOMIC_RELAXED);
	for (uint64_t left = targets; left != 0; left &= left - 1) {
		unsigned cpu = bit_first(left);
		__atomic_fetch_or(&mailbox[cpu], BIT64(self), __ATOMIC_RELEASE);
		machine->kick(cpu);
	}
	while (__atomic_load_n(&c->todo, __ATOMIC_ACQUIRE) != 0) {
		smp_serve();
		__builtin_ia32_pause();
	}
}

int smp_call(uint32_t cpu, smp_fn *fn, void *arg) {
	if (cpu >= SMP_CPU_MAX || (smp_online_mask() >> cpu & 1) == 0) return -ERR_NOENT;
	if (cpu == machine->self())
		fn(arg);
	else
		call_mask(BIT64(cpu), fn, arg);
	return 0;
}

void smp_call_others(smp_fn *fn, void *arg) {
	uint64_t mask = smp_online_mask();
	if (mask == 0) return; // before smp_init
	mask &= ~BIT64(machine->self());
	if (mask != 0) call_mask(mask, fn, arg);
}

void smp_call_all(smp_fn *fn, void *arg) {
	smp_call_others(fn, arg);
	fn(arg);
}
