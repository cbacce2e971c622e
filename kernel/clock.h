// SPDX-License-Identifier: Apache-2.0
// The machine's time: the TSC, calibrated at boot, as nanoseconds by one multiplication.
#pragma once

#include "kernel/lib/types.h"

// khz > 0; once at boot.
void clock_init(uint64_t tsc_khz);
uint64_t clock_tsc_khz(void);
// Durations, either way; ns to ticks rounds up, so that a deadline is never early.
uint64_t clock_tsc_to_ns(uint64_t ticks);
uint64_t clock_ns_to_tsc(uint64_t ns);
// ns since the TSC was 0.
uint64_t clock_now_ns(void);
// mult and shift of the paravirtual clock: ns = ((ticks << shift) * mult) >> 32 (negative shift: right).
void clock_pv_scale(uint32_t *mult, int8_t *shift);
