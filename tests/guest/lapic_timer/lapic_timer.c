// SPDX-License-Identifier: Apache-2.0
// The local APIC timer: one-shot, periodic, TSC deadline, divide register, mask, current count.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/chips.h"

#define VECTOR 0x40
#define DIVIDE_1 0xBu
#define DIVIDE_16 0x3u
#define LONG_COUNT 0xFFFFFFFFu
#define WAIT_US 200000u

static void eoi(struct regs *regs) {
	(void)regs;
	lapic_eoi();
}

static unsigned seen(void) { return trap_count[VECTOR]; }

// Timer clocks that pass in a time of the TSC.
static uint32_t clocks_in(uint32_t us, uint32_t divide) {
	lapic_write(LAPIC_LVT_TIMER, LVT_MASKED | VECTOR);
	lapic_write(LAPIC_TIMER_DIVIDE, divide);
	lapic_write(LAPIC_TIMER_INITIAL, LONG_COUNT);
	uint32_t before = lapic_read(LAPIC_TIMER_CURRENT);
	delay_us(us);
	uint32_t after = lapic_read(LAPIC_TIMER_CURRENT);
	lapic_write(LAPIC_TIMER_INITIAL, 0);
	CHECK(after < before, "%x to %x", before, after);
	return before - after;
}

static uint32_t clocks_per_ms;

static void test_divide(void) {
	subtest("current count and divide");
	uint32_t by_1 = clocks_in(10000, DIVIDE_1), by_16 = clocks_in(10000, DIVIDE_16);
	print("  10 ms: %u clocks by 1, %u by 16\n", by_1, by_16);
	CHECK(by_1 / 16 > by_16 / 2 && by_1 / 16 < by_16 * 2, "%u and %u", by_1, by_16);
	clocks_per_ms = by_16 / 10 ? by_16 / 10 : 1;
	CHECK_EQ(lapic_read(LAPIC_TIMER_CURRENT), 0); // stopped by an initial count of 0
	lapic_write(LAPIC_TIMER_INITIAL, LONG_COUNT);
	CHECK_EQ(lapic_read(LAPIC_TIMER_INITIAL), LONG_COUNT);
	lapic_write(LAPIC_TIMER_INITIAL, 0);
}

static void test_oneshot(void) {
	subtest("one-shot");
	unsigned before = seen();
	lapic_write(LAPIC_LVT_TIMER, VECTOR);
	irq_on();
	lapic_write(LAPIC_TIMER_INITIAL, clocks_per_ms * 2);
	CHECK(WAIT_FOR(seen() != before, WAIT_US), "no interrupt");
	delay_us(10000);
	CHECK_EQ(seen(), before + 1);
	CHECK_EQ(lapic_read(LAPIC_TIMER_CURRENT), 0);
	lapic_write(LAPIC_TIMER_INITIAL, clocks_per_ms * 2);
	CHECK(WAIT_FOR(seen() == before + 2, WAIT_US), "not again");
	// Cancelled before it is over.
	lapic_write(LAPIC_TIMER_INITIAL, clocks_per_ms * 20);
	lapic_write(LAPIC_TIMER_INITIAL, 0);
	delay_us(30000);
	CHECK_EQ(seen(), before + 2);
	irq_off();
}

static void test_periodic(void) {
	subtest("periodic");
	unsigned before = seen();
	lapic_write(LAPIC_LVT_TIMER, LVT_PERIODIC | VECTOR);
	irq_on();
	lapic_write(LAPIC_TIMER_INITIAL, clocks_per_ms * 2);
	uint64_t start = rdtsc();
	CHECK(WAIT_FOR(seen() >= before + 10, WAIT_US), "%u interrupts", seen() - before);
	uint32_t us = (uint32_t)(rdtsc() - start) / tsc_per_us();
	CHECK(us > 15000, "10 periods of 2 ms in %u us", us);
	CHECK(lapic_read(LAPIC_TIMER_CURRENT) <= clocks_per_ms * 2, "%u", lapic_read(LAPIC_TIMER_CURRENT));
	lapic_write(LAPIC_TIMER_INITIAL, 0);
	delay_us(1000);
	unsigned stopped = seen();
	delay_us(10000);
	CHECK_EQ(seen(), stopped);
	irq_off();
}

static void test_mask(void) {
	subtest("mask");
	unsigned before = seen();
	lapic_write(LAPIC_LVT_TIMER, LVT_MASKED | VECTOR);
	irq_on();
	lapic_write(LAPIC_TIMER_INITIAL, clocks_per_ms);
	delay_us(5000);
	CHECK_EQ(seen(), before);
	CHECK(!lapic_bit(LAPIC_IRR, VECTOR), "a masked timer is pending");
	irq_off();
	lapic_write(LAPIC_LVT_TIMER, VECTOR);
	lapic_write(LAPIC_TIMER_INITIAL, clocks_per_ms);
	CHECK(WAIT_FOR(lapic_bit(LAPIC_IRR, VECTOR), WAIT_US), "not pending with IF=0");
	CHECK_EQ(seen(), before);
	irq_on();
	CHECK(WAIT_FOR(seen() == before + 1, WAIT_US), "not delivered by STI");
	irq_off();
}

static void test_deadline(void) {
	if (!(cpuid(1, 0).ecx >> 24 & 1)) return;
	subtest("deadline");
	unsigned before = seen();
	lapic_write(LAPIC_LVT_TIMER, LVT_DEADLINE | VECTOR);
	irq_on();
	uint64_t deadline = rdtsc() + (uint64_t)tsc_per_us() * 5000;
	wrmsr(MSR_TSC_DEADLINE, deadline);
	uint64_t armed = rdmsr(MSR_TSC_DEADLINE); // 0 once it has passed, as it may on a loaded host
	CHECK(armed == deadline || (armed == 0 && rdtsc() >= deadline), "%llx", (unsigned long long)armed);
	CHECK(WAIT_FOR(seen() == before + 1, WAIT_US), "no interrupt");
	CHECK(rdtsc() >= deadline, "too early");
	CHECK_UNLESS(on_bare_bochs(), rdmsr(MSR_TSC_DEADLINE) == 0, "%llx",
	             (unsigned long long)rdmsr(MSR_TSC_DEADLINE));
	wrmsr(MSR_TSC_DEADLINE, rdtsc() - 1); // past: at once
	CHECK(WAIT_FOR(seen() == before + 2, WAIT_US), "no interrupt for the past");
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + (uint64_t)tsc_per_us() * 500000);
	wrmsr(MSR_TSC_DEADLINE, 0);
	lapic_write(LAPIC_TIMER_INITIAL, clocks_per_ms); // ignored in this mode
	CHECK_EQ(lapic_read(LAPIC_TIMER_CURRENT), 0);
	delay_us(10000);
	CHECK_EQ(seen(), before + 2);
	wrmsr(MSR_TSC_DEADLINE, rdtsc() + (uint64_t)tsc_per_us() * 500000);
	lapic_write(LAPIC_LVT_TIMER, VECTOR); // leaving the mode disarms
	CHECK_EQ(rdmsr(MSR_TSC_DEADLINE), 0);
	delay_us(10000);
	CHECK_EQ(seen(), before + 2);
	irq_off();
}

void guest_main(void);
void guest_main(void) {
	pic_init(0x20, 0);
	lapic_enable();
	trap_handle(VECTOR, eoi);
	test_divide();
	test_oneshot();
	test_periodic();
	test_mask();
	test_deadline();
	if (lapic_x2_supported()) {
		subtest("again by x2APIC");
		lapic_x2_enable();
		test_oneshot();
		test_periodic();
		test_deadline();
	}
	finish();
}
