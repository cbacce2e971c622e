// SPDX-License-Identifier: Apache-2.0
// The interrupt chips and clocks of a PC as the tests use them: local APIC (by MMIO or x2APIC), I/O APIC,
// 8259 pair, 8254. Only one CPU, interrupts by polling or by trap_handle.
#pragma once

#include "tests/guest/lib/trap.h"

#define LAPIC_BASE 0xFEE00000u
#define IOAPIC_BASE 0xFEC00000u

// Local APIC registers, by MMIO offset (SDM vol. 3, table 10-1).
enum {
	LAPIC_ID = 0x20,
	LAPIC_VERSION = 0x30,
	LAPIC_TPR = 0x80,
	LAPIC_PPR = 0xA0,
	LAPIC_EOI = 0xB0,
	LAPIC_LDR = 0xD0,
	LAPIC_DFR = 0xE0,
	LAPIC_SVR = 0xF0,
	LAPIC_ISR = 0x100,
	LAPIC_TMR = 0x180,
	LAPIC_IRR = 0x200,
	LAPIC_ESR = 0x280,
	LAPIC_ICR = 0x300,
	LAPIC_ICR2 = 0x310,
	LAPIC_LVT_TIMER = 0x320,
	LAPIC_LVT_LINT0 = 0x350,
	LAPIC_LVT_LINT1 = 0x360,
	LAPIC_LVT_ERROR = 0x370,
	LAPIC_TIMER_INITIAL = 0x380,
	LAPIC_TIMER_CURRENT = 0x390,
	LAPIC_TIMER_DIVIDE = 0x3E0,
	LAPIC_SELF_IPI = 0x3F0, // x2APIC only
};

enum {
	LVT_MASKED = 1 << 16,
	LVT_PERIODIC = 1 << 17,
	LVT_DEADLINE = 2 << 17,
	LVT_EXTINT = 7 << 8,
	LVT_NMI = 4 << 8,
	ICR_SELF = 1 << 18,
	ICR_ASSERT = 1 << 14,
	ICR_NMI = 4 << 8,
	SVR_ENABLE = 1 << 8,
};

#define MSR_APIC_BASE 0x1Bu
#define APIC_BASE_X2 BIT(10)
#define APIC_BASE_ENABLE BIT(11)
#define MSR_X2APIC 0x800u
#define MSR_TSC_DEADLINE 0x6E0u

// lapic_* go by MMIO until lapic_x2_enable.
uint32_t lapic_read(unsigned reg);
void lapic_write(unsigned reg, uint32_t v);
// SVR with vector 0xFF, TPR 0, all LVTs masked. Call pic_init first: QEMU keeps an 8259 request that LINT0 let
// through before it was masked.
void lapic_enable(void);
bool lapic_x2_supported(void);
void lapic_x2_enable(void);
void lapic_eoi(void);
void lapic_self_ipi(uint8_t vector);
// Bit `vector` of the 256-bit registers ISR, TMR, IRR.
bool lapic_bit(unsigned reg, uint8_t vector);

uint32_t ioapic_read(unsigned reg);
void ioapic_write(unsigned reg, uint32_t v);
enum { IOAPIC_MASKED = 1 << 16, IOAPIC_LEVEL = 1 << 15, IOAPIC_REMOTE_IRR = 1 << 14 };
// Redirection entry of a pin; physical destination: the boot CPU's APIC id.
void ioapic_route(unsigned pin, uint32_t low);
uint32_t ioapic_entry(unsigned pin);

// Both 8259s initialised: vectors base and base + 8, normal EOI, the given lines unmasked.
void pic_init(uint8_t base, uint16_t enabled);
void pic_mask(uint16_t enabled);
void pic_eoi(unsigned irq);

#define PIT_HZ 1193182u
// Channel 0: one-shot (mode 0) or rate generator (mode 2) of `ticks` PIT clocks.
void pit_oneshot(uint16_t ticks);
void pit_periodic(uint16_t ticks);

// TSC ticks in a microsecond, measured once against PIT channel 2.
uint32_t tsc_per_us(void);
void delay_us(uint32_t us);

// Spins, interrupts as they are, until the condition holds or the time is over; yields the condition. The port is an
// exit: Bochs shows its hypervisor a pending interrupt only by one while the guest has IF = 0 (docs/QUIRKS.md).
#define PORT_POST 0x80
#define WAIT_FOR(condition, us)                                                                              \
	({                                                                                                       \
		uint64_t end_ = rdtsc() + (uint64_t)(us)*tsc_per_us();                                               \
		bool ok_;                                                                                            \
		while (!(ok_ = (condition)) && rdtsc() < end_) out8(PORT_POST, 0);                                   \
		ok_;                                                                                                 \
	})
