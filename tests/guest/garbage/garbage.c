// SPDX-License-Identifier: Apache-2.0
// Executes random bytes in ring 0, seed after seed, with a periodic timer that breaks endless loops. Whatever
// happens to this guest (it may report SUCCESS, crash or hang), the hypervisor must live and say so.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/chips.h"

#define VECTOR 0x40
#define SEEDS 300u
#define TICKS_LIMIT 2u

static uint8_t code[64 * 1024] __attribute__((aligned(4096)));
static volatile unsigned ticks;
noreturn void trap_jump(unsigned long *buffer);

static void on_timer(struct regs *regs) {
	(void)regs;
	lapic_eoi();
	if (++ticks > TICKS_LIMIT && trap_armed) {
		trap_armed = false;
		trap_last.vector = VECTOR;
		trap_jump(trap_buffer);
	}
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
	trap_handle(VECTOR, on_timer);
	lapic_write(LAPIC_TIMER_DIVIDE, 0xB);
	for (volatile unsigned i = 1; i <= SEEDS; i++) {
		uint32_t seed = i * 2654435761u;
		for (unsigned at = 0; at < sizeof code; at += 4) {
			uint32_t v = next(&seed);
			__builtin_memcpy(code + at, &v, 4);
		}
		ticks = 0;
		lapic_write(LAPIC_LVT_TIMER, LVT_PERIODIC | VECTOR);
		lapic_write(LAPIC_TIMER_INITIAL, 1000000);
		struct trap t = CATCH({
			irq_on();
			((void (*)(void))(code + (seed & 0xFFF)))();
		});
		irq_off();
		trap_load_idt();
		lapic_write(LAPIC_TIMER_INITIAL, 0);
		ended[t.vector & 0xFF]++;
		if (i % 50 == 0) print("- %u seeds\n", i);
	}
	for (unsigned v = 0; v < 256; v++)
		if (ended[v]) print("  vector %d: %u\n", (int)(int8_t)v, ended[v]);
	CHECK(true, "alive");
	finish();
}
