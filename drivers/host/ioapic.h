// SPDX-License-Identifier: Apache-2.0
// The I/O APICs of the machine: all pins masked at boot, then one GSI at a time routed to a vector on one
// CPU. Called with interrupts off, from any CPU. Facts: Intel 82093AA data sheet.
#pragma once

#include "drivers/host/acpi.h"

// Maps and masks every I/O APIC of info; one that does not answer is left out with a log line. Also masks
// the 8259 pair when info->pic_present. Returns how many answer.
unsigned ioapic_init(const struct acpi_info *info);

// Routes a GSI to `vector` on the CPU with this APIC id (below 255: no interrupt remapping yet), unmasked;
// VEC_NMI makes it an NMI.
// flags: MPS INTI flags; a field of 0 means edge, active high for ISA. -ERR_NOENT: no I/O APIC has this GSI;
// -ERR_RANGE: the id does not fit.
__must_check int ioapic_route(uint32_t gsi, uint16_t flags, uint32_t apic_id, uint8_t vector);
