// SPDX-License-Identifier: Apache-2.0
// Interrupt routing: tables sorted by GSI, and the OR of sources on every line. See docs/IRQ.md.
#include "kernel/irqroute.h"
#include "kernel/lib/assert.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"
#include "kernel/lib/string.h"

// SDM vol. 3 10.11.1, Message Address Register Format, and 10.11.2, Message Data Register Format.
#define MSI_WINDOW UINT64_C(0xFEE00000)
#define MSI_WINDOW_MASK (~MASK64(19, 0))
#define MSI_ADDRESS_LOGICAL BIT64(2)
#define MSI_DATA_ASSERT BIT32(14)
#define MSI_DATA_LEVEL BIT32(15)

#define PIC_CASCADE 2u
#define IOAPIC_TIMER_PIN 2u // the PC wires the timer (GSI 0) here, and the PIC's cascade has no GSI

int irqroute_msi_decode(uint64_t address, uint32_t data, struct irq_msg *msg) {
	if ((address & MSI_WINDOW_MASK) != MSI_WINDOW) return -ERR_INVAL;
	*msg = (struct irq_msg){
	    .dest = (uint32_t)bits_get(address, 19, 12),
	    .vector = (uint8_t)data,
	    .mode = (uint8_t)bits_get(data, 10, 8),
	    .logical = (address & MSI_ADDRESS_LOGICAL) != 0,
	    .level = (data & MSI_DATA_LEVEL) != 0,
	    .assert_level = (data & MSI_DATA_ASSERT) != 0,
	};
	return 0;
}

// ---- tables ----------------------------------------------------------------------------------------------

static int target_make(struct irqroute_target *target, const struct irqroute_entry *entry) {
	*target = (struct irqroute_target){.kind = (uint8_t)entry->kind};
	if (entry->kind == IRQROUTE_MSI) return irqroute_msi_decode(entry->address, entry->data, &target->msg);
	if (entry->kind != IRQROUTE_PIC && entry->kind != IRQROUTE_IOAPIC) return -ERR_INVAL;
	if (entry->pin >= (entry->kind == IRQROUTE_PIC ? IRQROUTE_PIC_PINS : IRQROUTE_IOAPIC_PINS))
		return -ERR_RANGE;
	target->pin = (uint8_t)entry->pin;
	return 0;
}

// A pin as one bit of a word: I/O APIC pins from 0, PIC pins above them; 0 for an MSI.
static uint64_t pin_bit(const struct irqroute_target *target) {
	if (target->kind == IRQROUTE_MSI) return 0;
	return BIT64(target->pin + (target->kind == IRQROUTE_PIC ? IRQROUTE_IOAPIC_PINS : 0));
}

int irqroute_build(struct irqroute_table *table, const struct irqroute_entry *entry, unsigned count) {
	unsigned used = 0;
	uint64_t pins = 0;
	if (count > IRQROUTE_ENTRY_MAX) return -ERR_NOMEM;
	for (unsigned i = 0; i < count; i++)
		if (entry[i].gsi >= IRQROUTE_GSI_MAX) return -ERR_RANGE;
	for (uint32_t gsi = 0; gsi < IRQROUTE_GSI_MAX; gsi++) {
		table->first[gsi] = (uint16_t)used;
		for (unsigned i = 0; i < count; i++) {
			if (entry[i].gsi != gsi) continue;
			struct irqroute_target *target = &table->target[used++];
			int err = target_make(target, &entry[i]);
			if (err) return err;
			if (pins & pin_bit(target)) return -ERR_OVERLAP;
			pins |= pin_bit(target);
		}
	}
	table->first[IRQROUTE_GSI_MAX] = (uint16_t)used;
	return 0;
}

void irqroute_default(struct irqroute_table *table) {
	struct irqroute_entry entry[IRQROUTE_PIC_PINS + IRQROUTE_IOAPIC_PINS];
	unsigned count = 0;
	for (uint32_t gsi = 0; gsi < IRQROUTE_IOAPIC_PINS; gsi++) {
		if (gsi == PIC_CASCADE) continue;
		uint32_t pin = gsi == 0 ? IOAPIC_TIMER_PIN : gsi;
		if (gsi < IRQROUTE_PIC_PINS)
			entry[count++] = (struct irqroute_entry){.gsi = gsi, .kind = IRQROUTE_PIC, .pin = gsi};
		entry[count++] = (struct irqroute_entry){.gsi = gsi, .kind = IRQROUTE_IOAPIC, .pin = pin};
	}
	int err = irqroute_build(table, entry, count);
	assert(err == 0);
}

// ---- lines -----------------------------------------------------------------------------------------------

void irqroute_init(struct irqroute *route, const struct irqroute_table *table) {
	memset(route->asserted, 0, sizeof route->asserted);
	route->table = table;
}

static void pin_drive(struct vm *vm, const struct irqroute_target *target, bool level) {
	struct vdev *pic = vm_pic(vm), *ioapic = vm_ioapic(vm);
	if (target->kind == IRQROUTE_PIC && pic) vpic_pin_set(pic, target->pin, level);
	if (target->kind == IRQROUTE_IOAPIC && ioapic) vioapic_pin_set(ioapic, target->pin, level);
}

void irqroute_set(struct irqroute *route, struct vm *vm, unsigned source, uint32_t gsi, bool level) {
	assert(source < IRQROUTE_SOURCE_MAX);
	if (gsi >= IRQROUTE_GSI_MAX) return;
	uint32_t before = route->asserted[gsi];
	uint32_t after = level ? before | BIT32(source) : before & ~BIT32(source);
	route->asserted[gsi] = after;
	if ((before != 0) == (after != 0)) return;
	const struct irqroute_table *table = route->table;
	for (unsigned i = table->first[gsi]; i < table->first[gsi + 1]; i++) {
		const struct irqroute_target *target = &table->target[i];
		if (target->kind != IRQROUTE_MSI)
			pin_drive(vm, target, level);
		else if (level)
			(void)vlapic_deliver(vm, NULL, &target->msg);
	}
}

bool irqroute_level(const struct irqroute *route, uint32_t gsi) {
	return gsi < IRQROUTE_GSI_MAX && route->asserted[gsi] != 0;
}

// The pins that a table holds asserted now.
static uint64_t pins_asserted(const struct irqroute *route, const struct irqroute_table *table) {
	uint64_t pins = 0;
	for (uint32_t gsi = 0; gsi < IRQROUTE_GSI_MAX; gsi++)
		for (unsigned i = table->first[gsi]; i < table->first[gsi + 1]; i++)
			if (route->asserted[gsi]) pins |= pin_bit(&table->target[i]);
	return pins;
}

static void pins_drive(struct vm *vm, const struct irqroute_table *table, uint64_t pins, bool level) {
	for (unsigned i = 0; i < table->first[IRQROUTE_GSI_MAX]; i++)
		if (pins & pin_bit(&table->target[i])) pin_drive(vm, &table->target[i], level);
}

const struct irqroute_table *irqroute_swap(struct irqroute *route, struct vm *vm,
                                           const struct irqroute_table *table) {
	const struct irqroute_table *old = route->table;
	uint64_t was = pins_asserted(route, old), is = pins_asserted(route, table);
	__atomic_store_n(&route->table, table, __ATOMIC_RELEASE);
	pins_drive(vm, old, was & ~is, false);
	pins_drive(vm, table, is & ~was, true);
	return old;
}
