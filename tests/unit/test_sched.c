// SPDX-License-Identifier: Apache-2.0
// kernel/sched in simulated time: shares, latency, starvation, priorities and budgets with thousands of entities, by
// properties of what was given to whom; who picks is late by a random time, as a hypervisor is.
#include "tests/unit/support.h"

#include <stdlib.h>

#include "kernel/lib/err.h"
#include "kernel/sched.h"

#define MS UINT64_C(1000000)
#define US UINT64_C(1000)
#define ENTITIES 4000u
#define ALL_CPUS UINT64_MAX

static struct sched_entity entity[ENTITIES];
static uint64_t ran_ns[ENTITIES]; // what each got in all
static uint64_t now_ns, idle_ns;
static uint32_t cpu; // a fresh one each test

static int setup(void **state __unused_arg) {
	sched_cpu_init(++cpu);
	memset(ran_ns, 0, sizeof ran_ns);
	now_ns = (uint64_t)cpu * 1000 * MS;
	idle_ns = 0;
	srandom(7);
	return 0;
}

static uint64_t below(uint64_t n) { return (uint64_t)random() % n; }

static void add(unsigned i, struct sched_params params) {
	params.cpus = UINT64_C(1) << cpu;
	if (params.weight == 0) params.weight = 100;
	assert_int_equal(sched_add(&entity[i], &params, ALL_CPUS), 0);
}

static bool wake(unsigned i) { return sched_wake(&entity[i], now_ns) != SCHED_CPU_NONE; }

// Works for what is picked until the time to ask again, or until `end_ns`. Returns its number, ENTITIES: idle.
static unsigned step(uint64_t end_ns, uint64_t late_ns) {
	uint64_t until_ns;
	struct sched_entity *e = sched_pick(cpu, now_ns, &until_ns);
	assert_true(until_ns > now_ns);
	uint64_t to_ns = until_ns < end_ns ? until_ns + (late_ns == 0 ? 0 : below(late_ns)) : end_ns;
	unsigned i = e == NULL ? ENTITIES : (unsigned)(e - entity);
	if (e != NULL)
		ran_ns[i] += to_ns - now_ns;
	else
		idle_ns += to_ns - now_ns;
	now_ns = to_ns;
	return i;
}

static void simulate(uint64_t ns, uint64_t late_ns) {
	for (uint64_t end_ns = now_ns + ns; now_ns < end_ns;) (void)step(end_ns, late_ns);
}

// Within 1 / `part` of `expected`.
static void assert_near(uint64_t got, uint64_t expected, uint64_t part) {
	assert_in_range(got, expected - expected / part, expected + expected / part);
}

// ---- fair ------------------------------------------------------------------------------------------------------

static void pick_alone_never_asks_again(void **state __unused_arg) {
	uint64_t until_ns;
	add(0, (struct sched_params){0});
	assert_null(sched_pick(cpu, now_ns, &until_ns));
	assert_true(until_ns == SCHED_NEVER);
	assert_true(wake(0));
	assert_ptr_equal(sched_pick(cpu, now_ns, &until_ns), &entity[0]);
	assert_true(until_ns == SCHED_NEVER);
	sched_block(&entity[0], now_ns);
	assert_null(sched_pick(cpu, now_ns, &until_ns));
	assert_true(until_ns == SCHED_NEVER);
}

static void fair_shares_follow_weights_of_a_few(void **state __unused_arg) {
	static const uint32_t weight[] = {100, 200, 700, 1, 10000};
	uint64_t sum = 0;
	for (unsigned i = 0; i < array_count(weight); i++) {
		add(i, (struct sched_params){.weight = weight[i]});
		sum += weight[i];
		(void)wake(i);
	}
	simulate(10000 * MS, 20 * US);
	for (unsigned i = 0; i < array_count(weight); i++) { // each may be a turn ahead
		uint64_t share_ns = 10000 * MS * weight[i] / sum;
		assert_in_range(ran_ns[i] + 4 * SCHED_TURN_NS, share_ns, share_ns + 5 * SCHED_TURN_NS);
	}
	assert_int_equal(idle_ns, 0);
}

