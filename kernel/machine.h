// SPDX-License-Identifier: Apache-2.0
// What happens to the machine as a whole: when every VM has ended, when it has to stop,
// and what came to it as an NMI.
#pragma once

#include "kernel/config.h"
#include "kernel/vdev.h"

// The [machine] table; once, before VMs run.
void machine_init(const struct config_machine *config);
// Remembers how a VM ended, for [machine] debug_exit.
void machine_vm_ended(struct vm *vm, enum vm_end how, uint32_t code);
// Logs the NMIs that this CPU took since the last call; from the run loop.
__cold void machine_nmis_tell(void);
// How many run: one more; one less, and machine_idle with the last.
void machine_vm_start(void);
void machine_vm_gone(void);
// Nothing runs any more: writes the result to the debug_exit port if there is one, then does what on_idle says.
noreturn void machine_idle(void);
// From the run loop of every CPU: does not return when another one halts the machine.
void machine_halt_wanted(void);
// Stops all CPUs for good, with what is on the console sent.
noreturn void machine_halt(void);
