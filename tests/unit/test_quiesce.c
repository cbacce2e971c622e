// SPDX-License-Identifier: Apache-2.0
// Quiescence on simulated CPUs: whatever the order of swaps, reads and passes, nothing is freed while a CPU can hold
// it, and everything is freed once all have come by.
#include "kernel/quiesce.h"
#include "kernel/smp.h"
#include "tests/unit/support.h"

#define CPUS 7u
#define LATE_CPU 6u // comes online half-way
#define OBJECTS 64u
#define ROUNDS 200000u

struct object {
	struct quiesce_item item;
	bool free;
};

static struct object object[OBJECTS];
static struct object *published;
static struct object *holds[CPUS]; // what each CPU read since it was at the top of its loop
static bool kicked[CPUS];
static uint32_t self, freed;

static uint32_t machine_self(void) { return self; }
static void machine_kick(uint32_t cpu) { kicked[cpu] = true; }
static const struct smp_machine machine = {.self = machine_self, .kick = machine_kick};

static struct object *object_take(void) {
	for (unsigned i = 0; i < OBJECTS; i++)
		if (object[i].free) {
			object[i].free = false;
			return &object[i];
		}
	return NULL;
}

static void object_free(struct quiesce_item *item) {
	struct object *o = container_of(item, struct object, item);
	assert_false(o->free);
	assert_ptr_not_equal(o, published);
	for (unsigned cpu = 0; cpu < CPUS; cpu++) assert_ptr_not_equal(holds[cpu], o);
	memset(&o->item, 0xA5, sizeof o->item); // as the memory of somebody else
	o->free = true;
	freed++;
}

static bool object_swap(void) {
	struct object *o = object_take();
	if (o == NULL) return false;
	struct object *old = published;
	published = o;
	quiesce_defer(&old->item, object_free);
	return true;
}

// The top of a CPU's run loop.
static void loop_top(void) {
	holds[self] = NULL;
	if (!kicked[self]) return;
	kicked[self] = false;
	if (quiesce_wanted()) quiesce_pass();
}

static int setup(void **state) {
	(void)state;
	smp_init(&machine);
	for (self = 0; self < LATE_CPU; self++) smp_online();
	self = 0;
	for (unsigned i = 0; i < OBJECTS; i++) object[i].free = true;
	published = object_take();
	return 0;
}

static void all_pass(uint32_t cpus) {
	for (unsigned twice = 0; twice < 2; twice++)
		for (self = 0; self < cpus; self++) loop_top();
	self = 0;
}

static void quiesce_defer_waits_for_the_last_cpu(void **state) {
	(void)state;
	uint32_t before = freed;
	assert_true(object_swap());
	for (self = 0; self < LATE_CPU; self++) {
		assert_int_equal(freed, before);
		assert_true(quiesce_wanted());
		loop_top();
		assert_false(quiesce_wanted());
	}
	assert_int_equal(freed, before + 1);
	self = 0;
}

static void quiesce_defer_during_a_period_begins_its_own(void **state) {
	(void)state;
	uint32_t before = freed;
	assert_true(object_swap());
	for (self = 0; self < LATE_CPU - 1; self++) loop_top();
	assert_true(object_swap()); // by the last one, which alone has not passed
	assert_true(object_swap());
	loop_top();
	assert_int_equal(freed, before + 1);
	for (self = 0; self < LATE_CPU - 1; self++) loop_top();
	assert_int_equal(freed, before + 1);
	loop_top();
	assert_int_equal(freed, before + 3);
	self = 0;
}

static void quiesce_pass_unasked_changes_nothing(void **state) {
	(void)state;
	uint32_t before = freed;
	assert_false(quiesce_wanted());
	quiesce_pass();
	assert_true(object_swap());
	for (unsigned i = 0; i < 3; i++) quiesce_pass(); // one CPU alone does not end it
	assert_int_equal(freed, before);
	all_pass(LATE_CPU);
	assert_int_equal(freed, before + 1);
}

static void quiesce_random_nothing_is_freed_while_held(void **state) {
	(void)state;
	struct rng rng;
	uint32_t before = freed, swaps = 0, cpus = LATE_CPU;
	rng_init(&rng, 20260102);
	for (unsigned round = 0; round < ROUNDS; round++) {
		if (round == ROUNDS / 2) {
			self = LATE_CPU;
			smp_online();
			cpus = CPUS;
		}
		self = (uint32_t)rng_below(&rng, cpus);
		switch (rng_below(&rng, 4)) {
		case 0: swaps += object_swap(); break;
		case 1: holds[self] = published; break;
		default: loop_top(); break;
		}
	}
	all_pass(cpus);
	assert_int_equal(freed - before, swaps);
	assert_true(swaps > ROUNDS / 100);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(quiesce_defer_waits_for_the_last_cpu),
	    cmocka_unit_test(quiesce_defer_during_a_period_begins_its_own),
	    cmocka_unit_test(quiesce_pass_unasked_changes_nothing),
	    cmocka_unit_test(quiesce_random_nothing_is_freed_while_held),
	};
	return cmocka_run_group_tests(tests, setup, NULL);
}
