// SPDX-License-Identifier: Apache-2.0
// Dispatch of exceptions and interrupts, and recovery of the expected ones.
#include "tests/guest/lib/trap.h"

#define SELECTOR_CODE 0x08
#define GATE_OFFSET_IST 0x0001 // low bits of the type word: IST index
#define TSS64_RSP0 4
#define TSS64_IST1 36
#define TSS32_ESP0 4

struct gate idt[256] __attribute__((aligned(4096)));
volatile unsigned trap_count[256];
struct trap trap_last;
unsigned long trap_buffer[9];
volatile bool trap_armed;

static trap_handler *handlers[256];
static uint8_t ring0_stack[4096] __attribute__((aligned(16))), df_stack[4096] __attribute__((aligned(16)));

void trap_dispatch(struct regs *regs);
noreturn void trap_jump(unsigned long *buffer);

static void pointer_store(uint8_t *at, const void *p) { __builtin_memcpy(at, &p, sizeof p); }

void trap_gate(unsigned vector, const void *entry, uint16_t type) {
	uintptr_t a = (uintptr_t)entry;
	struct gate g = {
	    .offset_0 = (uint16_t)a, .selector = SELECTOR_CODE, .type = type, .offset_16 = (uint16_t)(a >> 16)};
#ifdef __x86_64__
	g.offset_32 = (uint32_t)(a >> 32);
#endif
	idt[vector] = g;
}

void trap_handle(unsigned vector, trap_handler *handler) { handlers[vector] = handler; }

void trap_load_idt(void) {
	struct table t = {sizeof idt - 1, (unsigned long)idt};
	lidt(&t);
}

void trap_init(void) {
	for (unsigned v = 0; v < 256; v++) trap_gate(v, trap_stubs[v], GATE_INTERRUPT);
#ifdef __x86_64__
	idt[VEC_DF].type |= GATE_OFFSET_IST;
	pointer_store(tss + TSS64_RSP0, ring0_stack + sizeof ring0_stack);
	pointer_store(tss + TSS64_IST1, df_stack + sizeof df_stack);
#else
	(void)df_stack;
	pointer_store(tss + TSS32_ESP0, ring0_stack + sizeof ring0_stack);
#endif
	trap_load_idt();
}

void trap_dispatch(struct regs *regs) {
	unsigned v = (unsigned)regs->vector & 0xFF;
	trap_count[v]++;
	if (handlers[v]) {
		handlers[v](regs);
		return;
	}
	if (v < 32 && trap_armed) {
		trap_armed = false;
		trap_last = (struct trap){(int)v, regs->error, regs->ip, v == VEC_PF ? cr2_read() : 0, regs->flags};
		trap_jump(trap_buffer);
	}
	print("  unexpected vector %u: error %lx at %lx:%lx flags %lx cr2 %lx\n", v, (unsigned long)regs->error,
	      (unsigned long)regs->cs, (unsigned long)regs->ip, (unsigned long)regs->flags, cr2_read());
	result_failure("unexpected vector %u at %lx", v, (unsigned long)regs->ip);
}

bool trap_expect(struct trap t, int vector, unsigned long error, bool known, const char *file, int line,
                 const char *what) {
	return check_unless(known, t.vector == vector && (vector < 0 || t.error == error), file, line, what,
	                    "expected vector %d error %lx, got vector %d error %lx at %lx", vector, error,
	                    t.vector, t.error, t.ip);
}
