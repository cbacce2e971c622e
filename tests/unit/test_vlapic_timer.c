// SPDX-License-Identifier: Apache-2.0
// The local APIC's timer: one-shot, periodic and TSC-deadline, late and masked, and random operations with
// saving and loading all the time.
#include "tests/unit/vlapic_rig.h"

static void timer_oneshot_counts_down_and_fires_once(void **state) {
	(void)state;
	enable(0);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x40);
	const unsigned divide[8] = {2, 4, 8, 16, 32, 64, 128, 1};
	for (uint32_t code = 0; code < 8; code++) {
		vlapic_mmio_write(apic(0), MMIO(TIMER_DIVIDE), (code & 3) | (code & 4) << 1);
		vlapic_mmio_write(apic(0), MMIO(TIMER_INITIAL), 1000);
		assert_int_equal(vlapic_mmio_read(apic(0), MMIO(TIMER_CURRENT)), 1000);
		vm_double_run(&vm, 400 * divide[code]);
		assert_int_equal(vlapic_mmio_read(apic(0), MMIO(TIMER_CURRENT)), 600);
		vm_double_run(&vm, 600 * divide[code] - 1);
		assert_int_equal(vlapic_pending(apic(0)), -1);
		vm_double_run(&vm, 1);
		assert_int_equal(taken_by(0x40), 1);
		assert_int_equal(vlapic_mmio_read(apic(0), MMIO(TIMER_CURRENT)), 0);
		assert_int_equal(vlapic_mmio_read(apic(0), MMIO(TIMER_INITIAL)), 1000);
		assert_int_equal(timerq_next(&vm.timers), TIMER_NEVER);
	}
}

static void timer_masked_runs_silently(void **state) {
	(void)state;
	enable(0);
	vlapic_mmio_write(apic(0), MMIO(TIMER_DIVIDE), 0xB);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x10040);
	vlapic_mmio_write(apic(0), MMIO(TIMER_INITIAL), 1000);
	vm_double_run(&vm, 999);
	assert_int_equal(vlapic_mmio_read(apic(0), MMIO(TIMER_CURRENT)), 1);
	vm_double_run(&vm, 10);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x40);
	vm_double_run(&vm, 10000);
	assert_int_equal(vlapic_highest_irr(apic(0)), -1);
}

static void timer_periodic_late_merges_and_keeps_phase(void **state) {
	(void)state;
	enable(0);
	vlapic_mmio_write(apic(0), MMIO(TIMER_DIVIDE), 0xB);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x20040);
	vlapic_mmio_write(apic(0), MMIO(TIMER_INITIAL), 1000000);
	for (unsigned i = 0; i < 3; i++) {
		vm_double_run(&vm, 1000000);
		assert_int_equal(taken_by(0x40), 1);
	}
	vm_double_jump(&vm, 5300000);
	assert_int_equal(taken_by(0x40), 1);
	assert_int_equal(vlapic_pending(apic(0)), -1);
	assert_int_equal(timerq_next(&vm.timers), 9000000);
	assert_int_equal(vlapic_mmio_read(apic(0), MMIO(TIMER_CURRENT)), 700000);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x30040); // masked: no host timer, the count goes on
	assert_int_equal(timerq_next(&vm.timers), TIMER_NEVER);
	vm_double_run(&vm, 10000000);
	assert_int_equal(vlapic_mmio_read(apic(0), MMIO(TIMER_CURRENT)), 700000);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x20040);
	assert_int_equal(timerq_next(&vm.timers), 19000000);
	vlapic_mmio_write(apic(0), MMIO(TIMER_INITIAL), 0);
	assert_int_equal(timerq_next(&vm.timers), TIMER_NEVER);
}

static void timer_periodic_tiny_period_is_bounded(void **state) {
	(void)state;
	enable(0);
	vlapic_mmio_write(apic(0), MMIO(TIMER_DIVIDE), 0xB);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x20040);
	vlapic_mmio_write(apic(0), MMIO(TIMER_INITIAL), 1);
	unsigned fired = 0;
	uint64_t end = vm.now_ns + 1000000;
	while (timerq_next(&vm.timers) <= end) {
		vm.now_ns = timerq_next(&vm.timers);
		timerq_expire(&vm.timers, vm.now_ns);
		fired++;
		assert_int_equal(taken_by(0x40), 1);
	}
	assert_in_range(fired, 10, 25);
	vlapic_mmio_write(apic(0), MMIO(TIMER_INITIAL), 7);
	vm_double_run(&vm, 16);
	assert_int_equal(vlapic_mmio_read(apic(0), MMIO(TIMER_CURRENT)), 5);
}

static void timer_divide_change_goes_on_from_count(void **state) {
	(void)state;
	enable(0);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x40);
	vlapic_mmio_write(apic(0), MMIO(TIMER_DIVIDE), 0xB);
	vlapic_mmio_write(apic(0), MMIO(TIMER_INITIAL), 1000);
	vm_double_run(&vm, 400);
	vlapic_mmio_write(apic(0), MMIO(TIMER_DIVIDE), 0x1);
	assert_int_equal(vlapic_mmio_read(apic(0), MMIO(TIMER_CURRENT)), 600);
	assert_int_equal(timerq_next(&vm.timers), 400 + 2400);
}

