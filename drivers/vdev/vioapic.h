// SPDX-License-Identifier: Apache-2.0
// The virtual I/O APIC's saved record and what its guest sees of its registers; the rest of the
// interface is in kernel/vintc.h. Facts: Intel 82093AA data sheet; the EOI register is that of the
// version 0x20 parts (ICH/PCH data sheets, "EOI register").
#pragma once

#include "kernel/vintc.h"

#define VIOAPIC_STATE_VERSION 1u
#define VIOAPIC_PINS 24u
#define VIOAPIC_BASE_DEFAULT UINT64_C(0xFEC00000) // guest physical
#define VIOAPIC_BYTES UINT64_C(0x100)             // decoded from the base

struct vioapic_state {
	uint64_t redirect[VIOAPIC_PINS];
	uint32_t select; // IOREGSEL
	uint32_t id;     // 0..15
	uint32_t lines;  // bit n: pin n is asserted
	uint32_t reserved;
};
_Static_assert(sizeof(struct vioapic_state) == 24 * 8 + 16, "vioapic_state layout");

// The redirection entry, for tests and tables that program one (82093AA 3.2.4).
#define VIOAPIC_RTE_VECTOR 0xFFu
#define VIOAPIC_RTE_MODE_SHIFT 8
#define VIOAPIC_RTE_LOGICAL BIT64(11)
#define VIOAPIC_RTE_STATUS BIT64(12) // read only, always idle
#define VIOAPIC_RTE_LOW_ACTIVE BIT64(13)
#define VIOAPIC_RTE_REMOTE_IRR BIT64(14) // read only
#define VIOAPIC_RTE_LEVEL BIT64(15)
#define VIOAPIC_RTE_MASK BIT64(16)
#define VIOAPIC_RTE_DEST_SHIFT 56
