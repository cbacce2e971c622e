// SPDX-License-Identifier: Apache-2.0
// Traps and interrupts taken by the hypervisor itself: the IDT, the handler table for device vectors, the
// fix-up table for guest-memory access, and what happens on a fault of our own (panic).
#pragma once

#include "kernel/lib/types.h"

struct trap_frame {
	uint64_t rax_to_rbx[4], rbp_to_r15[11]; // x86 encoding order, without RSP
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss; // pushed by the CPU
};

// Device vectors the hypervisor uses on its own interrupt controllers.
enum host_vector {
	HOST_VEC_FIRST = 0x20,
	HOST_VEC_HIGH = 0xe0, // 0x20..0x3f, 0xe0..0xe2 and 0xff have entries of their own
	HOST_VEC_SERIAL = 0x30,
	HOST_VEC_KEYBOARD = 0x31,
	HOST_VEC_TIMER = 0xe0,
	HOST_VEC_ERROR = 0xe2,
	HOST_VEC_KICK = 0xe1, // remote call and kick
	HOST_VEC_SPURIOUS = 0xff,
};

// IST slots (1-based, as the IDT wants them).
enum trap_ist { TRAP_IST_NMI = 1, TRAP_IST_DF = 2, TRAP_IST_MC = 3 };
// Bytes at the top of the #MC stack, above the frame: the address of its CPU's area, and 16-byte alignment.
#define TRAP_MC_ABOVE 16u

typedef void trap_irq_fn(void);

// Fills the IDT; the same for every CPU.
void trap_init(void);
// Loads the IDT on this CPU.
void trap_load(void);
// Set once at boot, before interrupts are enabled; the handler runs with interrupts off and acknowledges
// its controller itself. VEC_NMI too: that handler may stand at any instruction, so it takes no lock and logs nothing.
void trap_irq_set(uint8_t vector, trap_irq_fn *handler);
// What a vector without a handler gets (a device that firmware left running, an APIC error): acknowledged, or it
// would hold back every lower one for good.
typedef void trap_stray_fn(uint8_t vector);
void trap_stray_set(trap_stray_fn *handler);
// Addresses whose page faults the fix-up table is for: the window on a guest's memory. None until set.
void trap_fixup_range_set(uint64_t base, uint64_t bytes);
// Code that an NMI must not come back into: it tests whether something is to be done and then goes where nothing
// can be tested any more (a guest). An NMI taken in [from, to) returns to `at` instead, which tests again; the
// code there expects any register changed but RSP. Set once, by the backend.
void trap_nmi_restart_set(const void *from, const void *to, const void *at);
// The hypervisor's own code at an address that the CPU gave: the one place outside mm/ where a number becomes a pointer.
static inline const uint8_t *trap_code(uint64_t rip) { return (const uint8_t *)(uintptr_t)rip; }
// Called by trap.asm.
void trap_enter(struct trap_frame *frame);

// Fix-ups: a fault at `from` continues at `to` (both relative to the field itself).
struct trap_fixup {
	int32_t from, to;
};
