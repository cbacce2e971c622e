// SPDX-License-Identifier: Apache-2.0
// The virtual I/O APIC with real local APICs: register semantics, and random lines against a model in
// which no edge is lost or doubled and a level comes again as long as it stands.
#include "tests/unit/support.h"
#include "tests/unit/vm_double.h"

#include "drivers/vdev/vioapic.h"
#include "kernel/lib/err.h"

#define BASE VIOAPIC_BASE_DEFAULT
#define APIC_SVR 0xF0u
#define APIC_EOI 0xB0u

static struct vm vm;

static int setup(void **state) {
	(void)state;
	vm_double_init(&vm);
	vm.vcpu_count = 2;
	for (unsigned i = 0; i < vm.vcpu_count; i++)
		assert_non_null(vm_double_create(&vm, &vlapic_class, &(struct vdev_config){.index = i}, NULL));
	assert_non_null(vm_double_create(&vm, &vioapic_class, &(struct vdev_config){.index = 5}, NULL));
	for (unsigned i = 0; i < vm.vcpu_count; i++) vlapic_mmio_write(vm.lapic[i], APIC_SVR, 0x1FF);
	return 0;
}
static int teardown(void **state) {
	(void)state;
	vm_double_destroy(&vm);
	return 0;
}

static uint32_t reg_read(uint32_t index) {
	vm_double_mmio_write(&vm, BASE, 4, index);
	return (uint32_t)vm_double_mmio_read(&vm, BASE + 0x10, 4);
}
static void reg_write(uint32_t index, uint32_t value) {
	vm_double_mmio_write(&vm, BASE, 4, index);
	vm_double_mmio_write(&vm, BASE + 0x10, 4, value);
}
static void pin_program(unsigned pin, uint64_t rte) {
	reg_write(0x11 + 2 * pin, (uint32_t)(rte >> 32));
	reg_write(0x10 + 2 * pin, (uint32_t)rte);
}
static uint64_t pin_entry(unsigned pin) {
	return (uint64_t)reg_read(0x11 + 2 * pin) << 32 | reg_read(0x10 + 2 * pin);
}
static void line(unsigned pin, bool level) { vioapic_pin_set(vm.ioapic, pin, level); }
// The vCPU takes what is pending (-1 nothing); with EOI or leaving it in service.
static int take(unsigned vcpu) {
	int vector = vlapic_pending(vm.lapic[vcpu]);
	if (vector >= 0) assert_int_equal(vlapic_ack(vm.lapic[vcpu], (uint8_t)vector), vector);
	return vector;
}
static void eoi(unsigned vcpu) { vlapic_mmio_write(vm.lapic[vcpu], APIC_EOI, 0); }

static void registers_reset_values_as_data_sheet(void **state) {
	(void)state;
	assert_int_equal(reg_read(0), 5u << 24);
	assert_int_equal(reg_read(1), 0x00170020);
	assert_int_equal(reg_read(2), 5u << 24);
	for (unsigned pin = 0; pin < VIOAPIC_PINS; pin++) assert_int_equal(pin_entry(pin), VIOAPIC_RTE_MASK);
	assert_int_equal(reg_read(0x40), 0);
	assert_int_equal(reg_read(0xFF), 0);
}

static void registers_write_keeps_read_only_bits(void **state) {
	(void)state;
	reg_write(0, 0xFFFFFFFF);
	assert_int_equal(reg_read(0), 0x0F000000);
	reg_write(1, 0);
	assert_int_equal(reg_read(1), 0x00170020);
	pin_program(3, UINT64_MAX);
	assert_int_equal(pin_entry(3), 0xFF0000000001AFFF);
	reg_write(0x10 + 6, 0);
	assert_int_equal(pin_entry(3), 0xFF00000000000000);
}

static void registers_narrow_access_as_documented(void **state) {
	(void)state;
	vm_double_mmio_write(&vm, BASE, 1, 0x01);
	assert_int_equal(vm_double_mmio_read(&vm, BASE + 0x10, 1), 0x20);
	assert_int_equal(vm_double_mmio_read(&vm, BASE + 0x10, 8), 0x00170020);
	assert_int_equal(vm_double_mmio_read(&vm, BASE + 4, 4), 0);
	vm_double_mmio_write(&vm, BASE + 0x10, 2, 0);
	assert_int_equal(vm.guest_errors, 1);
}

