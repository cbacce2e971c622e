// SPDX-License-Identifier: Apache-2.0
// drivers/vdev/vdebugexit.c: the value and the width of a write, and the edge of the port space.
#include "tests/unit/support.h"

#include "kernel/lib/err.h"
#include "tests/unit/vm_double.h"

static struct vm vm;
static struct vdev *dev;

static int setup(void **state) {
	(void)state;
	vm_double_init(&vm);
	const struct vdev_config config = {.base = 0xf4};
	dev = vm_double_create(&vm, &vdebugexit_class, &config, NULL);
	return dev ? 0 : -1;
}
static int teardown(void **state) { return (void)state, vm_double_destroy(&vm), 0; }

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

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
	const struct CMUnitTest tests[] = {
	    TEST(debugexit_ends_with_the_value),
	    TEST(debugexit_at_the_end_of_the_port_space_fits),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