static void fair_shares_follow_weights_of_thousands(void **state __unused_arg) {
	uint64_t sum = 0, all_ns = 8000000 * MS;
	for (unsigned i = 0; i < ENTITIES; i++) {
		uint32_t weight = 100 + (uint32_t)below(900);
		add(i, (struct sched_params){.weight = weight});
		sum += weight;
		(void)wake(i);
	}
	simulate(all_ns, 0);
	for (unsigned i = 0; i < ENTITIES; i++) // within a turn and 1 %
		assert_in_range(ran_ns[i] + 2 * SCHED_TURN_NS, all_ns / sum * entity[i].params.weight * 99 / 100,
		                all_ns / sum * entity[i].params.weight * 101 / 100 + 4 * SCHED_TURN_NS);
}

// Half of them sleep and wake at random, the other half always run: the sleepers never get more than their share of
// any stretch in which they were awake, and nobody that is awake waits for longer than everybody's turn.
static void fair_nobody_starves_among_sleepers(void **state __unused_arg) {
	enum { N = 200 };
	uint64_t last_ns[N];
	for (unsigned i = 0; i < N; i++) {
		add(i, (struct sched_params){0});
		(void)wake(i);
		last_ns[i] = now_ns;
	}
	for (unsigned n = 0; n < 200000; n++) {
		unsigned i = step(now_ns + 1 + below(5 * MS), 10 * US);
		if (i < N) {
			assert_true(now_ns - last_ns[i] < 3 * N * SCHED_TURN_NS);
			last_ns[i] = now_ns;
			if (i % 2 == 1 && below(2)) sched_block(&entity[i], now_ns);
		}
		unsigned other = (unsigned)below(N) | 1;
		if (entity[other].state == SCHED_BLOCKED) {
			last_ns[other] = now_ns;
			(void)wake(other);
		}
	}
	uint64_t most = 0, least = UINT64_MAX;
	for (unsigned i = 0; i < N; i += 2) { // those that are always awake are all the same
		if (ran_ns[i] > most) most = ran_ns[i];
		if (ran_ns[i] < least) least = ran_ns[i];
	}
	assert_true(most - least <= 3 * SCHED_TURN_NS);
	for (unsigned i = 1; i < N; i += 2) assert_true(ran_ns[i] <= most + 3 * SCHED_TURN_NS);
}

// Among thousands that always run, one that sleeps most of the time gets the CPU within a short turn.
static void fair_wake_up_latency_is_bounded(void **state __unused_arg) {
	for (unsigned i = 0; i < ENTITIES; i++) {
		add(i, (struct sched_params){.weight = i == 0 ? 10000 : 1 + (uint32_t)below(9999)});
		if (i > 0) (void)wake(i);
	}
	simulate(50000 * MS, 0);
	for (unsigned n = 0; n < 300; n++) {
		simulate(200 * MS + below(20 * MS), 0);
		uint64_t woken_ns = now_ns;
		(void)wake(0);
		while (step(now_ns + 10 * US, 0) != 0) {
		}
		assert_true(now_ns - 10 * US - woken_ns <= SCHED_SHORT_TURN_NS);
		sched_block(&entity[0], now_ns);
	}
}

static void fair_sleep_saves_nothing_up(void **state __unused_arg) {
	add(0, (struct sched_params){0});
	add(1, (struct sched_params){0});
	(void)wake(0);
	simulate(100000 * MS, 0);
	ran_ns[0] = 0;
	(void)wake(1);
	simulate(1000 * MS, 0);
	assert_near(ran_ns[0], 500 * MS, 50);
}

static void yield_lets_the_next_go_first(void **state __unused_arg) {
	add(0, (struct sched_params){.weight = 10000});
	add(1, (struct sched_params){.weight = 1});
	(void)wake(0);
	(void)wake(1);
	simulate(100 * MS, 0);
	for (unsigned n = 0; n < 1000; n++) {
		unsigned i = step(now_ns + 10 * US, 0);
		if (i == 0) {
			sched_give_way(cpu, now_ns);
			assert_int_equal(step(now_ns + 10 * US, 0), 1);
		}
	}
	assert_true(ran_ns[1] > 4 * MS);
}

static void yield_alone_changes_nothing(void **state __unused_arg) {
	add(0, (struct sched_params){0});
	sched_give_way(cpu, now_ns);
	(void)wake(0);
	assert_int_equal(step(now_ns + MS, 0), 0);
	sched_give_way(cpu, now_ns);
	assert_int_equal(step(now_ns + MS, 0), 0);
}

// ---- fixed priority and budgets --------------------------------------------------------------------------------

