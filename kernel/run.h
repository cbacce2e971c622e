// SPDX-License-Identifier: Apache-2.0
// The run loop of a CPU (docs/RUNLOOP.md): after every exit it opens one interrupt window, serves what was
// requested and enters again, or idles.
#pragma once

#include "kernel/vcpu.h"
#include "kernel/vm.h"

// From kernel/main, once the VMs are built: never returns.
noreturn void run_start(void);
// From the backend after every handled exit, on the CPU's empty stack, interrupts off.
noreturn void run_loop(void);

// Interrupt side: something for this CPU's run loop.
void run_timer_interrupt(void);
void run_input_interrupt(void);
// Arms the CPU's one-shot timer for the VM's first timer; called whenever that changed.
void run_timer_program(struct vm *vm);
