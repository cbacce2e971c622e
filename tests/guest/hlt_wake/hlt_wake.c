// SPDX-License-Identifier: Apache-2.0
// HLT: STI;HLT wakes by timer, by PIT and by NMI, a pending interrupt does not let it sleep, the return
// address is behind it.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/chips.h"

#define VECTOR 0x40
#define VEC_PIT 0x50
#define PIN_PIT 2
#define TICKS_2MS 2386
#define ROUNDS 100

extern uint8_t hlt_next[];
void hlt_once(void);
asm(".text\n.globl hlt_once, hlt_next\nhlt_once: sti\n hlt\nhlt_next: cli\n ret\n");

static volatile uint64_t last_ip;

static void on_irq(struct regs *regs) {
	last_ip = regs->ip;
	if (regs->vector != VEC_NMI) lapic_eoi();
}

static void test_timer(void) {
	subtest("timer");
	lapic_write(LAPIC_LVT_TIMER, VECTOR);
	lapic_write(LAPIC_TIMER_DIVIDE, 0xB);
	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned before = trap_count[VECTOR];
		lapic_write(LAPIC_TIMER_INITIAL, 20000 + i * 100);
		hlt_once();
		if (!CHECK(trap_count[VECTOR] == before + 1, "round %u: %u", i, trap_count[VECTOR] - before)) break;
		if (!CHECK(last_ip == (uintptr_t)hlt_next, "round %u: returned to %llx", i,
		           (unsigned long long)last_ip))
			break;
	}
}

static void test_pit(void) {
	subtest("PIT");
	ioapic_route(PIN_PIT, VEC_PIT);
	unsigned before = trap_count[VEC_PIT];
	pit_periodic(TICKS_2MS);
	for (unsigned i = 0; i < 5; i++) hlt_once();
	CHECK_EQ(trap_count[VEC_PIT], before + 5);
	ioapic_route(PIN_PIT, IOAPIC_MASKED);
	pit_oneshot(0);
}

static void test_pending(void) {
	subtest("pending");
	for (unsigned i = 0; i < ROUNDS; i++) {
		unsigned before = trap_count[VECTOR];
		lapic_self_ipi(VECTOR);
		hlt_once(); // nothing else would wake it
		if (!CHECK(trap_count[VECTOR] == before + 1, "round %u", i)) break;
		CHECK_UNLESS(on_tcg(), last_ip == (uintptr_t)hlt_next, "returned to %llx",
		             (unsigned long long)last_ip);
	}
}

static void test_tpr(void) {
	subtest("behind TPR");
	unsigned before = trap_count[VECTOR];
	lapic_write(LAPIC_TPR, 0x40);
	lapic_self_ipi(VECTOR);             // too low to wake
	lapic_write(LAPIC_LVT_TIMER, 0x71); // this one wakes
	lapic_write(LAPIC_TIMER_INITIAL, 100000);
	unsigned woken = trap_count[0x71];
	hlt_once();
	CHECK_EQ(trap_count[0x71], woken + 1);
	CHECK_EQ(trap_count[VECTOR], before);
	lapic_write(LAPIC_TPR, 0);
	irq_on();
	CHECK(WAIT_FOR(trap_count[VECTOR] == before + 1, 10000), "not delivered when TPR fell");
	irq_off();
}

void guest_main(void);
void guest_main(void) {
	pic_init(0x20, 0);
	lapic_enable();
	trap_handle(VECTOR, on_irq);
	trap_handle(0x71, on_irq);
	trap_handle(VEC_PIT, on_irq);
	trap_handle(VEC_NMI, on_irq);
	test_timer();
	test_pit();
	test_pending();
	test_tpr();
	finish();
}