static void fixed_highest_runs_at_once(void **state __unused_arg) {
	sched_policy_set(cpu, SCHED_FIXED);
	for (unsigned i = 0; i < 100; i++) add(i, (struct sched_params){.priority = i});
	for (unsigned n = 0; n < 20000; n++) {
		unsigned i = (unsigned)below(100), top = 100;
		if (entity[i].state != SCHED_BLOCKED)
			sched_block(&entity[i], now_ns);
		else
			(void)wake(i);
		for (unsigned k = 0; k < 100; k++)
			if (entity[k].state != SCHED_BLOCKED) top = k;
		assert_int_equal(step(now_ns + below(10 * MS) + 1, 0), top == 100 ? ENTITIES : top);
	}
}

static void fixed_lower_priority_arms_no_timer(void **state __unused_arg) {
	uint64_t until_ns;
	sched_policy_set(cpu, SCHED_FIXED);
	add(0, (struct sched_params){.priority = 1});
	add(1, (struct sched_params){.priority = 2});
	(void)wake(0);
	(void)wake(1);
	assert_ptr_equal(sched_pick(cpu, now_ns, &until_ns), &entity[1]);
	assert_true(until_ns == SCHED_NEVER);
}

static void fixed_equals_take_turns(void **state __unused_arg) {
	sched_policy_set(cpu, SCHED_FIXED);
	for (unsigned i = 0; i < 10; i++) {
		add(i, (struct sched_params){.priority = 5});
		(void)wake(i);
	}
	simulate(4000 * MS, 0);
	for (unsigned i = 0; i < 10; i++) assert_near(ran_ns[i], 400 * MS, 50);
}

static void budget_is_all_a_busy_one_gets(void **state __unused_arg) {
	sched_policy_set(cpu, SCHED_FIXED);
	add(0, (struct sched_params){.priority = 9, .period_ns = 10 * MS, .budget_ns = 3 * MS});
	add(1, (struct sched_params){.priority = 1});
	(void)wake(0);
	(void)wake(1);
	for (unsigned n = 1; n <= 500; n++) { // in each period, not only in the end
		simulate(10 * MS, 0);
		assert_int_equal(ran_ns[0], n * 3 * MS);
	}
	simulate(5000 * MS, 100 * US); // what a late timer gave too much comes off the next
	assert_near(ran_ns[0], 3000 * MS, 1000);
	assert_int_equal(idle_ns, 0);
}

static void budget_limits_on_a_fair_cpu_too(void **state __unused_arg) {
	add(0, (struct sched_params){.period_ns = 20 * MS, .budget_ns = 2 * MS});
	(void)wake(0);
	simulate(10000 * MS, 0);
	assert_near(ran_ns[0], 1000 * MS, 1000);
	assert_near(idle_ns, 9000 * MS, 1000);
}

// Thousands with random budgets that add up to 90 % of the CPU, all of the same priority or all different, sleeping and
// waking at random: nobody gets more than budget / period of any stretch from its first wake-up on and one budget.
static void budgets_of_thousands_hold(void **state __unused_arg) {
	static uint64_t begin_ns[ENTITIES];
	sched_policy_set(cpu, SCHED_FIXED);
	for (unsigned i = 0; i < ENTITIES; i++) {
		uint64_t period_ns = (100 + below(900)) * MS;
		add(i, (struct sched_params){.priority = (uint32_t)below(100),
		                             .period_ns = period_ns,
		                             .budget_ns = period_ns * 9 / 10 / ENTITIES});
		begin_ns[i] = now_ns;
		(void)wake(i);
	}
	for (unsigned n = 0; n < 400000; n++) {
		unsigned i = step(now_ns + 1 + below(MS), 0), other = (unsigned)below(ENTITIES);
		if (i < ENTITIES) {
			const struct sched_params *p = &entity[i].params;
			double most = (double)(now_ns - begin_ns[i]) * (double)p->budget_ns / (double)p->period_ns;
			assert_true((double)ran_ns[i] <= most + (double)p->budget_ns + 1);
			if (below(4) == 0) sched_block(&entity[i], now_ns);
		}
		if (entity[other].state == SCHED_BLOCKED) (void)wake(other);
	}
}

