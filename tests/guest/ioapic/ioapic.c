// SPDX-License-Identifier: Apache-2.0
// The I/O APIC: registers, PIT (pin 2) and UART (pin 4) by edge and level, remote IRR, mask, and the
// delivery to the local APIC's IRR.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/chips.h"

#define PIN_PIT 2
#define PIN_UART 4
#define VEC_PIT 0x50
#define VEC_UART 0x61
#define COM1 0x3F8
#define UART_IER_THRI 2
#define UART_MCR_OUT2 8
#define TICKS_2MS 2386
#define WAIT_US 200000u
#define LEVEL_REPEATS 3

static volatile bool level_serve, level_irr;

static void on_pit(struct regs *regs) {
	(void)regs;
	lapic_eoi();
}

static void on_uart(struct regs *regs) {
	(void)regs;
	level_irr |= ioapic_entry(PIN_UART) & IOAPIC_REMOTE_IRR;
	if (level_serve || trap_count[VEC_UART] >= LEVEL_REPEATS) out8(COM1 + 1, 0); // lowers the line
	lapic_eoi();
}

static void test_registers(void) {
	subtest("registers");
	uint32_t version = ioapic_read(1);
	CHECK_EQ(version >> 16 & 0xFF, 23);
	CHECK(mmio32_read(IOAPIC_BASE) == 1, "index %x", mmio32_read(IOAPIC_BASE));
	ioapic_write(0x10 + 2 * 20, IOAPIC_MASKED | 0x77);
	ioapic_write(0x11 + 2 * 20, 0x5A000000);
	CHECK_EQ(ioapic_read(0x10 + 2 * 20), IOAPIC_MASKED | 0x77);
	CHECK_EQ(ioapic_read(0x11 + 2 * 20) & 0xFF000000, 0x5A000000);
	ioapic_write(0x10 + 2 * 20, IOAPIC_MASKED | 0x77 | IOAPIC_REMOTE_IRR | 1 << 12); // read-only bits
	CHECK_UNLESS(!on_bulkhead(), ioapic_read(0x10 + 2 * 20) == (IOAPIC_MASKED | 0x77), "%x",
	             ioapic_read(0x10 + 2 * 20));
	if (on_bare_bochs()) return; // panics at the next lines
	(void)ioapic_read(0xFF);     // no such register
	ioapic_write(0xFF, 0x12345678);
}

static void test_pit(void) {
	subtest("PIT by edge");
	unsigned before = trap_count[VEC_PIT];
	ioapic_route(PIN_PIT, VEC_PIT);
	irq_on();
	pit_periodic(TICKS_2MS);
	CHECK(WAIT_FOR(trap_count[VEC_PIT] >= before + 5, WAIT_US), "%u interrupts",
	      trap_count[VEC_PIT] - before);
	ioapic_route(PIN_PIT, IOAPIC_MASKED | VEC_PIT);
	delay_us(500);
	unsigned masked = trap_count[VEC_PIT];
	delay_us(10000);
	CHECK_EQ(trap_count[VEC_PIT], masked);
	irq_off();
	ioapic_route(PIN_PIT, VEC_PIT);
	CHECK(WAIT_FOR(lapic_bit(LAPIC_IRR, VEC_PIT), WAIT_US), "not pending with IF=0");
	CHECK(!lapic_bit(LAPIC_TMR, VEC_PIT), "an edge in TMR");
	ioapic_route(PIN_PIT, IOAPIC_MASKED | VEC_PIT);
	masked = trap_count[VEC_PIT];
	irq_on();
	CHECK(WAIT_FOR(trap_count[VEC_PIT] == masked + 1, WAIT_US), "a pending one was lost by the mask");
	irq_off();
	pit_oneshot(0);
}

static void test_uart_edge(void) {
	subtest("UART by edge");
	level_serve = true;
	unsigned before = trap_count[VEC_UART];
	ioapic_route(PIN_UART, VEC_UART);
	out8(COM1 + 4, 3 | UART_MCR_OUT2);
	delay_us(2000);
	irq_on();
	out8(COM1 + 1, UART_IER_THRI);
	CHECK(WAIT_FOR(trap_count[VEC_UART] == before + 1, WAIT_US), "no interrupt");
	irq_off();
	ioapic_route(PIN_UART, IOAPIC_MASKED | VEC_UART);
}

static void test_uart_level(void) {
	if (on_bare_bochs()) return; // its UART lines are edges
	subtest("UART by level");
	level_serve = false;
	level_irr = false;
	trap_count[VEC_UART] = 0;
	delay_us(2000);
	ioapic_route(PIN_UART, IOAPIC_LEVEL | VEC_UART);
	CHECK(!(ioapic_entry(PIN_UART) & IOAPIC_REMOTE_IRR), "%x", ioapic_entry(PIN_UART));
	out8(COM1 + 1, UART_IER_THRI);
	CHECK(WAIT_FOR(lapic_bit(LAPIC_IRR, VEC_UART), WAIT_US), "not pending");
	CHECK(lapic_bit(LAPIC_TMR, VEC_UART), "a level not in TMR");
	CHECK(ioapic_entry(PIN_UART) & IOAPIC_REMOTE_IRR, "%x", ioapic_entry(PIN_UART));
	irq_on();
	// The handler lowers the line only the third time: each EOI brings the next one.
	CHECK(WAIT_FOR(trap_count[VEC_UART] >= LEVEL_REPEATS, WAIT_US), "%u interrupts", trap_count[VEC_UART]);
	delay_us(1000);
	irq_off();
	CHECK_EQ(trap_count[VEC_UART], LEVEL_REPEATS);
	CHECK(level_irr, "remote IRR was not set in the handler");
	CHECK(!(ioapic_entry(PIN_UART) & IOAPIC_REMOTE_IRR), "%x", ioapic_entry(PIN_UART));

	// A level that waits behind the mask is delivered when the mask goes.
	level_serve = true;
	ioapic_route(PIN_UART, IOAPIC_MASKED | IOAPIC_LEVEL | VEC_UART);
	delay_us(2000);
	out8(COM1 + 1, UART_IER_THRI);
	irq_on();
	delay_us(2000);
	CHECK_EQ(trap_count[VEC_UART], LEVEL_REPEATS);
	ioapic_route(PIN_UART, IOAPIC_LEVEL | VEC_UART);
	CHECK(WAIT_FOR(trap_count[VEC_UART] == LEVEL_REPEATS + 1, WAIT_US), "none after unmasking");
	irq_off();
	ioapic_route(PIN_UART, IOAPIC_MASKED | VEC_UART);
	out8(COM1 + 1, 0);
}

void guest_main(void);
void guest_main(void) {
	tsc_per_us();
	pic_init(0x20, 0);
	lapic_enable();
	trap_handle(VEC_PIT, on_pit);
	trap_handle(VEC_UART, on_uart);
	test_registers();
	test_pit();
	test_uart_edge();
	test_uart_level();
	finish();
}
