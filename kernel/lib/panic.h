// SPDX-License-Identifier: Apache-2.0
// The end of the hypervisor in a defined way: registers, a symbolised backtrace, the VM and vCPU that ran,
// then the machine stops (or resets, as the configuration's panic policy says). Only for our own bugs and
// broken hardware, never for what a guest, the firmware or the configuration did.
#pragma once

#include "kernel/lib/types.h"

struct panic_regs {
	uint64_t gpr[16]; // x86 encoding order
	uint64_t rip, rflags, cr0, cr2, cr3, cr4;
};

__cold noreturn void panic(const char *format, ...) __printf_like(1, 2);
__cold noreturn void panic_regs(const struct panic_regs *regs, const char *format, ...) __printf_like(2, 3);

// For the NMI handler: does not return once a CPU has panicked, which stops the others so.
void panic_nmi(void);

// The general registers as four lines of level error, for the panic and for the report of a guest.
__cold void panic_gprs_log(const char *subsystem, const uint64_t gpr[static 16]);