// Rate-monotonic priorities under the bound of Liu and Layland: every one that is always awake gets its whole budget in
// each of its periods, however the others behave.
static void budgets_are_given_in_every_period(void **state __unused_arg) {
	enum { N = 8 };
	uint64_t begin_ns = now_ns, at_begin[N] = {0}, end_ns[N];
	sched_policy_set(cpu, SCHED_FIXED);
	for (unsigned i = 0; i < N; i++) {
		uint64_t period_ns = (10 + 7 * i) * MS;
		add(i,
		    (struct sched_params){.priority = 50 - i, .period_ns = period_ns, .budget_ns = period_ns / 12});
		(void)wake(i);
		end_ns[i] = begin_ns + period_ns;
	}
	add(N, (struct sched_params){.priority = 0});
	(void)wake(N);
	for (unsigned n = 0; n < 100000; n++) {
		uint64_t next_ns = UINT64_MAX;
		for (unsigned i = 0; i < N; i++)
			if (end_ns[i] < next_ns) next_ns = end_ns[i];
		(void)step(next_ns, 0);
		for (unsigned i = 0; i < N; i++) {
			if (now_ns < end_ns[i]) continue;
			assert_int_equal(ran_ns[i] - at_begin[i], entity[i].params.budget_ns);
			at_begin[i] = ran_ns[i];
			end_ns[i] += entity[i].params.period_ns;
		}
	}
	assert_int_equal(idle_ns, 0);
}

// ---- homes -----------------------------------------------------------------------------------------------------

static int add_to(unsigned i, uint64_t cpus, uint64_t budget_ns) {
	const struct sched_params params = {
	    .cpus = cpus, .weight = 1, .period_ns = budget_ns != 0 ? 100 * MS : 0, .budget_ns = budget_ns};
	return sched_add(&entity[i], &params, ALL_CPUS);
}

static void add_spreads_over_allowed_cpus(void **state __unused_arg) {
	sched_cpu_init(++cpu);
	sched_cpu_init(++cpu);
	uint64_t cpus = UINT64_C(7) << (cpu - 2);
	for (unsigned i = 0; i < 9; i++) assert_int_equal(add_to(i, cpus, 0), 0);
	for (unsigned i = 0; i < 9; i++) assert_int_equal(entity[i].cpu, cpu - 2 + i % 3);
	sched_remove(&entity[4], now_ns);
	assert_int_equal(add_to(4, cpus, 0), 0);
	assert_int_equal(entity[4].cpu, cpu - 1);
	assert_int_equal(sched_add(&entity[9], &entity[0].params, ~cpus), -ERR_NOENT);
}

static void add_full_cpu_is_refused(void **state __unused_arg) {
	uint64_t cpus = UINT64_C(1) << cpu;
	assert_int_equal(add_to(0, cpus, 60 * MS), 0);
	assert_int_equal(add_to(1, cpus, 41 * MS), -ERR_NOENT);
	assert_int_equal(add_to(1, cpus, 40 * MS), 0);
	assert_int_equal(add_to(2, cpus, 0), 0);
	sched_remove(&entity[0], now_ns);
	assert_int_equal(add_to(0, cpus, 60 * MS), 0);
}

static void add_dedicated_cpu_takes_one(void **state __unused_arg) {
	sched_policy_set(cpu, SCHED_DEDICATED);
	assert_int_equal(add_to(0, UINT64_C(1) << cpu, 0), 0);
	assert_int_equal(add_to(1, UINT64_C(1) << cpu, 0), -ERR_NOENT);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(pick_alone_never_asks_again, setup),
	    cmocka_unit_test_setup(fair_shares_follow_weights_of_a_few, setup),
	    cmocka_unit_test_setup(fair_shares_follow_weights_of_thousands, setup),
	    cmocka_unit_test_setup(fair_nobody_starves_among_sleepers, setup),
	    cmocka_unit_test_setup(fair_wake_up_latency_is_bounded, setup),
	    cmocka_unit_test_setup(fair_sleep_saves_nothing_up, setup),
	    cmocka_unit_test_setup(yield_lets_the_next_go_first, setup),
	    cmocka_unit_test_setup(yield_alone_changes_nothing, setup),
	    cmocka_unit_test_setup(fixed_highest_runs_at_once, setup),
	    cmocka_unit_test_setup(fixed_lower_priority_arms_no_timer, setup),
	    cmocka_unit_test_setup(fixed_equals_take_turns, setup),
	    cmocka_unit_test_setup(budget_is_all_a_busy_one_gets, setup),
	    cmocka_unit_test_setup(budget_limits_on_a_fair_cpu_too, setup),
	    cmocka_unit_test_setup(budgets_of_thousands_hold, setup),
	    cmocka_unit_test_setup(budgets_are_given_in_every_period, setup),
	    cmocka_unit_test_setup(add_spreads_over_allowed_cpus, setup),
	    cmocka_unit_test_setup(add_full_cpu_is_refused, setup),
	    cmocka_unit_test_setup(add_dedicated_cpu_takes_one, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