static void deadline_write_fires_when_tsc_reaches(void **state) {
	(void)state;
	enable(0);
	vm.tsc_khz = 2500000;
	vm.tsc_offset = 12345;
	vlapic_deadline_write(apic(0), 1); // not in the mode: ignored
	assert_int_equal(vlapic_deadline_read(apic(0)), 0);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x40040);
	vlapic_deadline_write(apic(0), 12345 + 2500);
	assert_int_equal(vlapic_deadline_read(apic(0)), 12345 + 2500);
	vlapic_mmio_write(apic(0), MMIO(TIMER_INITIAL), 5); // ignored
	assert_int_equal(vlapic_mmio_read(apic(0), MMIO(TIMER_CURRENT)), 0);
	vm_double_run(&vm, 999);
	assert_int_equal(vlapic_pending(apic(0)), -1);
	vm_double_run(&vm, 1);
	assert_int_equal(taken_by(0x40), 1);
	assert_int_equal(vlapic_deadline_read(apic(0)), 0);
	vlapic_deadline_write(apic(0), 1); // past: at once
	assert_int_equal(taken_by(0x40), 1);
	vlapic_deadline_write(apic(0), vm_guest_tsc(&vm) + 1000);
	vlapic_deadline_write(apic(0), 0);
	assert_int_equal(timerq_next(&vm.timers), TIMER_NEVER);
	vlapic_deadline_write(apic(0), vm_guest_tsc(&vm) + 1000);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x40); // leaving the mode disarms
	assert_int_equal(timerq_next(&vm.timers), TIMER_NEVER);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x40040);
	assert_int_equal(vlapic_deadline_read(apic(0)), 0);
}

static void tsc_changed_moves_deadline(void **state) {
	(void)state;
	enable(0);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x40040);
	vlapic_deadline_write(apic(0), 1000);
	vm.tsc_offset = 400;
	vlapic_tsc_changed(apic(0));
	assert_int_equal(timerq_next(&vm.timers), 600);
}

static void load_late_periodic_keeps_phase(void **state) {
	(void)state;
	enable(0);
	vlapic_mmio_write(apic(0), MMIO(TIMER_DIVIDE), 0xB);
	vlapic_mmio_write(apic(0), LVT_MMIO(TIMER), 0x20040);
	vlapic_mmio_write(apic(0), MMIO(TIMER_INITIAL), 1000000);
	vm.now_ns = 1200000; // due, not yet served
	struct vlapic_state *record = vm_double_save(apic(0));
	apic(0)->class->reset(apic(0));
	assert_int_equal(vm_double_load(apic(0), record), 0);
	vm_double_run(&vm, 0);
	assert_int_equal(taken_by(0x40), 1);
	assert_int_equal(timerq_next(&vm.timers), 2000000);
	free(record);
}

// The same timer operations on two VMs, one saved, reset and loaded all the time: the same interrupts.
static void timer_random_saving_changes_nothing(void **state) {
	(void)state;
	struct rng rng;
	rng_init(&rng, 0x71BE);
	static struct vm other;
	vm_double_init(&other);
	struct vdev *plain = vm_double_create(&other, &vlapic_class, NULL, NULL);
	struct vdev *saved = apic(0);
	vlapic_mmio_write(plain, MMIO(SVR), 0x1FF);
	vlapic_mmio_write(saved, MMIO(SVR), 0x1FF);
	for (unsigned step = 0; step < 20000; step++) {
		uint32_t offset = 0, value = 0;
		uint64_t ns = 0;
		switch (rng_below(&rng, 6)) {
		case 0:
			offset = LVT_MMIO(TIMER);
			value = 0x40 | (uint32_t)rng_below(&rng, 8) << 16;
			break;
		case 1:
			offset = MMIO(TIMER_INITIAL);
			value = (uint32_t)rng_below(&rng, 1000000);
			break;
		case 2:
			offset = MMIO(TIMER_DIVIDE);
			value = (uint32_t)rng_below(&rng, 16);
			break;
		default: ns = rng_below(&rng, 3000000); break;
		}
		bool late = rng_below(&rng, 2);
		for (unsigned i = 0; i < 2; i++) {
			struct vm *target = i ? &vm : &other;
			if (offset)
				vlapic_mmio_write(i ? saved : plain, offset, value);
			else if (late)
				vm_double_jump(target, ns);
			else
				vm_double_run(target, ns);
			if (offset == 0 && value == 0 && late)
				vlapic_deadline_write(i ? saved : plain, target->now_ns + 5000);
		}
		void *record = vm_double_save(saved);
		saved->class->reset(saved);
		assert_int_equal(vm_double_load(saved, record), 0);
		free(record);
		assert_int_equal(vlapic_pending(saved), vlapic_pending(plain));
		assert_int_equal(vlapic_mmio_read(saved, MMIO(TIMER_CURRENT)),
		                 vlapic_mmio_read(plain, MMIO(TIMER_CURRENT)));
		assert_int_equal(timerq_next(&vm.timers), timerq_next(&other.timers));
		if (vlapic_pending(plain) < 0) continue;
		(void)vlapic_ack(plain, 0x40);
		(void)vlapic_ack(saved, 0x40);
		vlapic_mmio_write(plain, MMIO(EOI), 0);
		vlapic_mmio_write(saved, MMIO(EOI), 0);
	}
	vm_double_destroy(&other);
}

#define CASE(name, prepare) cmocka_unit_test_setup_teardown(name, prepare, teardown)

int main(void) {
	const struct CMUnitTest tests[] = {
	    CASE(timer_oneshot_counts_down_and_fires_once, setup),
	    CASE(timer_masked_runs_silently, setup),
	    CASE(timer_periodic_late_merges_and_keeps_phase, setup),
	    CASE(timer_periodic_tiny_period_is_bounded, setup),
	    CASE(timer_divide_change_goes_on_from_count, setup),
	    CASE(deadline_write_fires_when_tsc_reaches, setup),
	    CASE(tsc_changed_moves_deadline, setup),
	    CASE(load_late_periodic_keeps_phase, setup),
	    CASE(timer_random_saving_changes_nothing, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
