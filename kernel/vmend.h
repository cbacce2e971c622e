// SPDX-License-Identifier: Apache-2.0
// How a VM whose end was asked for (vm_stop_reason) comes to it.
#pragma once

#include "kernel/vm.h"

// From the run loop of the CPU that runs it, interrupts off: vm->stop is carried out. Returns when the VM was started
// again or stays ended; does not return when it was the last one.
__cold void vm_end_serve(struct vm *vm);
