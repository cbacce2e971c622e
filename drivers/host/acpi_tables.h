// SPDX-License-Identifier: Apache-2.0
// Contents of the single ACPI tables, for drivers/host/acpi.c only. `table` is a whole table whose length and
// checksum have been checked; each parser stays inside `bytes` and never fails half-way.
#pragma once

#include "drivers/host/acpi.h"

#define ACPI_HEADER_BYTES 36u // ACPI 5.2.6, table 5.29

// What the FADT refers to.
struct acpi_fadt_refs {
	hpa_t dsdt; // 0 none
};

// -ERR_TRUNC: too short for the fields every revision has; info is then unchanged.
__must_check int acpi_parse_madt(struct acpi_info *info, const uint8_t *table, uint32_t bytes);
__must_check int acpi_parse_fadt(struct acpi_info *info, struct acpi_fadt_refs *refs, const uint8_t *table,
                                 uint32_t bytes);
__must_check int acpi_parse_hpet(struct acpi_info *info, const uint8_t *table, uint32_t bytes);
__must_check int acpi_parse_mcfg(struct acpi_info *info, const uint8_t *table, uint32_t bytes);
// Looks for \_S5 in the AML of a DSDT or SSDT; the first one found stays.
void acpi_scan_s5(struct acpi_info *info, const uint8_t *table, uint32_t bytes);
