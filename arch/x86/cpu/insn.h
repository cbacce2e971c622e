// SPDX-License-Identifier: Apache-2.0
// Every privileged or special instruction the hypervisor uses on the machine it runs on, one inline
// function each. The only C file with inline assembly besides mmio.h and the backends' own insn.h.
// A function named after an instruction does exactly what the manual says of it.
#pragma once

#include "kernel/lib/types.h"

static inline uint8_t in8(uint16_t port) {
	uint8_t v;
	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline uint16_t in16(uint16_t port) {
	uint16_t v;
	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline uint32_t in32(uint16_t port) {
	uint32_t v;
	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}
static inline void out8(uint16_t port, uint8_t v) { __asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port)); }
static inline void out16(uint16_t port, uint16_t v) {
	__asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port));
}
static inline void out32(uint16_t port, uint32_t v) {
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

// RDMSR / WRMSR of a register that is known to exist; a stranger's #GP is a bug of ours and panics.
static inline uint64_t rdmsr(uint32_t msr) {
	uint32_t lo, hi;
	__asm__ volatile("rdmsr" : "=a"(lo), "=d"(hi) : "c"(msr));
	return (uint64_t)hi << 32 | lo;
}
static inline void wrmsr(uint32_t msr, uint64_t v) {
	__asm__ volatile("wrmsr" : : "c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}

// RDMSR of a register that may not exist: false on #GP (fixed up by trap.c), *v unchanged.
static inline bool rdmsr_safe(uint32_t msr, uint64_t *v) {
	uint32_t lo, hi, fault = 0;
	__asm__ volatile(
	    "1: rdmsr\n"
	    "2:\n\t.pushsection .text.fixup,\"ax\",@progbits\n"
	    "3:\tmovl $1, %[fault]\n\tjmp 2b\n\t.popsection\n\t"
	    ".pushsection .extable,\"a\",@progbits\n\t.balign 4\n\t.long 1b - ., 3b - .\n\t.popsection"
	    : "=a"(lo), "=d"(hi), [fault] "+r"(fault)
	    : "c"(msr));
	if (fault != 0) return false;
	*v = (uint64_t)hi << 32 | lo;
	return true;
}

static inline uint64_t rdtsc(void) {
	uint32_t lo, hi;
	__asm__ volatile("rdtsc" : "=a"(lo), "=d"(hi));
	return (uint64_t)hi << 32 | lo;
}

struct cpuid_regs {
	uint32_t eax, ebx, ecx, edx;
};
static inline struct cpuid_regs cpuid(uint32_t leaf, uint32_t subleaf) {
	struct cpuid_regs r;
	__asm__ volatile("cpuid" : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx) : "a"(leaf), "c"(subleaf));
	return r;
}

// clang-format off
static inline uint64_t read_cr0(void) { uint64_t v; __asm__ volatile("mov %%cr0, %0" : "=r"(v)); return v; }
static inline uint64_t read_cr2(void) { uint64_t v; __asm__ volatile("mov %%cr2, %0" : "=r"(v)); return v; }
static inline uint64_t read_cr3(void) { uint64_t v; __asm__ volatile("mov %%cr3, %0" : "=r"(v)); return v; }
static inline uint64_t read_cr4(void) { uint64_t v; __asm__ volatile("mov %%cr4, %0" : "=r"(v)); return v; }
// clang-format on
static inline void write_cr0(uint64_t v) { __asm__ volatile("mov %0, %%cr0" : : "r"(v) : "memory"); }
static inline void write_cr3(uint64_t v) { __asm__ volatile("mov %0, %%cr3" : : "r"(v) : "memory"); }
static inline void write_cr4(uint64_t v) { __asm__ volatile("mov %0, %%cr4" : : "r"(v) : "memory"); }

// clang-format off
static inline uint64_t read_dr6(void) { uint64_t v; __asm__ volatile("mov %%dr6, %0" : "=r"(v)); return v; }
// clang-format on
static inline void write_dr6(uint64_t v) { __asm__ volatile("mov %0, %%dr6" : : "r"(v)); }
static inline void read_dr0_3(uint64_t dr[static 4]) {
	__asm__ volatile("mov %%dr0, %0" : "=r"(dr[0]));
	__asm__ volatile("mov %%dr1, %0" : "=r"(dr[1]));
	__asm__ volatile("mov %%dr2, %0" : "=r"(dr[2]));
	__asm__ volatile("mov %%dr3, %0" : "=r"(dr[3]));
}
static inline void write_dr0_3(const uint64_t dr[static 4]) {
	__asm__ volatile("mov %0, %%dr0" : : "r"(dr[0]));
	__asm__ volatile("mov %0, %%dr1" : : "r"(dr[1]));
	__asm__ volatile("mov %0, %%dr2" : : "r"(dr[2]));
	__asm__ volatile("mov %0, %%dr3" : : "r"(dr[3]));
}

static inline uint64_t xgetbv(uint32_t index) {
	uint32_t lo, hi;
	__asm__ volatile("xgetbv" : "=a"(lo), "=d"(hi) : "c"(index));
	return (uint64_t)hi << 32 | lo;
}
static inline void xsetbv(uint32_t index, uint64_t v) {
	__asm__ volatile("xsetbv" : : "c"(index), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}
// FPU state areas: 64-byte aligned, at least the size CPUID 0xD reports (FXSAVE: 512 bytes).
static inline void xsave64(void *area, uint64_t mask) {
	__asm__ volatile("xsave64 (%0)"
	                 :
	                 : "r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32))
	                 : "memory");
}
static inline void xrstor64(const void *area, uint64_t mask) {
	__asm__ volatile("xrstor64 (%0)"
	                 :
	                 : "r"(area), "a"((uint32_t)mask), "d"((uint32_t)(mask >> 32))
	                 : "memory");
}
static inline void fxsave64(void *area) { __asm__ volatile("fxsave64 (%0)" : : "r"(area) : "memory"); }
static inline void fxrstor64(const void *area) {
	__asm__ volatile("fxrstor64 (%0)" : : "r"(area) : "memory");
}

static inline void invlpg(const void *address) {
	__asm__ volatile("invlpg (%0)" : : "r"(address) : "memory");
}

static inline void irq_enable(void) { __asm__ volatile("sti" : : : "memory"); }
static inline void irq_disable(void) { __asm__ volatile("cli" : : : "memory"); }
// One window: STI's shadow covers the NOP, so a pending interrupt is taken before CLI.
static inline void irq_window(void) { __asm__ volatile("sti; nop; cli" : : : "memory"); }
// Sleeps until an interrupt; entered and left with interrupts off, none is missed (STI shadow covers HLT).
static inline void irq_wait(void) { __asm__ volatile("sti; hlt; cli" : : : "memory"); }
// With the microcode for it VERW of a writable selector overwrites the buffers that MDS reads (SDM vol. 2 "VERW").
static inline void verw(uint16_t selector) { __asm__ volatile("verw %0" : : "m"(selector) : "cc"); }
// 32 harmless predictions into the return stack buffer.
static inline void return_stack_fill(void) {
	uint64_t pairs = 16;
	__asm__ volatile(
	    "1:\tcall 2f\n3:\tpause\n\tlfence\n\tjmp 3b\n2:\tcall 4f\n5:\tpause\n\tlfence\n\tjmp 5b\n"
	    "4:\tdecq %0\n\tjnz 1b\n\taddq $256, %%rsp"
	    : "+r"(pairs)
	    :
	    : "cc", "memory");
}
static inline void cpu_pause(void) { __asm__ volatile("pause"); }
static inline void cpu_halt(void) { __asm__ volatile("hlt" : : : "memory"); }
// Every earlier store is visible before any later WRMSR that is not serialising (SDM vol. 3, 11.12.3).
static inline void mfence_lfence(void) { __asm__ volatile("mfence; lfence" : : : "memory"); }
static inline void cpu_undefined(void) { __asm__ volatile("ud2"); }

struct __packed desc_ptr {
	uint16_t limit;
	uint64_t base;
};
static inline void lgdt(const struct desc_ptr *p) { __asm__ volatile("lgdt %0" : : "m"(*p)); }
static inline void sidt(struct desc_ptr *p) { __asm__ volatile("sidt %0" : "=m"(*p)); }
static inline void lidt(const struct desc_ptr *p) { __asm__ volatile("lidt %0" : : "m"(*p)); }
static inline void lldt(uint16_t selector) { __asm__ volatile("lldt %0" : : "r"(selector)); }
static inline void ltr(uint16_t selector) { __asm__ volatile("ltr %0" : : "r"(selector)); }
static inline uint64_t read_rsp(void) {
	uint64_t v;
	__asm__ volatile("mov %%rsp, %0" : "=r"(v));
	return v;
}
// Reloads every segment register after LGDT: CS by a far return, the data segments with `data`.
static inline void segments_reload(uint16_t code, uint16_t data) {
	__asm__ volatile("pushq %q0\n\tleaq 1f(%%rip), %%rax\n\tpushq %%rax\n\tlretq\n1:\n\t"
	                 "movl %1, %%ds\n\tmovl %1, %%es\n\tmovl %1, %%ss\n\tmovl %2, %%fs\n\tmovl %2, %%gs"
	                 :
	                 : "r"((uint64_t)code), "r"((uint32_t)data), "r"(0)
	                 : "rax", "memory");
}
