// SPDX-License-Identifier: Apache-2.0
// Programming of the interrupt chips and clocks, for test guests.
#include "tests/guest/lib/chips.h"

#define SPURIOUS_VECTOR 0xFF
#define CALIBRATE_TICKS 11932u // 10 ms of PIT clocks
#define CALIBRATE_US 10000u

static bool x2apic;
static uint32_t tsc_us;

uint32_t lapic_read(unsigned reg) {
	return x2apic ? (uint32_t)rdmsr(MSR_X2APIC + (reg >> 4)) : mmio32_read(LAPIC_BASE + reg);
}

void lapic_write(unsigned reg, uint32_t v) {
	if (x2apic)
		wrmsr(MSR_X2APIC + (reg >> 4), v);
	else
		mmio32_write(LAPIC_BASE + reg, v);
}

void lapic_enable(void) {
	lapic_write(LAPIC_SVR, SVR_ENABLE | SPURIOUS_VECTOR);
	lapic_write(LAPIC_TPR, 0);
	lapic_write(LAPIC_LVT_TIMER, LVT_MASKED);
	lapic_write(LAPIC_LVT_LINT0, LVT_MASKED);
	lapic_write(LAPIC_LVT_LINT1, LVT_MASKED);
	lapic_write(LAPIC_LVT_ERROR, LVT_MASKED);
}

bool lapic_x2_supported(void) { return cpuid(1, 0).ecx >> 21 & 1; }

void lapic_x2_enable(void) {
	wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) | APIC_BASE_X2 | APIC_BASE_ENABLE);
	x2apic = true;
}

void lapic_eoi(void) { lapic_write(LAPIC_EOI, 0); }

void lapic_self_ipi(uint8_t vector) {
	if (x2apic)
		wrmsr(MSR_X2APIC + (LAPIC_SELF_IPI >> 4), vector);
	else
		lapic_write(LAPIC_ICR, ICR_SELF | ICR_ASSERT | vector);
}

bool lapic_bit(unsigned reg, uint8_t vector) {
	return lapic_read(reg + (vector / 32u) * 16u) >> (vector % 32) & 1;
}

uint32_t ioapic_read(unsigned reg) {
	mmio32_write(IOAPIC_BASE, reg);
	return mmio32_read(IOAPIC_BASE + 0x10);
}

void ioapic_write(unsigned reg, uint32_t v) {
	mmio32_write(IOAPIC_BASE, reg);
	mmio32_write(IOAPIC_BASE + 0x10, v);
}

void ioapic_route(unsigned pin, uint32_t low) {
	uint32_t id = x2apic ? lapic_read(LAPIC_ID) : lapic_read(LAPIC_ID) >> 24;
	ioapic_write(0x10 + 2 * pin, IOAPIC_MASKED);
	ioapic_write(0x11 + 2 * pin, id << 24);
	ioapic_write(0x10 + 2 * pin, low);
}

uint32_t ioapic_entry(unsigned pin) { return ioapic_read(0x10 + 2 * pin); }

void pic_mask(uint16_t enabled) {
	out8(0x21, (uint8_t)~enabled);
	out8(0xA1, (uint8_t)(~enabled >> 8));
}

void pic_init(uint8_t base, uint16_t enabled) {
	out8(0x20, 0x11); // ICW1: edge, cascade, ICW4 follows
	out8(0xA0, 0x11);
	out8(0x21, base);
	out8(0xA1, (uint8_t)(base + 8));
	out8(0x21, 4); // ICW3: slave on line 2
	out8(0xA1, 2);
	out8(0x21, 1); // ICW4: 8086 mode
	out8(0xA1, 1);
	pic_mask(enabled);
}

void pic_eoi(unsigned irq) {
	if (irq >= 8) out8(0xA0, 0x20);
	out8(0x20, 0x20);
}

static void pit_program(uint8_t mode, uint16_t ticks) {
	out8(0x43, mode);
	out8(0x40, (uint8_t)ticks);
	out8(0x40, (uint8_t)(ticks >> 8));
}

void pit_oneshot(uint16_t ticks) { pit_program(0x30, ticks); }
void pit_periodic(uint16_t ticks) { pit_program(0x34, ticks); }

uint32_t tsc_per_us(void) {
	if (tsc_us) return tsc_us;
	out8(0x61, (uint8_t)((in8(0x61) & ~2) | 1)); // gate on, speaker off
	out8(0x43, 0xB0);                            // channel 2, mode 0
	out8(0x42, (uint8_t)CALIBRATE_TICKS);
	out8(0x42, (uint8_t)(CALIBRATE_TICKS >> 8));
	uint64_t start = rdtsc();
	while (!(in8(0x61) & 0x20)) pause();
	uint32_t ticks = (uint32_t)(rdtsc() - start);
	tsc_us = ticks / CALIBRATE_US ? ticks / CALIBRATE_US : 1;
	return tsc_us;
}

void delay_us(uint32_t us) {
	uint64_t end = rdtsc() + (uint64_t)us * tsc_per_us();
	while (rdtsc() < end) pause();
}