static void edge_unmasked_rise_delivers_once(void **state) {
	(void)state;
	pin_program(4, 0x34 | (UINT64_C(1) << 56));
	line(4, true);
	line(4, true);
	assert_int_equal(take(0), -1);
	assert_int_equal(take(1), 0x34);
	eoi(1);
	assert_int_equal(take(1), -1);
	line(4, false);
	line(4, true);
	assert_int_equal(take(1), 0x34);
}

static void edge_while_masked_is_ignored(void **state) {
	(void)state;
	pin_program(4, 0x34 | VIOAPIC_RTE_MASK);
	line(4, true);
	pin_program(4, 0x34);
	assert_int_equal(take(0), -1);
	line(4, false);
	line(4, true);
	assert_int_equal(take(0), 0x34);
}

static void level_asserted_at_eoi_comes_again(void **state) {
	(void)state;
	pin_program(11, 0x3B | VIOAPIC_RTE_LEVEL | VIOAPIC_RTE_LOW_ACTIVE); // polarity does not matter
	line(11, true);
	assert_true(pin_entry(11) & VIOAPIC_RTE_REMOTE_IRR);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(take(0), 0x3B);
		assert_int_equal(take(0), -1);
		eoi(0);
	}
	line(11, false); // one more was sent already and stays
	assert_int_equal(take(0), 0x3B);
	eoi(0);
	assert_int_equal(take(0), -1);
	assert_false(pin_entry(11) & VIOAPIC_RTE_REMOTE_IRR);
}

static void level_asserted_while_masked_comes_at_unmask(void **state) {
	(void)state;
	pin_program(11, 0x3B | VIOAPIC_RTE_LEVEL | VIOAPIC_RTE_MASK);
	line(11, true);
	assert_int_equal(take(0), -1);
	pin_program(11, 0x3B | VIOAPIC_RTE_LEVEL);
	assert_int_equal(take(0), 0x3B);
	pin_program(11, 0x3B | VIOAPIC_RTE_LEVEL | VIOAPIC_RTE_MASK); // masked before EOI, as Linux does
	eoi(0);
	assert_int_equal(take(0), -1);
	assert_false(pin_entry(11) & VIOAPIC_RTE_REMOTE_IRR);
	pin_program(11, 0x3B | VIOAPIC_RTE_LEVEL);
	assert_int_equal(take(0), 0x3B);
}

static void level_refused_comes_when_apic_is_enabled(void **state) {
	(void)state;
	vlapic_mmio_write(vm.lapic[0], APIC_SVR, 0xFF);
	pin_program(11, 0x3B | VIOAPIC_RTE_LEVEL);
	line(11, true);
	assert_false(pin_entry(11) & VIOAPIC_RTE_REMOTE_IRR);
	vlapic_mmio_write(vm.lapic[0], APIC_SVR, 0x1FF);
	assert_int_equal(take(0), 0x3B);
}

static void level_switch_to_edge_clears_remote_irr(void **state) {
	(void)state;
	pin_program(11, 0x3B | VIOAPIC_RTE_LEVEL);
	line(11, true);
	assert_int_equal(take(0), 0x3B);
	line(11, false);
	pin_program(11, 0x3B | VIOAPIC_RTE_MASK);
	assert_false(pin_entry(11) & VIOAPIC_RTE_REMOTE_IRR);
	eoi(0);
	pin_program(11, 0x3B | VIOAPIC_RTE_LEVEL);
	line(11, true);
	assert_int_equal(take(0), 0x3B);
}

