// SPDX-License-Identifier: Apache-2.0
// The local APIC of the CPU we run on: xAPIC through its MMIO page, x2APIC through MSRs where the CPU has
// it; 32-bit ids either way. Every function acts on the calling CPU, interrupts off. The one-shot timer
// takes deadlines in host TSC ticks. Facts: Intel SDM vol. 3 chapter 11 (APIC); AMD APM vol. 2 chapter 16.
#pragma once

#include "mm/addr.h"

// Boot CPU, once, after mm: chooses the mode, maps the page at `base` when it is xAPIC.
// -ERR_UNSUP: the CPU has no local APIC, or the firmware disabled it for good. -ERR_NOMEM from the mapping.
__must_check int apic_init(hpa_t base);

// Each CPU, boot CPU included, after apic_init: enables the APIC in the chosen mode with the given spurious
// vector (low four bits set, as old parts demand) and error vector, masks every LVT entry, accepts all
// priorities, ends what firmware left in service. -ERR_UNSUP: this CPU's APIC cannot be enabled.
__must_check int apic_cpu_init(uint8_t spurious_vector, uint8_t error_vector);

// After apic_cpu_init, as everything below.
uint32_t apic_id(void);
void apic_eoi(void);
// Error status since the last call (SDM 11.5.3), written before read as the register demands.
uint32_t apic_esr(void);
// True when `vector` is in service: tells a spurious interrupt from a real one.
bool apic_in_service(uint8_t vector);
// Makes the APIC look again at what waits for this CPU. For a CPU about to sleep: an emulator may have forgotten
// (docs/QUIRKS.md).
void apic_recheck(void);

// LINT0/LINT1 as a source of NMI (MADT local APIC NMI entries), active_low by the entry's flags.
void apic_lint_nmi(unsigned lint, bool active_low);

// Inter-processor interrupts to one APIC id (physical destination). Stores made before are visible to the
// receiver. -ERR_TIMEOUT: the delivery status stayed pending (xAPIC).
__must_check int apic_ipi(uint32_t dest, uint8_t vector);
__must_check int apic_ipi_nmi(uint32_t dest);
__must_check int apic_ipi_init(uint32_t dest);
// start: physical page below 1 MiB, 4 KiB aligned.
__must_check int apic_ipi_startup(uint32_t dest, hpa_t start);
// To this CPU itself; cannot fail.
void apic_ipi_self(uint8_t vector);

// On a CPU without TSC-deadline mode the timer works in count mode, and the boot CPU measures it here against the
// TSC (kHz), once, before the first apic_timer_start; all CPUs share the result. Nothing to do, and 0, on one with
// that mode. -ERR_TIMEOUT, -ERR_RANGE: the counter does not count.
bool apic_timer_has_deadline(void);
__must_check int apic_timer_calibrate(uint64_t tsc_khz);

// Each CPU: one-shot mode with this vector, disarmed.
void apic_timer_start(uint8_t vector);
// One interrupt when the TSC reaches tsc_deadline; a deadline in the past fires at once; re-arming replaces.
// In count mode it may come early (a deadline beyond the counter) or late by one count: the owner compares
// the clock and arms again. Never lost.
void apic_timer_arm(uint64_t tsc_deadline);
