// SPDX-License-Identifier: Apache-2.0
// The ACPI tables that a guest finds: RSDP, RSDT, XSDT, FADT, MADT, FACS and DSDT, built once per VM into
// one block of its memory. Addresses and ports of the fixed devices are those of kernel/guestmap.h.
#pragma once

#include "kernel/lib/types.h"

// Where an operating system looks for the RSDP (ACPI 6.4 section 5.2.5.1): the block lies inside.
#define ACPI_GUEST_AREA_GPA 0xe0000u
#define ACPI_GUEST_AREA_BYTES 0x20000u

struct acpi_guest {
	uint32_t vcpu_count;      // at least 1
	const uint32_t *apic_ids; // one for each vCPU, in the order in which they are numbered
	uint8_t ioapic_id;
};

// Bytes that acpi_tables_build needs for this guest.
size_t acpi_tables_bytes(const struct acpi_guest *in);

// Writes the tables to `out`, which is (a view of) guest memory at gpa_of_out, and the RSDP's address to
// *rsdp_gpa. Everything beyond the tables stays as it was.
// -ERR_INVAL: no vCPU, or gpa_of_out not a multiple of 64; -ERR_RANGE: the tables would not lie in the
// area above; -ERR_NOMEM: out_bytes is less than acpi_tables_bytes.
__must_check int acpi_tables_build(const struct acpi_guest *in, uint8_t *out, size_t out_bytes,
                                   uint64_t gpa_of_out, uint64_t *rsdp_gpa);
