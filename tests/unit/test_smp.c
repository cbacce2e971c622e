// SPDX-License-Identifier: Apache-2.0
// Remote calls between threads that play CPUs: each call runs once, on the CPU it was meant for, before the caller goes
// on; CPUs that call each other, or hold a lock that the other waits for, do not stand still.
#include <pthread.h>
#include <sched.h>

#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"
#include "kernel/lib/lock.h"
#include "kernel/smp.h"
#include "tests/unit/support.h"

#define CPUS 3u
#define CALLS 1000u

static _Thread_local uint32_t self;
static uint32_t running; // CPUs that have not finished their part
static uint64_t kicks[CPUS], served[CPUS];
static struct lock lock = LOCK_INIT(LOCK_RANK_VM);

// Asked in every turn of a wait: there may be fewer CPUs than threads.
static uint32_t machine_self(void) {
	sched_yield();
	return self;
}
static void machine_kick(uint32_t cpu) { __atomic_fetch_add(&kicks[cpu], 1, __ATOMIC_RELAXED); }
static const struct smp_machine machine = {.self = machine_self, .kick = machine_kick};

struct where {
	uint64_t cpus; // bit n: it ran on CPU n
	uint32_t runs;
};

static void ran(void *arg) {
	struct where *w = arg;
	__atomic_fetch_or(&w->cpus, BIT64(self), __ATOMIC_RELAXED);
	__atomic_fetch_add(&w->runs, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&served[self], 1, __ATOMIC_RELAXED);
}

static int setup(void **state) {
	(void)state;
	smp_call_others(ran, NULL); // before smp_init there is nobody
	smp_init(&machine);
	for (self = 0; self < CPUS; self++) smp_online();
	self = 0;
	return 0;
}

static void smp_call_self_runs_at_once(void **state) {
	(void)state;
	struct where w = {0};
	assert_int_equal(smp_call(0, ran, &w), 0);
	assert_int_equal(w.cpus, 1);
	assert_int_equal(w.runs, 1);
	assert_int_equal(kicks[0], 0);
}

static void smp_call_absent_cpu_is_refused(void **state) {
	(void)state;
	assert_int_equal(smp_call(CPUS, ran, NULL), -ERR_NOENT);
	assert_int_equal(smp_call(SMP_CPU_MAX, ran, NULL), -ERR_NOENT);
	assert_int_equal(smp_online_mask(), MASK64(CPUS - 1, 0));
}

// What a thread may not do by cmocka's assertions is counted instead.
static uint32_t wrong;
static void expect(bool good) {
	if (!good) __atomic_fetch_add(&wrong, 1, __ATOMIC_RELAXED);
}

static void part(struct rng *rng) {
	struct where w = {0};
	uint32_t cpu = (uint32_t)rng_below(rng, CPUS);
	switch (rng_below(rng, 4)) {
	case 0:
		smp_call_all(ran, &w);
		expect(w.cpus == MASK64(CPUS - 1, 0) && w.runs == CPUS);
		break;
	case 1:
		lock_acquire(&lock); // the others may wait for it, and serve
		smp_call_others(ran, &w);
		lock_release(&lock);
		expect(w.cpus == (MASK64(CPUS - 1, 0) & ~BIT64(self)) && w.runs == CPUS - 1);
		break;
	case 2: smp_serve(); break;
	default: expect(smp_call(cpu, ran, &w) == 0 && w.cpus == BIT64(cpu) && w.runs == 1); break;
	}
}

static void *cpu_main(void *arg) {
	struct rng rng = {.state = 1 + (uint64_t)(uintptr_t)arg};
	self = (uint32_t)(uintptr_t)arg;
	for (unsigned i = 0; i < CALLS; i++) part(&rng);
	__atomic_fetch_sub(&running, 1, __ATOMIC_RELEASE);
	while (__atomic_load_n(&running, __ATOMIC_ACQUIRE) != 0) { // idle, but there for the others
		smp_serve();
		sched_yield();
	}
	return NULL;
}

static void smp_call_between_all_cpus_never_stands_still(void **state) {
	(void)state;
	pthread_t thread[CPUS];
	running = CPUS;
	for (uintptr_t i = 1; i < CPUS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, cpu_main, (void *)i), 0);
	cpu_main((void *)(uintptr_t)0);
	for (unsigned i = 1; i < CPUS; i++) assert_int_equal(pthread_join(thread[i], NULL), 0);
	assert_int_equal(wrong, 0);
	for (unsigned i = 0; i < CPUS; i++) assert_true(kicks[i] > 0 && served[i] >= kicks[i]);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(smp_call_self_runs_at_once),
	    cmocka_unit_test(smp_call_absent_cpu_is_refused),
	    cmocka_unit_test(smp_call_between_all_cpus_never_stands_still),
	};
	return cmocka_run_group_tests(tests, setup, NULL);
}
