// SPDX-License-Identifier: Apache-2.0
// The 8259 pair: delivery of the PIT, the UART and the RTC, masks, priorities, EOI kinds, automatic EOI,
// register reads, polling, and the same with the local APIC switched off.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/chips.h"

#define BASE 0x20
#define IRQ_PIT 0
#define IRQ_UART 4
#define IRQ_RTC 8
#define TICKS_2MS 2386
#define COM1 0x3F8
#define UART_IER_THRI 2
#define UART_MCR_OUT2 8
#define OCW3_IRR 0x0A
#define OCW3_ISR 0x0B
#define OCW3_POLL 0x0C
#define RTC_PIE 0x40
#define WAIT_US 200000u

static volatile unsigned order[8], orders;
static volatile bool nest;

static void note(unsigned irq) {
	if (orders < 8) order[orders++] = irq;
}

static uint8_t pic_register(uint16_t port, uint8_t which) {
	out8(port, which);
	return in8(port);
}

static void on_pit(struct regs *regs) {
	(void)regs;
	note(IRQ_PIT);
	CHECK_EQ(pic_register(0x20, OCW3_ISR) & 1, 1);
	if (nest) { // a lower line must wait for the EOI
		irq_on();
		delay_us(100);
		irq_off();
		CHECK_UNLESS(on_bare_bochs(), orders == 1, "%u", orders);
	}
	pic_eoi(IRQ_PIT);
}

static void on_uart(struct regs *regs) {
	(void)regs;
	note(IRQ_UART);
	(void)in8(COM1 + 2); // IIR: clears THRE
	out8(COM1 + 1, 0);
	pic_eoi(IRQ_UART);
}

static void on_rtc(struct regs *regs) {
	(void)regs;
	note(IRQ_RTC);
	(void)cmos_read(0xC);
	pic_eoi(IRQ_RTC);
}

static void test_pit(void) {
	subtest("PIT");
	unsigned before = trap_count[BASE];
	pic_mask(1 << IRQ_PIT);
	irq_on();
	pit_periodic(TICKS_2MS);
	CHECK(WAIT_FOR(trap_count[BASE] >= before + 5, WAIT_US), "%u interrupts", trap_count[BASE] - before);
	pic_mask(0);
	delay_us(500);
	unsigned masked = trap_count[BASE];
	delay_us(10000);
	CHECK_EQ(trap_count[BASE], masked);
	pic_mask(1 << IRQ_PIT); // the edge that came while masked was kept
	CHECK(WAIT_FOR(trap_count[BASE] > masked, WAIT_US), "none after unmasking");
	pic_mask(0);
	pit_oneshot(0);
	irq_off();
}

static void test_uart(void) {
	subtest("UART");
	unsigned before = trap_count[BASE + IRQ_UART];
	pic_mask(1 << IRQ_UART);
	irq_on();
	out8(COM1 + 4, 3 | UART_MCR_OUT2);
	delay_us(2000); // the transmitter has run empty
	out8(COM1 + 1, UART_IER_THRI);
	CHECK(WAIT_FOR(trap_count[BASE + IRQ_UART] == before + 1, WAIT_US), "no THRE interrupt");
	pic_mask(0);
	irq_off();
	out8(COM1 + 1, 0);
}

static void test_rtc(void) {
	subtest("RTC through the slave");
	unsigned before = trap_count[BASE + IRQ_RTC];
	pic_mask(1 << IRQ_RTC | 1 << 2);
	uint8_t b = cmos_read(0xB);
	cmos_write(0xA, 0x26); // 1024 Hz
	(void)cmos_read(0xC);
	cmos_write(0xB, b | RTC_PIE);
	irq_on();
	CHECK(WAIT_FOR(trap_count[BASE + IRQ_RTC] >= before + 3, WAIT_US), "%u interrupts",
	      trap_count[BASE + IRQ_RTC] - before);
	irq_off();
	cmos_write(0xB, b);
	(void)cmos_read(0xC);
	pic_mask(0);
}

