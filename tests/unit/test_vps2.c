// SPDX-License-Identifier: Apache-2.0
// drivers/vdev/vps2.c: the keyboard controller as an operating system probes it, its resets and records.
#include "tests/unit/support.h"

#include "drivers/vdev/vps2.h"
#include "kernel/guestmap.h"
#include "kernel/lib/err.h"
#include "tests/unit/vm_double.h"

static struct vm vm;
static struct vdev *dev;

static uint8_t in(unsigned port) { return (uint8_t)vm_double_in(&vm, port, 1); }
static void out(unsigned port, uint8_t value) { vm_double_out(&vm, port, 1, value); }

static int setup(void **state) {
	(void)state;
	vm_double_init(&vm);
	dev = vm_double_create(&vm, &vps2_class, NULL, NULL);
	return dev ? 0 : -1;
}
static int teardown(void **state) { return (void)state, vm_double_destroy(&vm), 0; }

static void ps2_probe_finds_a_controller_and_no_mouse(void **state) {
	(void)state;
	assert_int_equal(in(0x64), 0x14); // empty, unlocked
	out(0x64, 0xaa);
	assert_int_equal(in(0x64) & 1, 1);
	assert_int_equal(in(0x60), 0x55);
	out(0x64, 0x20);
	uint8_t command_byte = in(0x60);
	assert_int_equal(command_byte & 0x70, 0x70); // both ports off, translation
	out(0x64, 0xd3);
	out(0x60, 0x5a);
	assert_int_equal(in(0x64) & 0x21, 0x01); // comes back, but not from an auxiliary port
	assert_int_equal(in(0x60), 0x5a);
	out(0x64, 0xa9);
	assert_int_equal(in(0x60), 0x01);
	out(0x64, 0xa8);
	out(0x64, 0x20);
	assert_int_equal(in(0x60) & 0x20, 0x20);
	out(0x64, 0xab);
	assert_int_equal(in(0x60), 0);
	assert_int_equal(in(0x64) & 1, 0);
}

static void ps2_absent_keyboard_answers_with_timeout_and_interrupt(void **state) {
	(void)state;
	out(0x64, 0x60);
	out(0x60, 0x41);
	out(0x60, 0xf2); // identify
	assert_true(vm.gsi_level[GUEST_KBC_GSI]);
	assert_int_equal(in(0x64) & 0x41, 0x41);
	assert_int_equal(in(0x60), 0xfe);
	assert_false(vm.gsi_level[GUEST_KBC_GSI]);
	assert_int_equal(in(0x64) & 0x41, 0);
}

static void ps2_output_port_and_pulse_reset(void **state) {
	(void)state;
	out(0x64, 0xd1);
	out(0x60, 0xdd);
	out(0x64, 0xd0);
	assert_int_equal(in(0x60) & 3, 1);
	out(0x64, 0xdf);
	out(0x64, 0xd0);
	assert_int_equal(in(0x60) & 3, 3);
	out(0x64, 0xff); // pulses no line
	assert_int_equal(vm.end_count, 0);
	out(0x64, 0xfe);
	assert_int_equal(vm.end_how, VM_END_RESET);
	out(0x64, 0xd1);
	out(0x60, 0xfe);
	assert_int_equal(vm.end_count, 2);
}

static void ps2_record_goes_round(void **state) {
	(void)state;
	out(0x64, 0x60);
	out(0x60, 0x41);
	out(0x64, 0xd2);
	out(0x60, 0x1c);
	out(0x64, 0x61); // waits for its byte
	struct vps2_state *record = vm_double_save(dev);
	dev->class->reset(dev);
	assert_false(vm.gsi_level[GUEST_KBC_GSI]);
	assert_int_equal(vm_double_load(dev, record), 0);
	assert_true(vm.gsi_level[GUEST_KBC_GSI]);
	assert_int_equal(in(0x60), 0x1c);
	out(0x60, 0x99);
	out(0x64, 0x21);
	assert_int_equal(in(0x60), 0x99);
	record->argument_of = 0xaa;
	assert_int_equal(vm_double_load(dev, record), -ERR_FORMAT);
	free(record);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
	const struct CMUnitTest tests[] = {
	    TEST(ps2_probe_finds_a_controller_and_no_mouse),
	    TEST(ps2_absent_keyboard_answers_with_timeout_and_interrupt),
	    TEST(ps2_output_port_and_pulse_reset),
	    TEST(ps2_record_goes_round),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
