// SPDX-License-Identifier: Apache-2.0
// Executes random bytes in ring 0, seed after seed, with a periodic NMI (the PIT through the I/O APIC) that
// breaks endless loops and HLT. Whatever happens to this guest (SUCCESS or a crash), the hypervisor must live
// and say so.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/chips.h"

#define PIN_PIT 2
#define TICKS_4MS 4773
#define SEEDS 300u
#define TICKS_LIMIT 2u

static uint8_t code[64 * 1024] __attribute__((aligned(4096)));
static volatile unsigned ticks;
noreturn void trap_jump(unsigned long *buffer);

static noreturn void give_up(unsigned vector) {
	trap_armed = false;
	trap_last.vector = (int)vector;
	trap_jump(trap_buffer);
}

static void on_nmi(struct regs *regs) {
	(void)regs;
	if (++ticks > TICKS_LIMIT) give_up(VEC_NMI);
}

// Wherever the random code went, also into this program's own.
static void on_fault(struct regs *regs) { give_up((unsigned)regs->vector); }

// With registers that point at nothing of this program.
static void run(const uint8_t *start) {
	asm volatile(
	    "xor %%ebx, %%ebx; xor %%ecx, %%ecx; xor %%edx, %%edx; xor %%esi, %%esi; xor %%edi, %%edi;"
	    "xor %%ebp, %%ebp; xor %%r8d, %%r8d; xor %%r9d, %%r9d; xor %%r10d, %%r10d; xor %%r11d, %%r11d;"
	    "xor %%r12d, %%r12d; xor %%r13d, %%r13d; xor %%r14d, %%r14d; xor %%r15d, %%r15d; jmp *%0" ::"a"(
	        start));
}

static uint32_t next(uint32_t *seed) {
	*seed ^= *seed << 13;
	*seed ^= *seed >> 17;
	*seed ^= *seed << 5;
	return *seed;
}

void guest_main(void);
void guest_main(void) {
	unsigned ended[256] = {0};
	pic_init(0x20, 0);
	lapic_enable();
	for (unsigned v = 0; v < 256; v++) trap_handle(v, on_fault);
	trap_handle(VEC_NMI, on_nmi);
	for (volatile unsigned i = 1; i <= SEEDS; i++) {
		uint32_t seed = i * 2654435761u;
		for (unsigned at = 0; at < sizeof code; at += 4) {
			uint32_t v = next(&seed);
			__builtin_memcpy(code + at, &v, 4);
		}
		ticks = 0;
		ioapic_route(PIN_PIT, LVT_NMI);
		pit_periodic(TICKS_4MS);
		struct trap t = CATCH({
			irq_on(); // Bochs takes no interrupt for a guest that was entered with IF = 0
			run(code + (seed & 0xFFF));
		});
		irq_off();
		trap_load_idt();
		ioapic_route(PIN_PIT, IOAPIC_MASKED);
		ended[t.vector & 0xFF]++;
		if (i % 50 == 0) print("- %u seeds\n", i);
	}
	for (unsigned v = 0; v < 256; v++)
		if (ended[v]) print("  vector %d: %u\n", (int)(int8_t)v, ended[v]);
	CHECK(true, "alive");
	finish();
}
