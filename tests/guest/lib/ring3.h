// SPDX-License-Identifier: Apache-2.0
// Ring 3 for a 64-bit test guest: code of user pages is called and comes back by INT 0x80.
#pragma once

#include "tests/guest/lib/trap.h"

#define RING3_VECTOR 0x80u
#define RING3_FLAGS UINT64_C(2) // RFLAGS' fixed bit

// The RAX with which the code came back. RFLAGS is `flags`; an exception ends a CATCH around it.
uint64_t ring3_call(const void *code, void *stack, uint64_t flags);
// trap_handler of RING3_VECTOR, whose gate is the user's (trap_gate with GATE_USER).
void ring3_return(struct regs *regs);
