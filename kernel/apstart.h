// SPDX-License-Identifier: Apache-2.0
// Bringing up the other CPUs (SDM vol. 3, 8.4 "Multiple-Processor (MP) Initialization"; APM vol. 2, 7.x and 15.27).
#pragma once

#include "drivers/host/acpi.h"

// Enables the local APIC of the calling CPU and the NMI pins that the MADT names for it. -ERR_UNSUP.
__must_check int apstart_apic(const struct acpi_info *acpi);

// Starts every enabled CPU of the MADT but the calling one, one after the other. CPU ids follow the order of the MADT,
// the boot CPU first, so that they are the same at every boot; a CPU that does not come up, that is poorer than the
// boot CPU or whose TSC cannot be set right is named in the log, left halted, and its id stays unused. After arch_init,
// interrupts on the boot CPU off.
void apstart_all(const struct acpi_info *acpi);
