// SPDX-License-Identifier: Apache-2.0
// The console between VMs and the host's drivers (DESIGN.md, "The console"): the character back end of a VM's
// first serial port, and the input's way to it.
#pragma once

#include "kernel/backend.h"
#include "kernel/vm.h"

// How many VMs share the console; once, before the first is built. One VM: raw bytes both ways. Several: whole lines
// with the VM's name before them, and one of them has the input.
void console_share(unsigned vms);
// Back end of this VM's first serial port.
struct chardev *console_chardev(struct vm *vm);
// Takes host input to the VM that has it; boot CPU, from the run loop, bounded.
void console_serve(void);
// What the console wants of this VM's port (VCPU_REQ_CONSOLE): input is there, or output may go on. On its home CPU.
void console_vm_serve(struct vm *vm);
// The VM ended for good: what it left is shown, and the input goes elsewhere. On its home CPU.
void console_vm_gone(struct vm *vm);
// One bounded piece of pending output; true when more remains. For an idle CPU.
bool console_idle(void);
// 20 ms after the console had work while VMs run on: paints, shows a line that is not ended, and looks whether a silent
// port has died. Boot CPU.
void console_tick(void);
