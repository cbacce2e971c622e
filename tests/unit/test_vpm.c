// SPDX-License-Identifier: Apache-2.0
// drivers/vdev/vpm.c: PM timer, its carry interrupt, power button, power-off, and records.
#include "tests/unit/support.h"

#include "drivers/vdev/vpm.h"
#include "kernel/guestmap.h"
#include "kernel/lib/err.h"
#include "tests/unit/vm_double.h"

#define SECOND UINT64_C(1000000000)

static struct vm vm;
static struct vdev *pm;

static uint64_t in(unsigned port, unsigned bytes) { return vm_double_in(&vm, port, bytes); }
static void out(unsigned port, unsigned bytes, uint64_t value) { vm_double_out(&vm, port, bytes, value); }

static int setup_bits(uint32_t bits) {
	vm_double_init(&vm);
	const struct vdev_config config = {.index = bits};
	pm = vm_double_create(&vm, &vpm_class, &config, NULL);
	return pm ? 0 : -1;
}
static int setup(void **state) { return (void)state, setup_bits(0); }
static int setup_24(void **state) { return (void)state, setup_bits(24); }
static int teardown(void **state) { return (void)state, vm_double_destroy(&vm), 0; }

static void create_other_width_is_refused(void **state) {
	(void)state;
	const struct vdev_config config = {.index = 16};
	int err = 0;
	assert_null(vm_double_create(&vm, &vpm_class, &config, &err));
	assert_int_equal(err, -ERR_INVAL);
}

static void timer_counts_at_its_frequency(void **state) {
	(void)state;
	assert_int_equal(in(GUEST_PM_TMR_PORT, 4), 0);
	vm_double_run(&vm, SECOND);
	assert_int_equal(in(GUEST_PM_TMR_PORT, 4), 3579545);
	vm_double_run(&vm, 2000 * SECOND);
	assert_int_equal(in(GUEST_PM_TMR_PORT, 4), (uint32_t)(3579545ull * 2001));
	assert_int_equal(in(GUEST_PM_TMR_PORT + 1, 2), (uint32_t)(3579545ull * 2001) >> 8 & 0xffff);
	out(GUEST_PM_TMR_PORT, 4, 0); // read-only
	assert_int_equal(in(GUEST_PM_TMR_PORT, 4), (uint32_t)(3579545ull * 2001));
}

static void timer_24_bits_wraps(void **state) {
	(void)state;
	vm_double_run(&vm, 5 * SECOND);
	assert_int_equal(in(GUEST_PM_TMR_PORT, 4), 3579545ull * 5 & 0xffffff);
}

static void timer_carry_sets_status_and_interrupts(void **state) {
	(void)state;
	out(GUEST_PM1A_EVT_PORT + 2, 2, 0xffff);
	assert_int_equal(in(GUEST_PM1A_EVT_PORT + 2, 2), 0x0721);
	vm_double_run(&vm, 2343480000u); // just before 2^23 ticks
	assert_int_equal(in(GUEST_PM1A_EVT_PORT, 2), 0);
	assert_false(vm.gsi_level[GUEST_SCI_GSI]);
	vm_double_run(&vm, 20000);
	assert_true(vm.gsi_level[GUEST_SCI_GSI]);
	assert_int_equal(in(GUEST_PM1A_EVT_PORT, 2), 1);
	out(GUEST_PM1A_EVT_PORT, 2, 1);
	assert_false(vm.gsi_level[GUEST_SCI_GSI]);
	vm_double_run(&vm, 2343600000u);
	assert_int_equal(vm.gsi_rises[GUEST_SCI_GSI], 2);
}

static void timer_status_without_enable_costs_no_timer(void **state) {
	(void)state;
	assert_true(timerq_next(&vm.timers) == TIMER_NEVER);
	vm_double_run(&vm, 601 * SECOND);
	assert_int_equal(in(GUEST_PM1A_EVT_PORT, 2), 1);
	out(GUEST_PM1A_EVT_PORT, 1, 1);
	assert_int_equal(in(GUEST_PM1A_EVT_PORT, 2), 0);
	assert_int_equal(vm.gsi_rises[GUEST_SCI_GSI], 0);
}

