// SPDX-License-Identifier: Apache-2.0
// The instructions the loader needs, by name; the only inline assembly of boot/efi.
#pragma once

#include "kernel/lib/types.h"

#define INSN_CR4_PAE (UINT64_C(1) << 5)
#define INSN_CR4_LA57 (UINT64_C(1) << 12)

static inline uint64_t insn_rdtsc(void) {
	uint32_t low, high;
	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return (uint64_t)high << 32 | low;
}

static inline void insn_outb(uint16_t port, uint8_t value) {
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t insn_inb(uint16_t port) {
	uint8_t value;
	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint64_t insn_read_cr4(void) {
	uint64_t value;
	__asm__ volatile("mov %%cr4, %0" : "=r"(value));
	return value;
}

static inline void insn_cli(void) { __asm__ volatile("cli" : : : "memory"); }

static inline noreturn void insn_stop(void) {
	for (;;) __asm__ volatile("cli; hlt" : : : "memory");
}

// Jumps to `entry` on new page tables with RDI and RSI set, nothing on the stack. CR4 is written before CR3:
// it drops the firmware's global pages (PGE), protection keys and shadow stacks with it; the caller keeps PAE
// and LA57 as they are, which long mode does not allow to change (SDM vol. 3, 4.1.2).
static inline noreturn void insn_enter(uint64_t cr4, uint64_t cr3, uint64_t stack, uint64_t entry,
                                       uint64_t rdi, uint64_t rsi) {
	__asm__ volatile("cli\n\t"
	                 "cld\n\t"
	                 "mov %0, %%cr4\n\t"
	                 "mov %1, %%cr3\n\t"
	                 "mov %2, %%rsp\n\t"
	                 "xor %%ebp, %%ebp\n\t"
	                 "jmp *%3"
	                 :
	                 : "r"(cr4), "r"(cr3), "r"(stack), "a"(entry), "D"(rdi), "S"(rsi)
	                 : "memory");
	__builtin_unreachable();
}
