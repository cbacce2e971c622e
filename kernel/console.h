// SPDX-License-Identifier: Apache-2.0
// The console between VMs and the host's drivers (DESIGN.md, "The console"): the character back end of a VM's
// first serial port, and the input's way to it.
#pragma once

#include "kernel/backend.h"

// Back end of VM `id`'s first serial port. One VM: raw bytes both ways.
struct chardev *console_chardev(uint32_t vm_id);
// Takes host input and offers it to the VM; called from the run loop, bounded.
void console_serve(void);
// One bounded piece of pending output; true when more remains. For an idle CPU.
bool console_idle(void);
// 20 ms after the console had work while the VM runs on: paints, and looks whether a silent port has died.
void console_tick(void);
