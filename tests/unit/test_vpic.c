// SPDX-License-Identifier: Apache-2.0
// The virtual 8259A pair: initialisation, priorities, every command word, the cascade, spurious
// interrupts, and saving at random points.
#include "tests/unit/support.h"
#include "tests/unit/vm_double.h"

#include "drivers/vdev/vpic.h"
#include "kernel/lib/err.h"

// No local APIC in these tests; what goes to LINT0 is tested with it.
void vlapic_lint_set(struct vdev *vlapic, unsigned pin, bool level) {
	(void)vlapic;
	(void)pin;
	(void)level;
}

static struct vm vm;

static void out(uint16_t port, uint8_t value) { vm_double_out(&vm, port, 1, value); }
static uint8_t in(uint16_t port) { return (uint8_t)vm_double_in(&vm, port, 1); }
static void line(unsigned pin, bool level) { vpic_pin_set(vm.pic, pin, level); }
static void pulse(unsigned pin) {
	line(pin, false);
	line(pin, true);
}
static bool output(void) { return vpic_output(vm.pic); }
static uint8_t ack(void) { return vpic_ack(vm.pic); }

// As a PC's firmware and every system does it: vectors 0x20 and 0x28, nothing masked.
static void initialise(uint8_t master_icw4, uint8_t slave_icw4) {
	out(0x20, 0x11);
	out(0x21, 0x20);
	out(0x21, 0x04);
	out(0x21, master_icw4);
	out(0xA0, 0x11);
	out(0xA1, 0x28);
	out(0xA1, 0x02);
	out(0xA1, slave_icw4);
	out(0x21, 0);
	out(0xA1, 0);
}
static int setup(void **state) {
	(void)state;
	vm_double_init(&vm);
	assert_non_null(vm_double_create(&vm, &vpic_class, NULL, NULL));
	initialise(0x01, 0x01);
	return 0;
}
static int teardown(void **state) {
	(void)state;
	vm_double_destroy(&vm);
	return 0;
}

static void reset_masks_everything(void **state) {
	(void)state;
	vm.pic->class->reset(vm.pic);
	for (unsigned pin = 0; pin < VPIC_PINS; pin++) line(pin, true);
	assert_false(output());
	assert_int_equal(in(0x21), 0xFF);
	assert_int_equal(in(0xA1), 0xFF);
}

static void icw1_clears_mask_latches_and_modes(void **state) {
	(void)state;
	out(0x21, 0xF0);
	out(0x20, 0x0B); // read ISR
	line(3, true);
	(void)ack();
	out(0x20, 0x11);
	assert_int_equal(in(0x20), 0); // IRR again, and the line gives no new edge
	out(0x21, 0x40);
	out(0x21, 0x04);
	out(0x21, 0x01);
	assert_int_equal(in(0x21), 0);
	assert_false(output());
	pulse(3);
	assert_int_equal(ack(), 0x43);
}

static void icw1_without_icw4_or_cascade_takes_fewer_words(void **state) {
	(void)state;
	out(0x20, 0x12); // single, no ICW4
	out(0x21, 0x57); // ICW2; the low bits are not used
	out(0x21, 0xAA); // OCW1 already
	assert_int_equal(in(0x21), 0xAA);
	line(0, true);
	assert_int_equal(ack(), 0x50);
	out(0x20, 0x10);
	out(0x21, 0x50);
	out(0x21, 0x04); // ICW3
	out(0x21, 0x55);
	assert_int_equal(in(0x21), 0x55);
}

static void edge_is_taken_once(void **state) {
	(void)state;
	uint32_t events = vm.events[0];
	line(4, true);
	assert_true(output());
	assert_int_equal(vm.events[0], events + 1);
	assert_int_equal(in(0x20), 0x10);
	assert_int_equal(ack(), 0x24);
	assert_int_equal(in(0x20), 0);
	out(0x20, 0x20);
	assert_false(output());
	pulse(4);
	assert_int_equal(ack(), 0x24);
}

static void edge_withdrawn_gives_spurious_7(void **state) {
	(void)state;
	line(4, true);
	line(4, false);
	assert_false(output());
	assert_int_equal(ack(), 0x27);
	out(0x20, 0x0B);
	assert_int_equal(in(0x20), 0); // and nothing in service
	line(12, true);
	line(12, false);
	assert_int_equal(ack(), 0x27);
}

static void level_follows_line(void **state) {
	(void)state;
	out(0x4D0, 0xFF);
	out(0x4D1, 0xFF);
	assert_int_equal(in(0x4D0), 0xF8);
	assert_int_equal(in(0x4D1), 0xDE);
	line(10, true);
	assert_int_equal(ack(), 0x2A);
	out(0xA0, 0x20);
	out(0x20, 0x20);
	assert_true(output()); // still asserted
	assert_int_equal(ack(), 0x2A);
	line(10, false);
	out(0xA0, 0x20);
	out(0x20, 0x20);
	assert_false(output());
}

