// SPDX-License-Identifier: Apache-2.0
// Interrupts that a CPU sends to itself, by xAPIC MMIO and by x2APIC MSRs: shorthands and destinations,
// priority and nesting, TPR and PPR, IRR and ISR, illegal vectors.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/chips.h"

#define LOW 0x41
#define HIGH 0x91
#define WAIT_US 20000u
#define ICR_ALL (2u << 18)
#define ICR_OTHERS (3u << 18)
#define ICR_LOGICAL (1u << 11)
#define ESR_SEND_ILLEGAL (1u << 5)
#define ESR_RECEIVE_ILLEGAL (1u << 6)

static volatile unsigned depth, deepest, order[4], orders;
static volatile bool nested_send;
static bool x2;

static void on_ipi(struct regs *regs) {
	unsigned v = (unsigned)regs->vector;
	if (orders < 4) order[orders++] = v;
	if (++depth > deepest) deepest = depth;
	CHECK(lapic_bit(LAPIC_ISR, (uint8_t)v) && !lapic_bit(LAPIC_IRR, (uint8_t)v), "vector %x not in service",
	      v);
	CHECK((lapic_read(LAPIC_PPR) & 0xF0) == (v & 0xF0), "PPR %x in %x", lapic_read(LAPIC_PPR), v);
	if (nested_send) {
		nested_send = false;
		lapic_self_ipi(v == LOW ? HIGH : LOW);
		irq_on();
		delay_us(50);
		irq_off();
	}
	depth--;
	lapic_eoi();
}

static void send(uint32_t destination, uint32_t low) {
	if (x2) {
		wrmsr(MSR_X2APIC + (LAPIC_ICR >> 4), (uint64_t)destination << 32 | low);
	} else {
		lapic_write(LAPIC_ICR2, destination << 24);
		lapic_write(LAPIC_ICR, low);
	}
}

static void expect_one(const char *how) {
	irq_on();
	bool came = WAIT_FOR(orders == 1, WAIT_US);
	irq_off();
	check_report(came, __FILE__, __LINE__, how, "%u interrupts", orders);
	orders = 0;
}

static void test_destinations(void) {
	subtest("destinations");
	uint32_t id = x2 ? lapic_read(LAPIC_ID) : lapic_read(LAPIC_ID) >> 24;
	orders = 0;
	send(0, ICR_SELF | ICR_ASSERT | LOW);
	CHECK(lapic_bit(LAPIC_IRR, LOW), "not pending");
	expect_one("shorthand self");
	send(0, ICR_ALL | ICR_ASSERT | LOW);
	expect_one("shorthand all");
	send(id, ICR_ASSERT | LOW);
	expect_one("physical");
	if (x2) {
		uint32_t ldr = lapic_read(LAPIC_LDR);
		// Bochs leaves LDR 0 until APIC_BASE is written a second time.
		if (!on_bare_bochs()) CHECK_EQ(ldr, (id >> 4) << 16 | 1u << (id & 15));
		if (ldr) {
			send(ldr, ICR_ASSERT | ICR_LOGICAL | LOW);
			expect_one("logical");
		}
		send(~0u, ICR_ASSERT | LOW);
		expect_one("broadcast");
		wrmsr(MSR_X2APIC + (LAPIC_SELF_IPI >> 4), HIGH);
		expect_one("SELF IPI");
	} else {
		lapic_write(LAPIC_DFR, ~0u);
		lapic_write(LAPIC_LDR, 0x04000000);
		send(4, ICR_ASSERT | ICR_LOGICAL | LOW);
		expect_one("logical");
		send(0xFF, ICR_ASSERT | LOW);
		expect_one("broadcast");
	}
	send(id + 1, ICR_ASSERT | LOW);
	send(0, ICR_OTHERS | ICR_ASSERT | LOW);
	irq_on();
	delay_us(100);
	irq_off();
	CHECK_EQ(orders, 0);
}

