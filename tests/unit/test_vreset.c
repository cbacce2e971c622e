// SPDX-License-Identifier: Apache-2.0
// drivers/vdev/vreset.c, vdebugexit.c and vps2.c: the ways by which a guest ends or resets its machine,
// and the keyboard controller as an operating system probes it.
#include "tests/unit/support.h"

#include "drivers/vdev/vps2.h"
#include "drivers/vdev/vreset.h"
#include "kernel/guestmap.h"
#include "kernel/lib/err.h"
#include "tests/unit/vm_double.h"

static struct vm vm;
static struct vdev *dev;

static uint8_t in(unsigned port) { return (uint8_t)vm_double_in(&vm, port, 1); }
static void out(unsigned port, uint8_t value) { vm_double_out(&vm, port, 1, value); }

static int setup(const struct vdev_class *class, const struct vdev_config *config) {
	vm_double_init(&vm);
	dev = vm_double_create(&vm, class, config, NULL);
	return dev ? 0 : -1;
}
static int setup_reset(void **state) { return (void)state, setup(&vreset_class, NULL); }
static int setup_ps2(void **state) { return (void)state, setup(&vps2_class, NULL); }
static int setup_exit(void **state) {
	(void)state;
	const struct vdev_config config = {.base = 0xf4};
	return setup(&vdebugexit_class, &config);
}
static int teardown(void **state) { return (void)state, vm_double_destroy(&vm), 0; }

static void cf9_resets_on_rst_cpu_only(void **state) {
	(void)state;
	out(0xcf9, 0x02);
	assert_int_equal(in(0xcf9), 0x02);
	out(0xcf9, 0x0a);
	assert_int_equal(in(0xcf9), 0x0a);
	assert_int_equal(vm.end_count, 0);
	out(0xcf9, GUEST_RESET_VALUE);
	assert_int_equal(vm.end_how, VM_END_RESET);
	assert_int_equal(vm.end_count, 1);
	// A 32-bit PCI configuration access next to it is not the reset register.
	vm_double_out(&vm, 0xcf8, 4, 0xffffffff);
	assert_int_equal(vm.end_count, 1);
}

static void port92_resets_and_keeps_a20(void **state) {
	(void)state;
	assert_int_equal(in(0x92), 0x02);
	out(0x92, 0xfc);
	assert_int_equal(in(0x92), 0);
	assert_int_equal(vm.end_count, 0);
	out(0x92, 0x03);
	assert_int_equal(vm.end_how, VM_END_RESET);
	assert_int_equal(in(0x92), 0x02);
}

static void vreset_record_goes_round(void **state) {
	(void)state;
	out(0xcf9, 0x0a);
	out(0x92, 0);
	struct vreset_state *record = vm_double_save(dev);
	dev->class->reset(dev);
	assert_int_equal(vm_double_load(dev, record), 0);
	assert_int_equal(in(0xcf9), 0x0a);
	assert_int_equal(in(0x92), 0);
	record->control = 0x04;
	assert_int_equal(vm_double_load(dev, record), -ERR_FORMAT);
	free(record);
}

static void debugexit_ends_with_the_value(void **state) {
	(void)state;
	assert_int_equal(vm_double_in(&vm, 0xf4, 2), 0xffff);
	vm_double_out(&vm, 0xf4, 1, 0x31);
	assert_int_equal(vm.end_how, VM_END_DEBUG_EXIT);
	assert_int_equal(vm.end_code, 0x31);
	vm_double_out(&vm, 0xf4, 2, 0x1234);
	assert_int_equal(vm.end_code, 0x1234);
	vm_double_out(&vm, 0xf4, 4, 0xdeadbeef);
	assert_int_equal(vm.end_code, 0xdeadbeef);
	assert_int_equal(vm.end_count, 3);
	void *record = vm_double_save(dev);
	assert_int_equal(vm_double_load(dev, record), 0);
	free(record);
}

static void debugexit_at_the_end_of_the_port_space_fits(void **state) {
	(void)state;
	const struct vdev_config last = {.base = 0xffff}, beyond = {.base = 0x10000};
	int err = 0;
	assert_non_null(vm_double_create(&vm, &vdebugexit_class, &last, NULL));
	assert_null(vm_double_create(&vm, &vdebugexit_class, &beyond, &err));
	assert_int_equal(err, -ERR_RANGE);
}

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

#define TEST(kind, name) cmocka_unit_test_setup_teardown(name, setup_##kind, teardown)

int main(void) {
	const struct CMUnitTest tests[] = {
	    TEST(reset, cf9_resets_on_rst_cpu_only),
	    TEST(reset, port92_resets_and_keeps_a20),
	    TEST(reset, vreset_record_goes_round),
	    TEST(exit, debugexit_ends_with_the_value),
	    TEST(exit, debugexit_at_the_end_of_the_port_space_fits),
	    TEST(ps2, ps2_probe_finds_a_controller_and_no_mouse),
	    TEST(ps2, ps2_absent_keyboard_answers_with_timeout_and_interrupt),
	    TEST(ps2, ps2_output_port_and_pulse_reset),
	    TEST(ps2, ps2_record_goes_round),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