static void test_priority(void) {
	subtest("priority");
	pic_init(BASE, 1 << IRQ_PIT | 1 << IRQ_UART);
	out8(COM1 + 1, 0);
	delay_us(2000);
	out8(COM1 + 1, UART_IER_THRI);
	pit_oneshot(100);
	// A timer of a loaded emulator may be late by milliseconds while its TSC goes on.
	CHECK(WAIT_FOR((pic_register(0x20, OCW3_IRR) & 0x11) == 0x11, WAIT_US), "requests %#x",
	      pic_register(0x20, OCW3_IRR));
	CHECK_EQ(pic_register(0x20, OCW3_ISR), 0);
	orders = 0;
	nest = true;
	irq_on();
	CHECK(WAIT_FOR(orders == 2, WAIT_US), "%u interrupts", orders);
	irq_off();
	nest = false;
	CHECK_UNLESS(on_bare_bochs(), order[0] == IRQ_PIT && order[1] == IRQ_UART, "%u, %u", order[0], order[1]);
	CHECK_EQ(pic_register(0x20, OCW3_ISR), 0);
	pic_mask(0);
}

static void no_eoi(struct regs *regs) { (void)regs; }

static void test_modes(void) {
	subtest("specific and automatic EOI, poll");
	trap_handle(BASE, no_eoi);
	pic_init(BASE, 1 << IRQ_PIT);
	unsigned before = trap_count[BASE];
	pit_oneshot(100);
	irq_on();
	CHECK(WAIT_FOR(trap_count[BASE] == before + 1, WAIT_US), "no interrupt");
	irq_off();
	CHECK_EQ(pic_register(0x20, OCW3_ISR), 1);
	out8(0x20, 0x60 | IRQ_PIT); // specific EOI
	CHECK_EQ(pic_register(0x20, OCW3_ISR), 0);

	pit_oneshot(100);
	CHECK(WAIT_FOR(pic_register(0x20, OCW3_IRR) & 1, WAIT_US), "not pending");
	out8(0x20, OCW3_POLL);
	uint8_t polled = in8(0x20); // acknowledges by reading
	CHECK_UNLESS(on_bare_bochs(), polled == (0x80 | IRQ_PIT), "%x", polled);
	out8(0x20, OCW3_POLL);
	CHECK_EQ(in8(0x20) & 0x80, 0);
	out8(0x20, 0x20);

	pic_init(BASE, 0);
	out8(0x20, 0x11); // the master again, with AEOI
	out8(0x21, BASE);
	out8(0x21, 4);
	out8(0x21, 3);
	pic_mask(1 << IRQ_PIT);
	before = trap_count[BASE];
	irq_on();
	pit_periodic(TICKS_2MS);
	CHECK(WAIT_FOR(trap_count[BASE] >= before + 3, WAIT_US), "%u interrupts", trap_count[BASE] - before);
	irq_off();
	CHECK_EQ(pic_register(0x20, OCW3_ISR), 0);
	pic_init(BASE, 0);
	pit_oneshot(0);
	trap_handle(BASE, on_pit);
}

// A line that falls before it is acknowledged leaves no interrupt, at most a spurious one.
static void test_withdrawn(void) {
	subtest("withdrawn");
	pic_init(BASE, 1 << IRQ_UART | 1 << 7);
	out8(0x4D0, 1 << IRQ_UART); // level-triggered
	unsigned before = trap_count[BASE + IRQ_UART];
	delay_us(2000);
	out8(COM1 + 1, UART_IER_THRI);
	delay_us(100);
	out8(COM1 + 1, 0);
	irq_on();
	delay_us(1000);
	irq_off();
	CHECK_UNLESS(!on_bulkhead(), trap_count[BASE + IRQ_UART] == before, "delivered all the same");
	out8(0x4D0, 0);
	pic_init(BASE, 0);
}

void guest_main(void);
void guest_main(void) {
	tsc_per_us();
	pic_init(BASE, 0);
	lapic_enable();
	lapic_write(LAPIC_LVT_LINT0, LVT_EXTINT);
	out8(0x21, 0xA5);
	CHECK_EQ(in8(0x21), 0xA5);
	out8(0xA1, 0x5A);
	CHECK_EQ(in8(0xA1), 0x5A);
	pic_mask(0);
	trap_handle(BASE + IRQ_PIT, on_pit);
	trap_handle(BASE + IRQ_UART, on_uart);
	trap_handle(BASE + IRQ_RTC, on_rtc);
	trap_handle(BASE + 7, no_eoi);
	test_pit();
	test_uart();
	test_rtc();
	test_priority();
	test_modes();
	test_withdrawn();
	subtest("LINT0 masked");
	lapic_write(LAPIC_LVT_LINT0, LVT_MASKED | LVT_EXTINT);
	unsigned before = trap_count[BASE];
	pic_mask(1 << IRQ_PIT);
	irq_on();
	pit_oneshot(1000);
	delay_us(5000);
	irq_off();
	CHECK_UNLESS(on_bare_bochs(), trap_count[BASE] == before, "delivered");
	finish();
}