static void test_priority(void) {
	subtest("priority");
	orders = 0;
	lapic_self_ipi(LOW);
	lapic_self_ipi(HIGH);
	lapic_self_ipi(HIGH); // merges
	irq_on();
	CHECK(WAIT_FOR(orders >= 2, WAIT_US), "%u", orders);
	delay_us(100);
	irq_off();
	CHECK_EQ(orders, 2);
	CHECK(order[0] == HIGH && order[1] == LOW, "%x, %x", order[0], order[1]);

	orders = deepest = 0;
	nested_send = true;
	lapic_self_ipi(LOW); // interrupted by HIGH
	irq_on();
	CHECK(WAIT_FOR(orders == 2 && !depth, WAIT_US), "%u", orders);
	irq_off();
	CHECK_EQ(deepest, 2);
	orders = deepest = 0;
	nested_send = true;
	lapic_self_ipi(HIGH); // LOW waits for the EOI
	irq_on();
	CHECK(WAIT_FOR(orders == 2 && !depth, WAIT_US), "%u", orders);
	irq_off();
	CHECK_EQ(deepest, 1);
}

static void test_tpr(void) {
	subtest("TPR");
	orders = 0;
	lapic_write(LAPIC_TPR, LOW & 0xF0);
	CHECK_EQ(cr8_read(), LOW >> 4);
	lapic_self_ipi(LOW);
	irq_on();
	delay_us(100);
	CHECK_EQ(orders, 0);
	lapic_self_ipi(HIGH);
	CHECK(WAIT_FOR(orders == 1, WAIT_US), "a higher one is held");
	cr8_write((LOW >> 4) - 1);
	CHECK(WAIT_FOR(orders == 2, WAIT_US), "not delivered after CR8 fell");
	irq_off();
	CHECK_EQ(lapic_read(LAPIC_TPR), ((LOW >> 4) - 1) << 4);
	cr8_write(0);
	CHECK_EQ(lapic_read(LAPIC_TPR), 0);
}

static void test_illegal(void) {
	subtest("illegal vectors");
	orders = 0;
	lapic_write(LAPIC_ESR, 0);
	send(0, ICR_SELF | ICR_ASSERT | 5);
	lapic_write(LAPIC_ESR, 0);
	uint32_t esr = lapic_read(LAPIC_ESR);
	CHECK_UNLESS(!on_bulkhead(), esr & (ESR_SEND_ILLEGAL | ESR_RECEIVE_ILLEGAL), "ESR %x", esr);
	lapic_write(LAPIC_ESR, 0);
	CHECK_EQ(lapic_read(LAPIC_ESR), 0);
}

static void test_all(void) {
	test_destinations();
	test_priority();
	test_tpr();
	test_illegal();
}

void guest_main(void);
void guest_main(void) {
	tsc_per_us();
	pic_init(0x20, 0);
	lapic_enable();
	trap_handle(LOW, on_ipi);
	trap_handle(HIGH, on_ipi);
	test_all();
	if (lapic_x2_supported()) {
		subtest("x2APIC");
		lapic_x2_enable();
		x2 = true;
		test_all();
		if (!on_bare_tcg()) {
			EXPECT_TRAP(VEC_GP, 0, wrmsr(MSR_X2APIC + (LAPIC_EOI >> 4), 1));
			EXPECT_TRAP(VEC_GP, 0, wrmsr(MSR_X2APIC + (LAPIC_ID >> 4), 1));
			EXPECT_TRAP(VEC_GP, 0, rdmsr(MSR_X2APIC + (LAPIC_SELF_IPI >> 4)));
			EXPECT_TRAP(VEC_GP, 0, rdmsr(MSR_X2APIC + (LAPIC_ICR2 >> 4)));
			EXPECT_TRAP(VEC_GP, 0, wrmsr(MSR_APIC_BASE, rdmsr(MSR_APIC_BASE) & ~APIC_BASE_X2));
		}
	} else {
		CHECK_UNLESS(!on_bulkhead(), false, "no x2APIC");
	}
	finish();
}
