// SPDX-License-Identifier: Apache-2.0
// Messages between local APICs and from devices: destinations, modes, lowest priority, the LINT pins.
#include "tests/unit/vlapic_rig.h"

static uint64_t icr_taken_by(unsigned from, uint32_t dest, uint32_t icr) {
	if (vlapic_x2apic(vlapic_of(apic(from)))) {
		assert_int_equal(vlapic_msr_write(apic(from), MSR(ICR), (uint64_t)dest << 32 | icr), 0);
	} else {
		vlapic_mmio_write(apic(from), MMIO(ICR_HIGH), dest << 24);
		vlapic_mmio_write(apic(from), MMIO(ICR), icr);
	}
	return taken_by((uint8_t)icr);
}

static void icr_destinations_xapic_as_manual(void **state) {
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		enable(i);
		vlapic_mmio_write(apic(i), MMIO(LDR), 0x01000000u << i);
	}
	assert_int_equal(icr_taken_by(0, 2, 0x40), 4);          // physical
	assert_int_equal(icr_taken_by(0, 9, 0x40), 0);          // nobody
	assert_int_equal(icr_taken_by(1, 0xFF, 0x40), 0xF);     // broadcast
	assert_int_equal(icr_taken_by(1, 0, 0x40040), 2);       // self
	assert_int_equal(icr_taken_by(1, 0, 0x80040), 0xF);     // all
	assert_int_equal(icr_taken_by(1, 0, 0xC0040), 0xD);     // others
	assert_int_equal(icr_taken_by(1, 0x0A, 0x840), 0xA);    // logical, flat
	assert_int_equal(icr_taken_by(1, 0xFF, 0x840), 0xF);    // logical broadcast
	assert_int_equal(icr_taken_by(1, 1, 0x40 | 0xC000), 2); // a level IPI goes as an edge
	assert_int_equal(vlapic_mmio_read(apic(1), MMIO(TMR) + 0x20), 0);
	assert_int_equal(vlapic_mmio_read(apic(1), MMIO(ICR)), 0x40 | 0xC000);
	for (unsigned i = 0; i < 4; i++) {
		vlapic_mmio_write(apic(i), MMIO(DFR), 0x0FFFFFFF); // clusters 0 and 1 of two
		vlapic_mmio_write(apic(i), MMIO(LDR), (i / 2 << 28) | (1u << (24 + i % 2)));
	}
	assert_int_equal(icr_taken_by(0, 0x13, 0x840), 0xC);
	assert_int_equal(icr_taken_by(0, 0x01, 0x840), 0x1);
	assert_int_equal(icr_taken_by(0, 0x0F, 0x840), 0x3);
	assert_int_equal(icr_taken_by(0, 0x2F, 0x840), 0);
}

static void icr_destinations_x2apic_as_manual(void **state) {
	(void)state;
	for (unsigned i = 0; i < 64; i++) enable_x2(i);
	assert_int_equal(msr(63, MSR(LDR)), 0x38000);
	assert_int_equal(icr_taken_by(5, 63, 0x40), BIT64(63));
	assert_int_equal(icr_taken_by(5, 0xFF, 0x40), 0);
	assert_int_equal(icr_taken_by(5, 0xFFFFFFFF, 0x40), UINT64_MAX);
	assert_int_equal(icr_taken_by(5, 0xFFFFFFFF, 0x840), UINT64_MAX);
	assert_int_equal(icr_taken_by(5, 0x2000F, 0x840), BIT64(32) * 0xF);
	assert_int_equal(icr_taken_by(5, 0, 0x40040), BIT64(5));
	assert_int_equal(icr_taken_by(5, 0, 0xC0040), ~BIT64(5));
	assert_int_equal(msr(5, MSR(ICR)), 0xC0040);
	assert_int_equal(vlapic_msr_write(apic(5), MSR(SELF_IPI), 0x77), 0);
	assert_int_equal(taken_by(0x77), BIT64(5));
	struct irq_msg msi = {.dest = 0xFF, .vector = 0x55}; // an 8-bit device broadcast
	assert_true(vlapic_deliver(&vm, NULL, &msi));
	assert_int_equal(taken_by(0x55), UINT64_MAX);
}

static void icr_illegal_vector_sets_send_error(void **state) {
	(void)state;
	enable_x2(0);
	assert_int_equal(vlapic_msr_write(apic(0), MSR(ICR), 0x4000F), 0);
	assert_int_equal(vlapic_msr_write(apic(0), MSR(ESR), 0), 0);
	assert_int_equal(msr(0, MSR(ESR)), VLAPIC_ESR_SEND_ILLEGAL);
	assert_int_equal(vlapic_msr_write(apic(0), MSR(SELF_IPI), 0xF), 0);
	assert_int_equal(vlapic_msr_write(apic(0), MSR(ESR), 0), 0);
	assert_int_equal(msr(0, MSR(ESR)), VLAPIC_ESR_SEND_ILLEGAL);
	assert_int_equal(vlapic_highest_irr(apic(0)), -1);
}