static void mask_holds_back_and_releases(void **state) {
	(void)state;
	out(0x21, 0x10);
	line(4, true);
	assert_false(output());
	assert_int_equal(in(0x20), 0x10); // the latch is in front of the mask
	out(0x21, 0);
	assert_int_equal(ack(), 0x24);
}

static void priority_nests_higher_inputs(void **state) {
	(void)state;
	line(4, true);
	line(6, true);
	assert_int_equal(ack(), 0x24);
	assert_false(output());
	line(1, true);
	assert_int_equal(ack(), 0x21);
	line(9, true); // slave inputs rank as input 2
	assert_false(output());
	out(0x20, 0x20);
	assert_int_equal(ack(), 0x29);
	out(0x20, 0x0B);
	out(0xA0, 0x0B);
	assert_int_equal(in(0x20), 0x14);
	assert_int_equal(in(0xA0), 0x02);
	out(0xA0, 0x20);
	out(0x20, 0x20);
	out(0x20, 0x20);
	assert_int_equal(ack(), 0x26);
}

static void cascade_second_slave_input_waits_for_both_eois(void **state) {
	(void)state;
	line(8, true);
	line(14, true);
	assert_int_equal(ack(), 0x28);
	out(0xA0, 0x20);
	assert_false(output()); // the master still serves its input 2
	out(0x20, 0x20);
	assert_int_equal(ack(), 0x2E);
}

static void cascade_pin_from_outside_is_ignored(void **state) {
	(void)state;
	line(2, true);
	assert_false(output());
	line(99, true);
	assert_false(output());
}

static void special_nested_lets_higher_slave_input_through(void **state) {
	(void)state;
	initialise(0x11, 0x01);
	line(12, true);
	assert_int_equal(ack(), 0x2C);
	line(3, true);
	assert_false(output()); // below the slave: held back
	line(9, true);
	assert_true(output());
	assert_int_equal(ack(), 0x29);
	initialise(0x01, 0x01);
	pulse(12);
	assert_int_equal(ack(), 0x2C);
	pulse(9);
	assert_false(output()); // without the mode the slave waits
}

static void eoi_specific_ends_the_named_one(void **state) {
	(void)state;
	line(4, true);
	(void)ack();
	line(1, true);
	(void)ack();
	out(0x20, 0x64);
	out(0x20, 0x0B);
	assert_int_equal(in(0x20), 0x02);
	out(0x20, 0x61);
	assert_int_equal(in(0x20), 0);
}

static void rotate_commands_move_the_lowest(void **state) {
	(void)state;
	out(0x20, 0xC3); // set priority: 3 is lowest, 4 highest
	line(3, true);
	line(4, true);
	line(0, true);
	assert_int_equal(ack(), 0x24);
	out(0x20, 0xA0); // rotate on non-specific EOI: now 4 is lowest
	assert_int_equal(ack(), 0x20);
	out(0x20, 0xE0); // rotate on specific EOI of 0: 0 is lowest
	assert_int_equal(ack(), 0x23);
	out(0x20, 0x20);
	pulse(0);
	pulse(1);
	assert_int_equal(ack(), 0x21);
}

static void auto_eoi_leaves_nothing_in_service_and_rotates(void **state) {
	(void)state;
	initialise(0x03, 0x03);
	out(0x20, 0x80); // rotate in automatic EOI mode
	line(1, true);
	line(5, true);
	assert_int_equal(ack(), 0x21);
	out(0x20, 0x0B);
	assert_int_equal(in(0x20), 0);
	pulse(1);
	assert_int_equal(ack(), 0x25); // 1 is the lowest now
	assert_int_equal(ack(), 0x21);
	out(0x20, 0x00); // no rotation any more: 1 stays the lowest, as it was the last
	pulse(1);
	pulse(0);
	assert_int_equal(ack(), 0x20);
	assert_int_equal(ack(), 0x21);
	line(8, true);
	line(9, true);
	assert_int_equal(ack(), 0x28);
	assert_int_equal(ack(), 0x29);
}

static void special_mask_lets_lower_inputs_through(void **state) {
	(void)state;
	line(3, true);
	assert_int_equal(ack(), 0x23);
	line(6, true);
	assert_false(output());
	out(0x21, 0x08);
	out(0x20, 0x68);
	assert_int_equal(ack(), 0x26);
	out(0x20, 0x20); // ends 6: the masked one in service is passed over
	out(0x20, 0x0B);
	assert_int_equal(in(0x20), 0x08);
	out(0x20, 0x48);
	pulse(6);
	assert_false(output());
}

