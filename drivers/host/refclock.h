// SPDX-License-Identifier: Apache-2.0
// The reference clocks of a PC as struct refclock: HPET, ACPI PM timer, PIT channel 2; and the calibration of
// this machine's TSC with them. Boot CPU, once, interrupts off.
#pragma once

#include "drivers/host/acpi.h"
#include "drivers/host/tsccal.h"

// Each prepares its hardware and fills *clock; -ERR_UNSUP when it is not there or shows no sane registers,
// -ERR_NOMEM from the mapping.
__must_check int hpet_init(struct refclock *clock, hpa_t base);
__must_check int pmtimer_init(struct refclock *clock, const struct acpi_fixed *fixed);
__must_check int pit_init(struct refclock *clock);

// TSC frequency of this machine: HPET, else PM timer, else PIT; CPUID 15h only as a cross-check.
// -ERR_TIMEOUT when no reference works.
__must_check int refclock_calibrate_tsc(struct tsccal_result *result, const struct acpi_info *info);
