// SPDX-License-Identifier: Apache-2.0
// Conversion between nanoseconds of the VM's clock and ticks of a device's crystal, exact for all of the
// 64-bit range that a clock can reach, without 128-bit arithmetic: whole seconds apart from the rest.
// For every t and 0 < hz < 10^9: ns_to_ticks(ticks_to_ns(t, hz), hz) == t.
#pragma once

#include "kernel/lib/types.h"

#define NS_PER_SECOND UINT64_C(1000000000)

// Whole ticks that have passed after ns.
static inline uint64_t ns_to_ticks(uint64_t ns, uint32_t hz) {
	return ns / NS_PER_SECOND * hz + ns % NS_PER_SECOND * hz / NS_PER_SECOND;
}

// The first nanosecond at which `ticks` have passed.
static inline uint64_t ticks_to_ns(uint64_t ticks, uint32_t hz) {
	return ticks / hz * NS_PER_SECOND + (ticks % hz * NS_PER_SECOND + hz - 1) / hz;
}