static void poll_acknowledges(void **state) {
	(void)state;
	out(0x20, 0x0C);
	assert_int_equal(in(0x20), 0);
	line(5, true);
	out(0x20, 0x0C);
	assert_int_equal(in(0x20), 0x85);
	assert_false(output());
	out(0x20, 0x20);
	line(8, true);
	out(0x20, 0x0C);
	assert_int_equal(in(0x20), 0x82);
	out(0xA0, 0x0C);
	assert_int_equal(in(0xA0), 0x80);
	out(0xA0, 0x20);
	out(0x20, 0x20);
	line(9, true);
	assert_int_equal(ack(), 0x29);
}

static void ports_wide_access_is_bytes(void **state) {
	(void)state;
	vm_double_out(&vm, 0x20, 2, 0xAB0B); // OCW3, then OCW1
	assert_int_equal(in(0x21), 0xAB);
	assert_int_equal(vm_double_in(&vm, 0x20, 2), 0xAB00);
	vm_double_out(&vm, 0x4D0, 2, 0x0208);
	assert_int_equal(in(0x4D1), 0x02);
}

static void load_bad_record_is_refused(void **state) {
	(void)state;
	struct vpic_state *good = vm_double_save(vm.pic);
	struct vpic_state bad = *good;
	bad.chip[1].lowest = 8;
	assert_int_equal(vm_double_load(vm.pic, &bad), -ERR_FORMAT);
	bad = *good;
	bad.chip[0].elcr = 1;
	assert_int_equal(vm_double_load(vm.pic, &bad), -ERR_FORMAT);
	bad = *good;
	bad.chip[0].init = 1;
	assert_int_equal(vm_double_load(vm.pic, &bad), -ERR_FORMAT);
	bad = *good;
	bad.chip[0].poll = 2;
	assert_int_equal(vm_double_load(vm.pic, &bad), -ERR_FORMAT);
	assert_int_equal(vm.pic->class->load(vm.pic, good, 1, VPIC_STATE_VERSION), -ERR_FORMAT);
	assert_int_equal(vm_double_load(vm.pic, good), 0);
	free(good);
}

// The same random traffic to two PICs, one of which is saved, reset and loaded all the time.
static void traffic_random_saving_changes_nothing(void **state) {
	(void)state;
	static const uint16_t ports[] = {0x20, 0x21, 0xA0, 0xA1, 0x4D0, 0x4D1};
	struct rng rng;
	rng_init(&rng, 0x8259A);
	struct vm other;
	vm_double_init(&other);
	assert_non_null(vm_double_create(&other, &vpic_class, NULL, NULL));
	void *start = vm_double_save(vm.pic);
	assert_int_equal(vm_double_load(other.pic, start), 0);
	free(start);
	for (unsigned step = 0; step < 100000; step++) {
		uint16_t port = ports[rng_below(&rng, array_count(ports))];
		uint8_t value = (uint8_t)rng_next(&rng);
		if (!(port & 1) && rng_below(&rng, 8)) value &= (uint8_t)~0x10; // few initialisations
		switch (rng_below(&rng, 6)) {
		case 0:
			vm_double_out(&vm, port, 1, value);
			vm_double_out(&other, port, 1, value);
			break;
		case 1: assert_int_equal(vm_double_in(&vm, port, 1), vm_double_in(&other, port, 1)); break;
		case 2:
			if (output()) assert_int_equal(vpic_ack(vm.pic), vpic_ack(other.pic));
			break;
		case 3: {
			void *record = vm_double_save(vm.pic);
			vm.pic->class->reset(vm.pic);
			assert_int_equal(vm_double_load(vm.pic, record), 0);
			void *again = vm_double_save(vm.pic);
			assert_memory_equal(record, again, sizeof(struct vpic_state));
			free(record);
			free(again);
			break;
		}
		default:
			vpic_pin_set(vm.pic, value & 15, value & 16);
			vpic_pin_set(other.pic, value & 15, value & 16);
			break;
		}
		assert_int_equal(vpic_output(vm.pic), vpic_output(other.pic));
	}
	vm_double_destroy(&other);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
	const struct CMUnitTest tests[] = {
	    CASE(reset_masks_everything),
	    CASE(icw1_clears_mask_latches_and_modes),
	    CASE(icw1_without_icw4_or_cascade_takes_fewer_words),
	    CASE(edge_is_taken_once),
	    CASE(edge_withdrawn_gives_spurious_7),
	    CASE(level_follows_line),
	    CASE(mask_holds_back_and_releases),
	    CASE(priority_nests_higher_inputs),
	    CASE(cascade_second_slave_input_waits_for_both_eois),
	    CASE(cascade_pin_from_outside_is_ignored),
	    CASE(special_nested_lets_higher_slave_input_through),
	    CASE(eoi_specific_ends_the_named_one),
	    CASE(rotate_commands_move_the_lowest),
	    CASE(auto_eoi_leaves_nothing_in_service_and_rotates),
	    CASE(special_mask_lets_lower_inputs_through),
	    CASE(poll_acknowledges),
	    CASE(ports_wide_access_is_bytes),
	    CASE(load_bad_record_is_refused),
	    CASE(traffic_random_saving_changes_nothing),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
