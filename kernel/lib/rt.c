// SPDX-License-Identifier: Apache-2.0
// What the compiler calls by itself on CPUs without an instruction for it (POPCNT is not in the x86-64 baseline).
// libgcc's own is built with a red zone, which no interrupt handler here may meet.
#include "kernel/lib/types.h"

int __popcountdi2(int64_t v);

int __popcountdi2(int64_t v) {
	uint64_t x = (uint64_t)v;
	x -= x >> 1 & UINT64_C(0x5555555555555555);
	x = (x & UINT64_C(0x3333333333333333)) + (x >> 2 & UINT64_C(0x3333333333333333));
	x = (x + (x >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	return (int)(x * UINT64_C(0x0101010101010101) >> 56);
}