static void power_button_raises_sci_until_cleared(void **state) {
	(void)state;
	out(GUEST_PM1A_EVT_PORT + 2, 2, 0x0100);
	vpm_power_button(pm);
	assert_true(vm.gsi_level[GUEST_SCI_GSI]);
	assert_int_equal(in(GUEST_PM1A_EVT_PORT, 4), 0x01000100);
	out(GUEST_PM1A_EVT_PORT, 4, 0x01000100);
	assert_int_equal(in(GUEST_PM1A_EVT_PORT, 4), 0x01000000);
	assert_false(vm.gsi_level[GUEST_SCI_GSI]);
}

static void sleep_enable_with_s5_powers_off(void **state) {
	(void)state;
	assert_int_equal(in(GUEST_PM1A_CNT_PORT, 2), 1); // SCI_EN
	out(GUEST_PM1A_CNT_PORT, 2, GUEST_SLP_TYP_S5 << 10);
	assert_int_equal(vm.end_count, 0);
	out(GUEST_PM1A_CNT_PORT, 2, 3 << 10 | 1 << 13);
	assert_int_equal(vm.end_count, 0);
	assert_int_equal(vm.guest_errors, 1);
	out(GUEST_PM1A_CNT_PORT, 2, GUEST_SLP_TYP_S5 << 10 | 1 << 13);
	assert_int_equal(vm.end_how, VM_END_POWEROFF);
	assert_int_equal(in(GUEST_PM1A_CNT_PORT, 2), 1 | GUEST_SLP_TYP_S5 << 10);
}

static void write_across_registers_reaches_both(void **state) {
	(void)state;
	out(GUEST_PM1A_EVT_PORT + 2, 4, (uint64_t)(GUEST_SLP_TYP_S5 << 10 | 1 << 13) << 16 | 0x0100);
	assert_int_equal(in(GUEST_PM1A_EVT_PORT + 2, 2), 0x0100);
	assert_int_equal(vm.end_how, VM_END_POWEROFF);
	assert_int_equal(in(GUEST_PM1A_EVT_PORT + 2, 4), (uint64_t)(1 | GUEST_SLP_TYP_S5 << 10) << 16 | 0x0100);
}

static void reset_survives_a_clock_that_starts_again(void **state) {
	(void)state;
	vm_double_run(&vm, 5 * SECOND);
	pm->class->reset(pm);
	vm.now_ns = 0;
	assert_int_equal(in(GUEST_PM_TMR_PORT, 4), 0);
	vm_double_run(&vm, SECOND);
	assert_int_equal(in(GUEST_PM_TMR_PORT, 4), 3579545);
	assert_int_equal(in(GUEST_PM1A_EVT_PORT, 2), 0);
}

static void load_continues_timer_and_status(void **state) {
	(void)state;
	out(GUEST_PM1A_EVT_PORT + 2, 2, 0x0101);
	vpm_power_button(pm);
	vm_double_run(&vm, 600 * SECOND - 40 * SECOND);
	void *record = vm_double_save(pm);
	uint64_t ticks = in(GUEST_PM_TMR_PORT, 4);
	pm->class->reset(pm);
	assert_false(vm.gsi_level[GUEST_SCI_GSI]);
	vm_double_run(&vm, 7777777777);
	assert_int_equal(vm_double_load(pm, record), 0);
	assert_true(vm.gsi_level[GUEST_SCI_GSI]);
	assert_int_equal(in(GUEST_PM_TMR_PORT, 4), ticks);
	out(GUEST_PM1A_EVT_PORT, 2, 0x0100);
	assert_false(vm.gsi_level[GUEST_SCI_GSI]);
	vm_double_run(&vm, 39 * SECOND);
	assert_false(vm.gsi_level[GUEST_SCI_GSI]);
	vm_double_run(&vm, 2 * SECOND);
	assert_true(vm.gsi_level[GUEST_SCI_GSI]);
	((struct vpm_state *)record)->enable = 0x8000;
	assert_int_equal(vm_double_load(pm, record), -ERR_FORMAT);
	free(record);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_24(name) cmocka_unit_test_setup_teardown(name, setup_24, teardown)

int main(void) {
	const struct CMUnitTest tests[] = {
	    TEST(create_other_width_is_refused),
	    TEST(timer_counts_at_its_frequency),
	    TEST_24(timer_24_bits_wraps),
	    TEST_24(timer_carry_sets_status_and_interrupts),
	    TEST(timer_status_without_enable_costs_no_timer),
	    TEST(power_button_raises_sci_until_cleared),
	    TEST(sleep_enable_with_s5_powers_off),
	    TEST(write_across_registers_reaches_both),
	    TEST(reset_survives_a_clock_that_starts_again),
	    TEST(load_continues_timer_and_status),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
