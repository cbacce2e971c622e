// SPDX-License-Identifier: Apache-2.0
// drivers/vdev/vreset.c: which writes to 0x92 reset the machine, and the record.
#include "tests/unit/support.h"

#include "drivers/vdev/vreset.h"
#include "kernel/lib/err.h"
#include "tests/unit/vm_double.h"

static struct vm vm;
static struct vdev *dev;

static uint8_t in(unsigned port) { return (uint8_t)vm_double_in(&vm, port, 1); }
static void out(unsigned port, uint8_t value) { vm_double_out(&vm, port, 1, value); }

static int setup(void **state) {
	(void)state;
	vm_double_init(&vm);
	dev = vm_double_create(&vm, &vreset_class, NULL, NULL);
	return dev ? 0 : -1;
}
static int teardown(void **state) { return (void)state, vm_double_destroy(&vm), 0; }

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
	out(0x92, 0);
	struct vreset_state *record = vm_double_save(dev);
	dev->class->reset(dev);
	assert_int_equal(vm_double_load(dev, record), 0);
	assert_int_equal(in(0x92), 0);
	record->port92 = 0x04;
	assert_int_equal(vm_double_load(dev, record), -ERR_FORMAT);
	free(record);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
	const struct CMUnitTest tests[] = {
	    TEST(port92_resets_and_keeps_a20),
	    TEST(vreset_record_goes_round),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
