// SPDX-License-Identifier: Apache-2.0
// The console of this machine: COM1, the screen (frame buffer or VGA text) and the PS/2 keyboard, attached to
// drivers/host/console as sinks and sources. Boot CPU; the interrupt functions with interrupts off.
#pragma once

#include "arch/x86/cpu/trap.h"
#include "drivers/host/acpi.h"
#include "kernel/abi/bootinfo.h"

// First thing in main: COM1 when it is there; needs no memory management. Sets the log sink.
void hostconsole_early(void);
// The screen; when a boot ends before mm is up, by the loader's identity map. -ERR_UNSUP: no screen we can draw on
// (logged by the caller). A second call does nothing.
__must_check int hostconsole_screen(const struct boot_info *boot);
// After ACPI: the keyboard. -ERR_UNSUP: no controller.
__must_check int hostconsole_keyboard(const struct acpi_info *info);

// What the configuration leaves on; the rest has shown the boot log and falls silent. Before the keyboard and the
// interrupts.
void hostconsole_select(bool serial, bool screen);

bool hostconsole_has_serial(void);
bool hostconsole_has_screen(void);
// After ioapic_init and apic_cpu_init: routes the serial and keyboard interrupts to HOST_VEC_SERIAL and
// HOST_VEC_KEYBOARD on this APIC id, sets `handler` for both and turns them on. The handler calls
// hostconsole_interrupt, then apic_eoi. -ERR_NOENT, -ERR_RANGE as ioapic_route; the console then works by
// polling (console_poll, console_step).
__must_check int hostconsole_interrupts(const struct acpi_info *info, uint32_t apic_id, trap_irq_fn *handler);
// Takes input and sends a piece of output; bounded.
void hostconsole_interrupt(void);
