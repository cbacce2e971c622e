// SPDX-License-Identifier: Apache-2.0
// Interrupt routing of a VM (struct kvm_irq_routing_table): a GSI, the line number that devices and
// ACPI use, leads to any of a PIC pin, an I/O APIC pin and an MSI. A table is immutable once built and is
// replaced whole by a pointer swap. Several sources may hold one line; it is asserted while one of them
// does. Every function needs the VM's device lock but irqroute_build, irqroute_default and
// irqroute_msi_decode, which touch nothing shared.
#pragma once

#include "kernel/vintc.h"

#define IRQROUTE_GSI_MAX 64u
#define IRQROUTE_ENTRY_MAX 128u
#define IRQROUTE_SOURCE_MAX 32u
#define IRQROUTE_PIC_PINS 16u
#define IRQROUTE_IOAPIC_PINS 24u

// Who drives a line; each holds its own level.
enum irqroute_source { IRQROUTE_SOURCE_DEVICE = 0, IRQROUTE_SOURCE_SIGNAL = 1, IRQROUTE_SOURCE_CONTROL = 2 };

enum irqroute_kind { IRQROUTE_PIC = 1, IRQROUTE_IOAPIC, IRQROUTE_MSI };

struct irqroute_entry {
	uint32_t gsi;
	uint32_t kind;    // enum irqroute_kind
	uint32_t pin;     // PIC and I/O APIC
	uint32_t data;    // MSI
	uint64_t address; // MSI
};

// What a GSI leads to, as the deliverer wants it.
struct irqroute_target {
	uint8_t kind, pin;
	struct irq_msg msg; // MSI, decoded
};

struct irqroute_table {
	uint16_t first[IRQROUTE_GSI_MAX + 1]; // of a GSI's targets; the next GSI's first ends them
	struct irqroute_target target[IRQROUTE_ENTRY_MAX];
};

struct irqroute {
	const struct irqroute_table *table;  // never NULL after irqroute_init
	uint32_t asserted[IRQROUTE_GSI_MAX]; // bit s: source s asserts the line
};

// Builds a table of `count` entries in any order. -ERR_NOMEM: more than IRQROUTE_ENTRY_MAX; -ERR_RANGE: no
// such GSI or pin; -ERR_INVAL: unknown kind, or an MSI address outside the interrupt window;
// -ERR_OVERLAP: two entries lead to one pin. On error the table's content is undefined.
__must_check int irqroute_build(struct irqroute_table *table, const struct irqroute_entry *entry,
                                unsigned count);
// The PC's: GSI 0 to PIC 0 and I/O APIC 2, GSI 1..15 but 2 to both pins of their number, 16..23 to the
// I/O APIC alone.
void irqroute_default(struct irqroute_table *table);

// No line asserted. The table stays the caller's and must outlive its use.
void irqroute_init(struct irqroute *route, const struct irqroute_table *table);
// Puts a new table in place and returns the old one, the caller's to free once every CPU has passed a
// quiescent point. Pins whose level differs between the two are driven to the new one; a pin that both
// drive alike sees nothing, so no edge is made up.
const struct irqroute_table *irqroute_swap(struct irqroute *route, struct vm *vm,
                                           const struct irqroute_table *table);

// Source drives the GSI's line. Idempotent. PIC and I/O APIC pins follow the OR of all sources; an MSI is
// sent when that rises. A GSI beyond the table is ignored.
void irqroute_set(struct irqroute *route, struct vm *vm, unsigned source, uint32_t gsi, bool level);
// The line's level now.
bool irqroute_level(const struct irqroute *route, uint32_t gsi);

// An MSI's address and data (SDM vol. 3 10.11) as a message; -ERR_INVAL outside 0xFEE00000..0xFEEFFFFF.
__must_check int irqroute_msi_decode(uint64_t address, uint32_t data, struct irq_msg *msg);
