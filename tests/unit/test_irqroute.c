// SPDX-License-Identifier: Apache-2.0
// Interrupt routing against recording chips: the default table, sources, swapping, MSI decoding, and bad
// tables.
#include "tests/unit/support.h"
#include "tests/unit/vm_double.h"

#include "kernel/irqroute.h"
#include "kernel/lib/err.h"

static struct vm vm;
static struct vdev pic, ioapic;
static bool pic_pin[IRQROUTE_PIC_PINS], ioapic_pin[IRQROUTE_IOAPIC_PINS];
static unsigned changes, messages;
static struct irq_msg last;

void vpic_pin_set(struct vdev *vpic, unsigned pin, bool level) {
	assert_ptr_equal(vpic, &pic);
	assert_true(pin < IRQROUTE_PIC_PINS);
	changes++;
	pic_pin[pin] = level;
}
void vioapic_pin_set(struct vdev *vioapic, unsigned pin, bool level) {
	assert_ptr_equal(vioapic, &ioapic);
	assert_true(pin < IRQROUTE_IOAPIC_PINS);
	changes++;
	ioapic_pin[pin] = level;
}
bool vlapic_deliver(struct vm *owner, struct vdev *source, const struct irq_msg *msg) {
	assert_ptr_equal(owner, &vm);
	assert_null(source);
	messages++;
	last = *msg;
	return true;
}

static struct irqroute_table table;
static struct irqroute route;

static int setup(void **state) {
	(void)state;
	vm_double_init(&vm);
	vm.pic = &pic;
	vm.ioapic = &ioapic;
	memset(pic_pin, 0, sizeof pic_pin);
	memset(ioapic_pin, 0, sizeof ioapic_pin);
	changes = messages = 0;
	irqroute_default(&table);
	irqroute_init(&route, &table);
	return 0;
}
static void set(unsigned source, uint32_t gsi, bool level) { irqroute_set(&route, &vm, source, gsi, level); }

static void set_default_table_drives_pc_pins(void **state) {
	(void)state;
	for (uint32_t gsi = 0; gsi < IRQROUTE_GSI_MAX + 2; gsi++) {
		set(0, gsi, true);
		assert_int_equal(irqroute_level(&route, gsi), gsi < IRQROUTE_GSI_MAX);
		for (unsigned pin = 0; pin < IRQROUTE_PIC_PINS; pin++)
			assert_int_equal(pic_pin[pin], pin == gsi && gsi != 2);
		for (unsigned pin = 0; pin < IRQROUTE_IOAPIC_PINS; pin++)
			assert_int_equal(ioapic_pin[pin], gsi == 0 ? pin == 2 : pin == gsi && gsi != 2);
		set(0, gsi, false);
	}
	assert_int_equal(changes, 2 * (15 * 2 + 8));
}

static void set_several_sources_are_ored(void **state) {
	(void)state;
	set(0, 9, true);
	set(31, 9, true);
	set(31, 9, true);
	assert_int_equal(changes, 2);
	set(0, 9, false);
	assert_true(ioapic_pin[9]);
	set(31, 9, false);
	assert_false(ioapic_pin[9]);
	assert_int_equal(changes, 4);
}

static void set_missing_chips_are_passed_over(void **state) {
	(void)state;
	vm.pic = NULL;
	set(0, 4, true);
	assert_true(ioapic_pin[4]);
	vm.ioapic = NULL;
	set(0, 4, false);
	assert_int_equal(changes, 1);
}

static void set_msi_is_sent_on_rise(void **state) {
	(void)state;
	static struct irqroute_table msi;
	struct irqroute_entry entry = {.gsi = 40, .kind = IRQROUTE_MSI, .address = 0xFEE03004, .data = 0x4155};
	assert_int_equal(irqroute_build(&msi, &entry, 1), 0);
	irqroute_init(&route, &msi);
	set(1, 40, true);
	set(0, 40, true);
	assert_int_equal(messages, 1);
	assert_int_equal(last.dest, 3);
	assert_int_equal(last.vector, 0x55);
	assert_int_equal(last.mode, IRQ_MODE_LOWEST);
	assert_true(last.logical);
	assert_false(last.level);
	set(0, 40, false);
	set(1, 40, false);
	set(1, 40, true);
	assert_int_equal(messages, 2);
}

static void swap_drives_only_what_differs(void **state) {
	(void)state;
	static struct irqroute_table other;
	struct irqroute_entry entry[] = {
	    {.gsi = 9, .kind = IRQROUTE_IOAPIC, .pin = 9}, // as before
	    {.gsi = 10, .kind = IRQROUTE_IOAPIC, .pin = 20},
	    {.gsi = 11, .kind = IRQROUTE_IOAPIC, .pin = 10},
	};
	assert_int_equal(irqroute_build(&other, entry, array_count(entry)), 0);
	set(0, 9, true);
	set(0, 10, true);
	changes = 0;
	assert_ptr_equal(irqroute_swap(&route, &vm, &other), &table);
	assert_true(ioapic_pin[9]);
	assert_false(ioapic_pin[10]);
	assert_true(ioapic_pin[20]);
	assert_false(pic_pin[9]);
	assert_false(pic_pin[10]);
	assert_int_equal(changes, 4);
	assert_ptr_equal(irqroute_swap(&route, &vm, &table), &other);
	assert_true(pic_pin[9] && pic_pin[10] && ioapic_pin[9] && ioapic_pin[10]);
	assert_false(ioapic_pin[20]);
}

static void build_bad_entries_are_refused(void **state) {
	(void)state;
	static struct irqroute_table bad;
	static const struct irqroute_entry many[IRQROUTE_ENTRY_MAX + 1];
	const struct {
		struct irqroute_entry entry;
		int err;
	} cases[] = {
	    {{.gsi = IRQROUTE_GSI_MAX, .kind = IRQROUTE_PIC}, -ERR_RANGE},
	    {{.gsi = 1, .kind = IRQROUTE_PIC, .pin = 16}, -ERR_RANGE},
	    {{.gsi = 1, .kind = IRQROUTE_IOAPIC, .pin = 24}, -ERR_RANGE},
	    {{.gsi = 1, .kind = 0}, -ERR_INVAL},
	    {{.gsi = 1, .kind = IRQROUTE_MSI, .address = 0xFED00000}, -ERR_INVAL},
	    {{.gsi = 1, .kind = IRQROUTE_MSI, .address = 0x1FEE00000}, -ERR_INVAL},
	};
	for (unsigned i = 0; i < array_count(cases); i++)
		assert_int_equal(irqroute_build(&bad, &cases[i].entry, 1), cases[i].err);
	const struct irqroute_entry twice[] = {{.gsi = 1, .kind = IRQROUTE_PIC, .pin = 3},
	                                       {.gsi = 7, .kind = IRQROUTE_PIC, .pin = 3}};
	assert_int_equal(irqroute_build(&bad, twice, 2), -ERR_OVERLAP);
	assert_int_equal(irqroute_build(&bad, many, array_count(many)), -ERR_NOMEM);
	assert_int_equal(irqroute_build(&bad, NULL, 0), 0);
}

#define CASE(name) cmocka_unit_test_setup(name, setup)

int main(void) {
	const struct CMUnitTest tests[] = {
	    CASE(set_default_table_drives_pc_pins),  CASE(set_several_sources_are_ored),
	    CASE(set_missing_chips_are_passed_over), CASE(set_msi_is_sent_on_rise),
	    CASE(swap_drives_only_what_differs),     CASE(build_bad_entries_are_refused),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