static void eoi_register_ends_directed(void **state) {
	(void)state;
	vlapic_mmio_write(vm.lapic[0], APIC_SVR, 0x11FF); // EOI broadcast suppressed
	pin_program(11, 0x3B | VIOAPIC_RTE_LEVEL);
	line(11, true);
	assert_int_equal(take(0), 0x3B);
	eoi(0);
	assert_int_equal(take(0), -1);
	vm_double_mmio_write(&vm, BASE + 0x40, 4, 0x3B);
	assert_int_equal(take(0), 0x3B);
}

static void shared_vector_eoi_serves_both_pins(void **state) {
	(void)state;
	pin_program(16, 0x40 | VIOAPIC_RTE_LEVEL);
	pin_program(17, 0x40 | VIOAPIC_RTE_LEVEL);
	line(16, true);
	line(17, true);
	assert_int_equal(take(0), 0x40);
	line(16, false);
	eoi(0);
	assert_int_equal(take(0), 0x40);
	assert_false(pin_entry(16) & VIOAPIC_RTE_REMOTE_IRR);
	assert_true(pin_entry(17) & VIOAPIC_RTE_REMOTE_IRR);
}

static void modes_nmi_and_init_are_edges(void **state) {
	(void)state;
	pin_program(7, 0x400 | VIOAPIC_RTE_LEVEL | (UINT64_C(1) << 56));
	line(7, true);
	assert_int_equal(vm.nmis[1], 1);
	assert_false(pin_entry(7) & VIOAPIC_RTE_REMOTE_IRR);
	pin_program(8, 0x500 | (UINT64_C(1) << 56));
	line(8, true);
	assert_int_equal(vm.inits[1], 1);
}

static void reset_masks_and_forgets(void **state) {
	(void)state;
	pin_program(11, 0x3B | VIOAPIC_RTE_LEVEL);
	line(11, true);
	reg_write(0, 0x02000000);
	vm.ioapic->class->reset(vm.ioapic);
	assert_int_equal(pin_entry(11), VIOAPIC_RTE_MASK);
	assert_int_equal(reg_read(0), 5u << 24);
}

static void load_bad_record_is_refused(void **state) {
	(void)state;
	struct vioapic_state *good = vm_double_save(vm.ioapic);
	struct vioapic_state bad = *good;
	bad.lines = BIT32(24);
	assert_int_equal(vm_double_load(vm.ioapic, &bad), -ERR_FORMAT);
	bad = *good;
	bad.redirect[3] = VIOAPIC_RTE_REMOTE_IRR;
	assert_int_equal(vm_double_load(vm.ioapic, &bad), -ERR_FORMAT);
	bad = *good;
	bad.redirect[3] = VIOAPIC_RTE_STATUS;
	assert_int_equal(vm_double_load(vm.ioapic, &bad), -ERR_FORMAT);
	bad = *good;
	bad.select = 256;
	assert_int_equal(vm_double_load(vm.ioapic, &bad), -ERR_FORMAT);
	assert_int_equal(vm.ioapic->class->load(vm.ioapic, good, sizeof *good, 9), -ERR_VERSION);
	assert_int_equal(vm_double_load(vm.ioapic, good), 0);
	free(good);
}

// ---- random lines against a model --------------------------------------------------------------------------

// Every pin has a vector of its own. `sent` counts what must have been delivered and not yet taken: for
// edges 0 or 1 (a second one merges in IRR), for levels the remote IRR.
struct pin_model {
	bool line, level, masked;
	bool waiting; // in the local APIC's IRR
	bool remote;  // remote IRR
	bool serving; // in the local APIC's ISR
	bool tmr;     // trigger mode at acceptance
};
static struct pin_model pins[VIOAPIC_PINS];

static uint8_t pin_vector(unsigned pin) { return (uint8_t)(0x30 + 8 * pin); }

static void model_send(struct pin_model *m) {
	m->waiting = true;
	m->tmr = m->level;
}
static void model_resample(struct pin_model *m) {
	if (!m->level || !m->line || m->masked || m->remote) return;
	model_send(m);
	m->remote = true;
}

