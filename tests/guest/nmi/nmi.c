// SPDX-License-Identifier: Apache-2.0
// NMIs that a CPU sends to itself: delivered with interrupts off, blocked until IRET, one of them kept
// meanwhile, HLT woken by one, and one that comes together with an exception.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/chips.h"
#include "tests/guest/lib/paging.h"

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

// One instruction sends an NMI by its first store and faults at its second: the NMI comes before the fault, or at the
// latest before the first instruction of its handler (SDM vol. 3, 6.9; APM vol. 2, 8.5).
#define SPLIT_VA UINT64_C(0x400000000000)
static volatile unsigned count_at_fault, faults;

static void on_fault(struct regs *regs) {
	count_at_fault = count;
	faults++;
	regs->rcx = 0; // no second store
}

static void test_beside_fault(void) {
	static uint32_t page[1024] __attribute__((aligned(4096)));
	subtest("beside an exception");
	page[1023] = ICR_ASSERT | ICR_NMI;
	page_map(SPLIT_VA, (uintptr_t)page, PTE_P | PTE_W);
	trap_handle(VEC_PF, on_fault);
	lapic_write(LAPIC_ICR2, lapic_read(LAPIC_ID));
	irq_on();
	for (unsigned i = 1; i <= ROUNDS; i++) {
		const uint32_t *from = (uint32_t *)SPLIT_VA + 1023;
		volatile uint32_t *to = (volatile uint32_t *)(LAPIC_BASE + LAPIC_ICR);
		unsigned long n = 2;
		count = count_at_fault = 0;
		asm volatile("rep movsl" : "+S"(from), "+D"(to), "+c"(n)::"memory");
		if (!CHECK(faults == i && count_at_fault == 1 && count == 1,
		           "round %u: %u faults, %u NMIs, %u before", i, faults, count, count_at_fault))
			break;
	}
	irq_off();
	trap_handle(VEC_PF, 0);
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
	test_beside_fault();
	finish();
}
