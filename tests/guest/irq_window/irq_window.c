// SPDX-License-Identifier: Apache-2.0
// When a waiting interrupt comes in: after the instruction behind STI, at once after POPF, IRET and a lower
// CR8, and not between MOV SS and its successor; also when the shadowed instruction is one that exits.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/chips.h"

#define VECTOR 0x61
#define ROUNDS 20
#define TIMER_COUNT 200000u // at divide 1
#define TIMER_ROUNDS 2000u
#define TIMER_LOOPS 20000000u
#define FLAGS_TF 0x100u

static volatile uint64_t seen_ip, seen_flags;

static void on_irq(struct regs *regs) {
	seen_ip = regs->ip;
	seen_flags = regs->flags;
	lapic_eoi();
}

// The timer's interrupts: their frames must hold the flags this code runs with.
static volatile uint64_t timer_flags, timer_count;

static void on_timer(struct regs *regs) {
	timer_flags |= regs->flags;
	timer_count++;
	lapic_eoi();
}

// However the hypervisor finds the end of STI's shadow, by a step of its own say, the guest sees nothing of it:
// in a register, in a frame, or as a debug exception; also when the shadowed instruction is carried out in software.
static void shadows_under_timer(void) {
	uint64_t pushed = 0, flags;
	uint32_t end = 0;
	trap_handle(VECTOR, on_timer);
	lapic_write(LAPIC_TIMER_DIVIDE, 0xB);
	lapic_write(LAPIC_LVT_TIMER, LVT_PERIODIC | VECTOR);
	lapic_write(LAPIC_TIMER_INITIAL, TIMER_COUNT);
	while (timer_count < TIMER_ROUNDS && end++ < TIMER_LOOPS) {
		asm volatile("sti; cmpl $0, (%1); cli; sti; pushfq; popq %0; cli"
		             : "=r"(flags)
		             : "r"((uint64_t)LAPIC_BASE + LAPIC_VERSION)
		             : "memory", "cc");
		pushed |= flags;
	}
	lapic_write(LAPIC_LVT_TIMER, LVT_MASKED);
	CHECK(timer_count >= TIMER_ROUNDS, "%llu interrupts", (unsigned long long)timer_count);
	CHECK_EQ((pushed | timer_flags) & FLAGS_TF, 0);
	CHECK_EQ(trap_count[VEC_DB], 0);
}

// What the hypervisor gets for itself meanwhile, here the end of the timer that this guest has masked, opens no window
// either. Where hardware delivers the waiting interrupt, only that hardware can get it wrong (SDM vol. 3, 29.2.2).
static void held_back_under_host_interrupts(void) {
	for (unsigned i = 0; i < ROUNDS; i++) {
		seen_ip = 0;
		lapic_write(LAPIC_LVT_TIMER, LVT_MASKED | VECTOR);
		lapic_write(LAPIC_TIMER_DIVIDE, 0xB);
		lapic_write(LAPIC_TIMER_INITIAL, TIMER_COUNT);
		irq_on(); // Bochs lets interrupts of its hypervisor come only after a change of IF (docs/QUIRKS.md)
		irq_off();
		lapic_self_ipi(VECTOR);
		delay_us(2 * TIMER_COUNT / 1000);
		bool held = CHECK_UNLESS(on_bochs() && cpu_is_intel(), seen_ip == 0, "round %u: came in, flags %llx",
		                         i, (unsigned long long)seen_flags);
		irq_on();
		CHECK(WAIT_FOR(seen_ip != 0, 10000), "lost");
		irq_off();
		if (!held) break;
	}
}

// The spurious vector, when the CPU had accepted an interrupt that CR8 then masks.
static void on_spurious(struct regs *regs) { (void)regs; }

// Each opens the window with the interrupt waiting; label 1 is the place where it must come in (or `slack`
// one-byte instructions behind it).
#define OPEN(name, slack, before, insn)                                                                      \
	do {                                                                                                     \
		for (unsigned i_ = 0; i_ < ROUNDS; i_++) {                                                           \
			uint64_t expected;                                                                               \
			seen_ip = 0;                                                                                     \
			lapic_self_ipi(VECTOR);                                                                          \
			asm volatile("lea 1f(%%rip), %0; " before "; " insn "; 1: nop; nop; nop; cli"                    \
			             : "=&r"(expected)                                                                   \
			             :                                                                                   \
			             : "rax", "rbx", "rcx", "rdx", "memory", "cc");                                      \
			if (!check_report(seen_ip >= expected && seen_ip <= expected + (slack), __FILE__, __LINE__,      \
			                  name, "came in %lld bytes off", (long long)(seen_ip - expected)))              \
				break;                                                                                       \
		}                                                                                                    \
	} while (0)

void guest_main(void);
void guest_main(void) {
	(void)tsc_per_us();
	pic_init(0x20, 0);
	lapic_enable();
	trap_handle(VECTOR, on_irq);
	trap_handle(0xFF, on_spurious);
	subtest("STI");
	OPEN("sti; nop", 0, "sti", "nop");
	OPEN("sti; inc", 0, "sti", "inc %%eax");
	OPEN("sti; cpuid", 0, "xor %%eax, %%eax; sti", "cpuid");
	OPEN("sti; in", 0, "sti", "in $0x21, %%al");
	OPEN("sti; rdmsr", 0, "mov $0x1B, %%ecx; sti", "rdmsr");
	subtest("POPF");
	OPEN("popf", 0, "pushf; orl $0x200, (%%rsp)", "popf");
	subtest("IRET");
	OPEN("iret", 0,
	     "mov %%rsp, %%rax; push $0x10; push %%rax; pushf; orl $0x200, (%%rsp); push $8; lea 1f(%%rip), "
	     "%%rax; push %%rax",
	     "iretq");
	subtest("CR8");
	OPEN("mov cr8", 0, "mov $15, %%eax; mov %%rax, %%cr8; sti; nop; xor %%eax, %%eax", "mov %%rax, %%cr8");
	subtest("MOV SS");
	OPEN("mov ss behind sti", 1, "mov %%ss, %%eax; sti", "mov %%eax, %%ss");
	subtest("nothing while IF is 0");
	seen_ip = 0;
	lapic_self_ipi(VECTOR);
	for (unsigned i = 0; i < 1000; i++) (void)cpuid(0, 0);
	CHECK_EQ(seen_ip, 0);
	irq_on();
	CHECK(WAIT_FOR(seen_ip != 0, 10000), "lost");
	irq_off();
	subtest("held back under host interrupts");
	held_back_under_host_interrupts();
	subtest("shadows under a timer");
	shadows_under_timer();
	finish();
}