static void step_line(unsigned pin, bool level) {
	struct pin_model *m = &pins[pin];
	bool rise = level && !m->line;
	m->line = level;
	if (rise && !m->level && !m->masked) model_send(m);
	model_resample(m);
	line(pin, level);
}
static void step_program(unsigned pin, bool level, bool masked) {
	struct pin_model *m = &pins[pin];
	m->level = level;
	m->masked = masked;
	if (!level) m->remote = false;
	model_resample(m);
	// One half only: the vector and destination stay.
	reg_write(0x10 + 2 * pin, pin_vector(pin) | (level ? 0x8000u : 0) | (masked ? 0x10000u : 0));
}
static void step_take(void) {
	int want = -1;
	for (int pin = VIOAPIC_PINS - 1; pin >= 0 && want < 0; pin--) {
		if (pins[pin].serving) break; // and with it everything below: vectors are 8 apart
		if (!pins[pin].waiting) continue;
		// Of the same class as one in service below: held back.
		bool held = pin > 0 && pins[pin - 1].serving &&
		            pin_vector((unsigned)pin) >> 4 == pin_vector((unsigned)pin - 1) >> 4;
		if (held) break;
		want = pin;
	}
	assert_int_equal(take(0), want < 0 ? -1 : pin_vector((unsigned)want));
	if (want < 0) return;
	pins[want].waiting = false;
	pins[want].serving = true;
}
static void step_eoi(void) {
	eoi(0);
	for (int pin = VIOAPIC_PINS - 1; pin >= 0; pin--) {
		struct pin_model *m = &pins[pin];
		if (!m->serving) continue;
		m->serving = false;
		if (m->tmr) {
			m->remote = false;
			model_resample(m);
		}
		return;
	}
}
static void step_save_load(void) {
	void *record = vm_double_save(vm.ioapic);
	void *apic_record = vm_double_save(vm.lapic[0]);
	vm.ioapic->class->reset(vm.ioapic);
	vm.lapic[0]->class->reset(vm.lapic[0]);
	assert_int_equal(vm_double_load(vm.ioapic, record), 0);
	assert_int_equal(vm_double_load(vm.lapic[0], apic_record), 0);
	void *again = vm_double_save(vm.ioapic);
	assert_memory_equal(record, again, vm.ioapic->class->state_bytes);
	free(record);
	free(apic_record);
	free(again);
}

static void lines_random_match_model(void **state) {
	(void)state;
	struct rng rng;
	rng_init(&rng, 0x10A91C);
	memset(pins, 0, sizeof pins);
	for (unsigned pin = 0; pin < VIOAPIC_PINS; pin++) step_program(pin, false, false);
	for (unsigned step = 0; step < 100000; step++) {
		unsigned pin = (unsigned)rng_below(&rng, VIOAPIC_PINS);
		switch (rng_below(&rng, 8)) {
		case 0:
		case 1:
		case 2: step_line(pin, rng_below(&rng, 2)); break;
		case 3: step_program(pin, rng_below(&rng, 2), rng_below(&rng, 2)); break;
		case 4:
		case 5: step_take(); break;
		case 6: step_eoi(); break;
		default:
			if (rng_below(&rng, 16) == 0) step_save_load();
			break;
		}
		assert_int_equal((pin_entry(pin) & VIOAPIC_RTE_REMOTE_IRR) != 0, pins[pin].remote);
	}
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void) {
	const struct CMUnitTest tests[] = {
	    CASE(registers_reset_values_as_data_sheet),
	    CASE(registers_write_keeps_read_only_bits),
	    CASE(registers_narrow_access_as_documented),
	    CASE(edge_unmasked_rise_delivers_once),
	    CASE(edge_while_masked_is_ignored),
	    CASE(level_asserted_at_eoi_comes_again),
	    CASE(level_asserted_while_masked_comes_at_unmask),
	    CASE(level_refused_comes_when_apic_is_enabled),
	    CASE(level_switch_to_edge_clears_remote_irr),
	    CASE(eoi_register_ends_directed),
	    CASE(shared_vector_eoi_serves_both_pins),
	    CASE(modes_nmi_and_init_are_edges),
	    CASE(reset_masks_and_forgets),
	    CASE(load_bad_record_is_refused),
	    CASE(lines_random_match_model),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
