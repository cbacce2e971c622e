// SPDX-License-Identifier: Apache-2.0
// The hardware task switch of 32-bit protected mode, for a CPU that leaves it to its hypervisor.
#pragma once

#include "arch/x86/guest/vcpu.h"

// Carries out the task switch that exited, with all its faults (SDM vol. 3, 7.3 "Task Switching"). The event whose
// delivery went through a task gate is the record's and is in no queue: it is delivered here, or merged with the fault.
__cold void task_switch_exit(struct vcpu *vcpu, const struct exit *exit);
// An IRET that exited: when it returns to another task it is carried out, else nothing is done.
__cold void task_return(struct vcpu *vcpu, const struct exit *exit);
