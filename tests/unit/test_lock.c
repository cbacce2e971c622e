// SPDX-License-Identifier: Apache-2.0
// kernel/lib/lock and seqlock: exclusion between threads, and the debug checks, each of which must abort.
#include "tests/unit/support.h"

#include <pthread.h>
#include <sched.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kernel/lib/lock.h"
#include "kernel/lib/seqlock.h"

static _Thread_local struct lock_held held_by_thread;
static struct lock_held *held_current(void) { return &held_by_thread; }
static void yield_hook(void) { sched_yield(); }

static int setup(void **state __unused_arg) {
	held_by_thread.count = 0;
	lock_debug_set(held_current);
	lock_wait_hook_set(yield_hook);
	return 0;
}

// The checks end in assert_fail, so each misuse runs in a child that must die of SIGABRT.
static void assert_aborts(void (*misuse)(void)) {
	fflush(NULL);
	pid_t child = fork();

	assert_true(child >= 0);
	if (child == 0) {
		signal(SIGABRT, SIG_DFL);
		if (freopen("/dev/null", "w", stderr) == NULL) _exit(1);
		misuse();
		_exit(0);
	}
	int status = 0;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT);
}

static struct lock shared_lock = LOCK_INIT(LOCK_RANK_VM);
static uint64_t shared_count __guarded_by_global(shared_lock);

#define THREAD_ROUNDS 50000u

static void *add_under_lock(void *arg __unused_arg) {
	for (unsigned i = 0; i < THREAD_ROUNDS; i++) {
		lock_acquire(&shared_lock);
		lock_assert_held(&shared_lock);
		shared_count++;
		lock_release(&shared_lock);
	}
	return NULL;
}

static void acquire_threads_exclude_each_other(void **state __unused_arg) {
	pthread_t thread[4];

	for (size_t i = 0; i < array_count(thread); i++)
		assert_int_equal(pthread_create(&thread[i], NULL, add_under_lock, NULL), 0);
	for (size_t i = 0; i < array_count(thread); i++) pthread_join(thread[i], NULL);
	lock_acquire(&shared_lock);
	assert_int_equal(shared_count, array_count(thread) * THREAD_ROUNDS);
	lock_release(&shared_lock);
}

static struct lock outer = LOCK_INIT(LOCK_RANK_VM), inner = LOCK_INIT(LOCK_RANK_SCHED);

static void nested_ascending_is_allowed(void **state __unused_arg) {
	lock_acquire(&outer);
	lock_acquire(&inner);
	lock_release(&outer); // out of order release is legal
	lock_release(&inner);
	assert_int_equal(held_by_thread.count, 0);
}

// cmocka's assertions hide from the analysis that the lock was taken.
static void try_taken_fails_and_free_succeeds(void **state __unused_arg) __no_lock_analysis {
	struct lock lock;

	lock_init(&lock, LOCK_RANK_FRAMES);
	assert_true(lock_try(&lock));
	lock_debug_set(NULL); // another CPU's view: the owner check would fire
	assert_false(lock_try(&lock));
	lock_debug_set(held_current);
	lock_release(&lock);
	assert_true(lock_try(&lock));
	lock_release(&lock);
}

static void misuse_descending(void) __no_lock_analysis {
	lock_acquire(&inner);
	lock_acquire(&outer);
}
static void misuse_twice(void) __no_lock_analysis {
	lock_acquire(&outer);
	lock_acquire(&outer);
}
static void misuse_foreign_release(void) __no_lock_analysis { lock_release(&outer); }
static void misuse_not_held(void) { lock_assert_held(&outer); }
static void misuse_uninitialised(void) {
	struct lock lock = {0};

	lock_acquire(&lock);
	lock_release(&lock);
}

static void acquire_descending_rank_aborts(void **state __unused_arg) { assert_aborts(misuse_descending); }
static void acquire_twice_aborts(void **state __unused_arg) { assert_aborts(misuse_twice); }
static void release_not_owner_aborts(void **state __unused_arg) { assert_aborts(misuse_foreign_release); }
static void assert_held_not_owner_aborts(void **state __unused_arg) { assert_aborts(misuse_not_held); }
static void acquire_uninitialised_aborts(void **state __unused_arg) { assert_aborts(misuse_uninitialised); }

static struct {
	struct seqlock lock;
	uint64_t a, b;
} record;

static void *write_records(void *arg __unused_arg) {
	for (uint64_t i = 1; i <= THREAD_ROUNDS; i++) {
		seqlock_write_begin(&record.lock);
		__atomic_store_n(&record.a, i, __ATOMIC_RELAXED);
		__atomic_store_n(&record.b, ~i, __ATOMIC_RELAXED);
		seqlock_write_end(&record.lock);
	}
	return NULL;
}

static void seqlock_reader_never_sees_torn_record(void **state __unused_arg) {
	pthread_t writer;
	uint64_t a = 0, b = 0;

	record.b = ~record.a;
	assert_int_equal(pthread_create(&writer, NULL, write_records, NULL), 0);
	while (a != THREAD_ROUNDS) {
		uint32_t sequence;

		do {
			sequence = seqlock_read_begin(&record.lock);
			a = __atomic_load_n(&record.a, __ATOMIC_RELAXED);
			b = __atomic_load_n(&record.b, __ATOMIC_RELAXED);
		} while (seqlock_retry(&record.lock, sequence));
		assert_true(a == ~b);
	}
	pthread_join(writer, NULL);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(acquire_threads_exclude_each_other, setup),
	    cmocka_unit_test_setup(nested_ascending_is_allowed, setup),
	    cmocka_unit_test_setup(try_taken_fails_and_free_succeeds, setup),
	    cmocka_unit_test_setup(acquire_descending_rank_aborts, setup),
	    cmocka_unit_test_setup(acquire_twice_aborts, setup),
	    cmocka_unit_test_setup(release_not_owner_aborts, setup),
	    cmocka_unit_test_setup(assert_held_not_owner_aborts, setup),
	    cmocka_unit_test_setup(acquire_uninitialised_aborts, setup),
	    cmocka_unit_test(seqlock_reader_never_sees_torn_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
