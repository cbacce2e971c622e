// SPDX-License-Identifier: Apache-2.0
// drivers/vdev/vpci.c: configuration mechanism 1 in every width, the one function that is there, the reset control
// register between its ports, and the record.
#include "tests/unit/support.h"

#include "drivers/vdev/vpci.h"
#include "kernel/guestmap.h"
#include "kernel/lib/err.h"
#include "tests/unit/vm_double.h"

#define ENABLE 0x80000000u

static struct vm vm;
static struct vdev *dev;

static uint32_t in(unsigned port, unsigned bytes) { return (uint32_t)vm_double_in(&vm, port, bytes); }
static void out(unsigned port, unsigned bytes, uint32_t value) { vm_double_out(&vm, port, bytes, value); }

static int setup(void **state) {
	(void)state;
	vm_double_init(&vm);
	dev = vm_double_create(&vm, &vpci_class, NULL, NULL);
	return dev ? 0 : -1;
}
static int teardown(void **state) { return (void)state, vm_double_destroy(&vm), 0; }

static void address_keeps_its_bits_in_32_bit_accesses_only(void **state) {
	(void)state;
	assert_int_equal(in(0xcf8, 4), 0);
	out(0xcf8, 4, 0xffffffff);
	assert_int_equal(in(0xcf8, 4), 0x80fffffc);
	out(0xcf8, 1, 0);
	out(0xcfa, 2, 0);
	out(0xcfb, 1, 1);
	assert_int_equal(in(0xcf8, 4), 0x80fffffc);
	assert_int_equal(in(0xcf8, 1), 0xff);
	assert_int_equal(in(0xcf8, 2), 0xffff);
	assert_int_equal(in(0xcfb, 1), 0xff);
	assert_int_equal(in(0xcfa, 4), 0xffffffff); // across the two registers
	assert_int_equal(vm.end_count, 0);
}

static void bridge_is_a_host_bridge_in_every_width(void **state) {
	(void)state;
	out(0xcf8, 4, ENABLE);
	assert_int_equal(in(0xcfc, 4), 0x00081b36);
	assert_int_equal(in(0xcfc, 2), 0x1b36);
	assert_int_equal(in(0xcfe, 2), 0x0008);
	assert_int_equal(in(0xcfd, 1), 0x1b);
	assert_int_equal(in(0xcfd, 2), 0x081b);
	out(0xcf8, 4, ENABLE | 0x08);
	assert_int_equal(in(0xcfc, 4), 0x06000000);
	assert_int_equal(in(0xcff, 1), 0x06);
	out(0xcf8, 4, ENABLE | 0x0c);
	assert_int_equal(in(0xcfe, 1), 0); // header type 0, one function
	for (unsigned reg = 0x40; reg < 0x100; reg += 4) {
		out(0xcf8, 4, ENABLE | reg);
		assert_int_equal(in(0xcfc, 4), 0);
	}
}

static void bridge_registers_cannot_be_written(void **state) {
	(void)state;
	for (unsigned reg = 0; reg < 0x100; reg += 4) {
		out(0xcf8, 4, ENABLE | reg);
		uint32_t before = in(0xcfc, 4);
		out(0xcfc, 4, 0xffffffff);
		out(0xcfe, 1, 0xff);
		assert_int_equal(in(0xcfc, 4), before);
	}
	assert_int_equal(vpci_denied(dev), 128);
}

static void absent_functions_read_all_ones(void **state) {
	(void)state;
	static const uint32_t absent[] = {ENABLE | 1 << 8, ENABLE | 1 << 11, ENABLE | 1 << 16, ENABLE | 0xffff00,
	                                  0};
	for (unsigned i = 0; i < sizeof absent / sizeof absent[0]; i++) {
		out(0xcf8, 4, absent[i]);
		assert_int_equal(in(0xcfc, 4), 0xffffffff);
		assert_int_equal(in(0xcfe, 2), 0xffff);
		out(0xcfc, 4, 0);
	}
	assert_int_equal(vpci_denied(dev), 0);
}

static void cf9_resets_on_rst_cpu_only(void **state) {
	(void)state;
	out(0xcf9, 1, 0x02);
	assert_int_equal(in(0xcf9, 1), 0x02);
	out(0xcf9, 1, 0x0a);
	assert_int_equal(in(0xcf9, 1), 0x0a);
	out(0xcf9, 2, 0xffff); // no byte access: not the register
	assert_int_equal(vm.end_count, 0);
	out(0xcf9, 1, GUEST_RESET_VALUE);
	assert_int_equal(vm.end_how, VM_END_RESET);
	assert_int_equal(vm.end_count, 1);
	assert_int_equal(in(0xcf9, 1), 0x02);
	assert_int_equal(in(0xcf8, 4), 0);
}

static void reset_clears_everything(void **state) {
	(void)state;
	out(0xcf8, 4, ENABLE | 8);
	out(0xcf9, 1, 0x0a);
	dev->class->reset(dev);
	assert_int_equal(in(0xcf8, 4), 0);
	assert_int_equal(in(0xcf9, 1), 0);
}

static void vpci_record_goes_round(void **state) {
	(void)state;
	out(0xcf8, 4, ENABLE | 0x08);
	out(0xcf9, 1, 0x0a);
	struct vpci_state *record = vm_double_save(dev);
	dev->class->reset(dev);
	assert_int_equal(vm_double_load(dev, record), 0);
	assert_int_equal(in(0xcfc, 4), 0x06000000);
	assert_int_equal(in(0xcf9, 1), 0x0a);
	record->control = 0x04;
	assert_int_equal(vm_double_load(dev, record), -ERR_FORMAT);
	record->control = 0;
	record->address = 1;
	assert_int_equal(vm_double_load(dev, record), -ERR_FORMAT);
	assert_int_equal(in(0xcf8, 4), ENABLE | 0x08);
	free(record);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
	const struct CMUnitTest tests[] = {
	    TEST(address_keeps_its_bits_in_32_bit_accesses_only),
	    TEST(bridge_is_a_host_bridge_in_every_width),
	    TEST(bridge_registers_cannot_be_written),
	    TEST(absent_functions_read_all_ones),
	    TEST(cf9_resets_on_rst_cpu_only),
	    TEST(reset_clears_everything),
	    TEST(vpci_record_goes_round),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
