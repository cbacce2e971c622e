// SPDX-License-Identifier: Apache-2.0
// Power-off and reset of the machine, callable from any CPU in any state (panic included): everything that
// has to be looked up or mapped is taken at power_init. What the machine cannot do is said, then the CPU halts.
#pragma once

#include "drivers/host/acpi.h"

// Remembers the registers (copies what it needs of info) and maps a memory-mapped reset register.
// Boot only, after mm. Before it, power_reset uses the legacy ways and power_off only halts.
void power_init(const struct acpi_info *info);

// ACPI S5. When there is no way, or the machine does not obey within about a second: logs
// "cannot power off: halting" and halts this CPU with interrupts off.
noreturn void power_off(void);

// FADT reset register, then port 0xCF9, then the keyboard controller, then a triple fault.
noreturn void power_reset(void);
