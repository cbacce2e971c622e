// SPDX-License-Identifier: Apache-2.0
// Exceptions and interrupts of a test guest: one IDT with all 256 vectors, handlers by vector, and CATCH,
// which runs statements and says what exception ended them.
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "tests/guest/lib/insn.h"
#include "tests/guest/lib/report.h"

enum vector {
	VEC_DE = 0,
	VEC_DB = 1,
	VEC_NMI = 2,
	VEC_BP = 3,
	VEC_OF = 4,
	VEC_BR = 5,
	VEC_UD = 6,
	VEC_NM = 7,
	VEC_DF = 8,
	VEC_TS = 10,
	VEC_NP = 11,
	VEC_SS = 12,
	VEC_GP = 13,
	VEC_PF = 14,
	VEC_MF = 16,
	VEC_AC = 17,
	VEC_MC = 18,
	VEC_XM = 19,
};

// Page-fault error code (SDM vol. 3, 4.7).
enum { PF_P = 1, PF_W = 2, PF_U = 4, PF_RSVD = 8, PF_I = 16 };

// What lies on the stack when a handler runs; a handler may change it.
#ifdef __x86_64__
struct regs {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector, error, ip, cs, flags, sp, ss;
};
struct gate {
	uint16_t offset_0, selector, type, offset_16;
	uint32_t offset_32, zero;
};
#else
struct regs {
	uint32_t gs, fs, es, ds, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint32_t vector, error, ip, cs, flags, sp, ss; // sp, ss only from another ring
};
struct gate {
	uint16_t offset_0, selector, type, offset_16;
};
#endif

enum { GATE_INTERRUPT = 0x8E00, GATE_TRAP = 0x8F00, GATE_USER = 0x6000 };

struct trap {
	int vector; // -1: none
	unsigned long error, ip, cr2, flags;
};

typedef void trap_handler(struct regs *regs);

extern struct gate idt[256];
extern uint64_t gdt[];
extern uint8_t tss[128];
extern uint8_t trap_stubs[256][16];

void trap_init(void);
// Loads the IDT register with `idt` again.
void trap_load_idt(void);
// Handler of a vector, NULL for the default (an exception inside CATCH ends it; all else is a FAILURE).
void trap_handle(unsigned vector, trap_handler *handler);
// Points a vector at any address, with gate type bits and IST slot (0: none; 64-bit only).
void trap_gate(unsigned vector, const void *entry, uint16_t type);

// Interrupts and exceptions seen per vector.
extern volatile unsigned trap_count[256];

// The CATCH machinery.
extern struct trap trap_last;
extern unsigned long trap_buffer[9];
extern volatile bool trap_armed;
int trap_jump_save(unsigned long *buffer) __attribute__((returns_twice));

// Runs the statements, at most once and up to the first exception, and yields the struct trap.
#define CATCH(...)                                                                                           \
	({                                                                                                       \
		trap_last.vector = -1;                                                                               \
		if (trap_jump_save(trap_buffer) == 0) {                                                              \
			trap_armed = true;                                                                               \
			__VA_ARGS__;                                                                                     \
		}                                                                                                    \
		trap_armed = false;                                                                                  \
		asm volatile("" ::: "memory");                                                                       \
		trap_last;                                                                                           \
	})

#define EXPECT_TRAP(vec, err, ...)                                                                           \
	trap_expect(CATCH(__VA_ARGS__), (vec), (err), false, __FILE__, __LINE__, #__VA_ARGS__)
#define EXPECT_NO_TRAP(...) trap_expect(CATCH(__VA_ARGS__), -1, 0, false, __FILE__, __LINE__, #__VA_ARGS__)
#define EXPECT_TRAP_UNLESS(known, vec, err, ...)                                                             \
	trap_expect(CATCH(__VA_ARGS__), (vec), (err), (known), __FILE__, __LINE__, #__VA_ARGS__)
bool trap_expect(struct trap t, int vector, unsigned long error, bool known, const char *file, int line,
                 const char *what);
