// SPDX-License-Identifier: Apache-2.0
// The hypercalls of a guest's kernel mode: VMMCALL on AMD, VMCALL on Intel, number in RAX, arguments in RBX,
// RCX, RDX, RSI; result in RAX (negative: an enum err). From user mode: -ERR_PERM, nothing done.
#pragma once

#include <stdint.h>

#define HYPERCALL_ABI_VERSION 1u

enum hypercall {
	HYPERCALL_VERSION = 0, // returns HYPERCALL_ABI_VERSION
	HYPERCALL_COUNT,
};
