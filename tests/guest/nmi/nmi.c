// SPDX-License-Identifier: Apache-2.0
// NMIs that a CPU sends to itself: delivered with interrupts off, blocked until IRET, one of them kept
// meanwhile, and HLT woken by one.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/chips.h"

#define WAIT_US 20000u
#define ROUNDS 50
#define PIN_PIT 2
#define TICKS_2MS 2386

static volatile unsigned count, depth, deepest, resend;

// The self shorthand takes fixed vectors only (SDM vol. 3, 10.6.1); an NMI goes to our own APIC id.
static void send_nmi(void) {
	lapic_write(LAPIC_ICR2, lapic_read(LAPIC_ID));
	lapic_write(LAPIC_ICR, ICR_ASSERT | ICR_NMI);
}

static void on_nmi(struct regs *regs) {
	(void)regs;
	count++;
	if (++depth > deepest) deepest = depth;
	if (resend) {
		resend--;
		send_nmi();
		send_nmi();        // of several only one is kept
		(void)cpuid(0, 0); // exits do not unblock
		(void)in8(0x21);
		delay_us(50);
	}
	depth--;
}

void guest_main(void);
void guest_main(void) {
	tsc_per_us();
	pic_init(0x20, 0);
	lapic_enable();
	trap_handle(VEC_NMI, on_nmi);
	subtest("delivery with interrupts off");
	for (unsigned i = 1; i <= ROUNDS; i++) {
		send_nmi();
		WAIT_FOR(count == i, WAIT_US);
		if (!CHECK(count == i, "round %u: %u", i, count)) break;
	}
	subtest("blocked until IRET");
	count = deepest = 0;
	resend = 1;
	send_nmi();
	WAIT_FOR(count == 2, WAIT_US);
	delay_us(100);
	CHECK_EQ(count, 2);
	CHECK_EQ(deepest, 1);
	count = 0;
	resend = 5;
	send_nmi();
	WAIT_FOR(count == 6, WAIT_US);
	delay_us(100);
	CHECK_EQ(count, 6);
	CHECK_EQ(deepest, 1);
	subtest("HLT with interrupts off");
	count = 0;
	ioapic_route(PIN_PIT, LVT_NMI);
	// Periodic: on a slow machine the first may come before HLT.
	pit_periodic(TICKS_2MS);
	asm volatile("cli; hlt");
	ioapic_route(PIN_PIT, IOAPIC_MASKED);
	CHECK(count >= 1, "woken by nothing");
	finish();
}