static void icr_lifecycle_messages_reach_vcpu(void **state) {
	(void)state;
	enable(0); // receivers are software-disabled: they take these nevertheless
	(void)icr_taken_by(0, 2, 0x4500 | 0x8000); // INIT, assert
	(void)icr_taken_by(0, 2, 0x8500);          // INIT level de-assert: nothing
	(void)icr_taken_by(0, 2, 0x4608);          // STARTUP at page 8
	(void)icr_taken_by(0, 3, 0x4400);          // NMI
	assert_int_equal(vm.inits[2], 1);
	assert_int_equal(vm.startups[2], 1);
	assert_int_equal(vm.startup_vector[2], 8);
	assert_int_equal(vm.nmis[3], 1);
	(void)icr_taken_by(0, 0, 0xC4500); // INIT to the others
	assert_int_equal(vm.inits[0], 0);
	assert_int_equal(vm.inits[1] + vm.inits[2] + vm.inits[3], 4);
	(void)icr_taken_by(0, 0, 0x44500); // INIT to itself, reserved modes: refused
	(void)icr_taken_by(0, 1, 0x4300);
	(void)icr_taken_by(0, 1, 0x4700);
	assert_int_equal(vm.inits[0], 0);
	assert_int_equal(vm.guest_errors, 3);
}

static void deliver_lowest_prefers_low_priority_then_turns(void **state) {
	(void)state;
	for (unsigned i = 0; i < 4; i++) {
		if (i != 3) enable(i);
		vlapic_mmio_write(apic(i), MMIO(LDR), 0x01000000u << i);
	}
	vlapic_cr8_write(apic(0), 2);
	struct irq_msg msg = {.dest = 0xF, .vector = 0x61, .mode = IRQ_MODE_LOWEST, .logical = true};
	uint64_t seen[4];
	for (unsigned i = 0; i < 4; i++) {
		assert_true(vlapic_deliver(&vm, NULL, &msg));
		seen[i] = taken_by(0x61);
	}
	assert_int_equal(seen[0] | seen[1], 6); // 1 and 2 in turns; 0 is busy, 3 disabled
	assert_int_equal(seen[2] | seen[3], 6);
	vlapic_cr8_write(apic(1), 3);
	vlapic_cr8_write(apic(2), 3);
	assert_true(vlapic_deliver(&vm, NULL, &msg));
	assert_int_equal(taken_by(0x61), 1);
}

static void deliver_repeated_vector_signals_once(void **state) {
	(void)state;
	enable(0);
	uint32_t events = vm.events[0];
	assert_true(send_fixed(0, 0x50, false));
	assert_true(send_fixed(0, 0x50, false));
	assert_int_equal(vm.events[0], events + 1);
}

static void lint_pins_follow_lvt(void **state) {
	(void)state;
	enable(0);
	vlapic_mmio_write(apic(0), LVT_MMIO(LINT0), 0x30); // fixed, edge: the 8259A "virtual wire" by vector
	vlapic_mmio_write(apic(0), LVT_MMIO(LINT1), 0x400);
	assert_false(vlapic_accepts_extint(apic(0)));
	vlapic_lint_set(apic(0), 0, true);
	vlapic_lint_set(apic(0), 0, true);
	vlapic_lint_set(apic(0), 1, true);
	assert_int_equal(taken_by(0x30), 1);
	assert_int_equal(vm.nmis[0], 1);
	vlapic_lint_set(apic(0), 0, false);
	vlapic_mmio_write(apic(0), LVT_MMIO(LINT0), 0x8031); // fixed, level
	vlapic_lint_set(apic(0), 0, true);
	assert_int_equal(vlapic_mmio_read(apic(0), LVT_MMIO(LINT0)), 0xC031);
	assert_int_equal(taken_by(0x31), 1); // EOI: still asserted, comes again
	assert_int_equal(vlapic_pending(apic(0)), 0x31);
	vlapic_lint_set(apic(0), 0, false);
	assert_int_equal(taken_by(0x31), 1);
	assert_int_equal(vlapic_pending(apic(0)), -1);
	assert_int_equal(vlapic_mmio_read(apic(0), LVT_MMIO(LINT0)), 0x8031);
	vlapic_mmio_write(apic(0), LVT_MMIO(LINT0), 0x700);
	assert_true(vlapic_accepts_extint(apic(0)));
}

#define CASE(name, prepare) cmocka_unit_test_setup_teardown(name, prepare, teardown)

int main(void) {
	const struct CMUnitTest tests[] = {
	    CASE(icr_destinations_xapic_as_manual, setup_4),
	    CASE(icr_destinations_x2apic_as_manual, setup_64),
	    CASE(icr_illegal_vector_sets_send_error, setup),
	    CASE(icr_lifecycle_messages_reach_vcpu, setup_4),
	    CASE(deliver_lowest_prefers_low_priority_then_turns, setup_4),
	    CASE(deliver_repeated_vector_signals_once, setup),
	    CASE(lint_pins_follow_lvt, setup),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
