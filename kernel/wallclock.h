// SPDX-License-Identifier: Apache-2.0
// The time of day: read once from the host's RTC at boot, carried on by the TSC.
#pragma once

#include "kernel/lib/types.h"

// Reads the RTC; without a plausible answer the epoch's start is used, with a log line.
__step void wallclock_init(void);
// Nanoseconds since 1970-01-01 00:00 UTC (the RTC is taken to run in UTC), right to half a second.
uint64_t wallclock_now_ns(void);
