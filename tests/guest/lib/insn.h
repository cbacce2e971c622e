// SPDX-License-Identifier: Apache-2.0
// The instructions that C has no words for, for test guests of 32 and 64 bits. Each is volatile and is a
// barrier for memory: a guest test is about the order in which things happen.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define BIT(n) (UINT64_C(1) << (n))

struct cpuid {
	uint32_t eax, ebx, ecx, edx;
};

static inline void out8(uint16_t port, uint8_t v) {
	asm volatile("outb %0, %1" ::"a"(v), "Nd"(port) : "memory");
}
static inline void out16(uint16_t port, uint16_t v) {
	asm volatile("outw %0, %1" ::"a"(v), "Nd"(port) : "memory");
}
static inline void out32(uint16_t port, uint32_t v) {
	asm volatile("outl %0, %1" ::"a"(v), "Nd"(port) : "memory");
}

static inline uint8_t in8(uint16_t port) {
	uint8_t v;
	asm volatile("inb %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline uint16_t in16(uint16_t port) {
	uint16_t v;
	asm volatile("inw %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline uint32_t in32(uint16_t port) {
	uint32_t v;
	asm volatile("inl %1, %0" : "=a"(v) : "Nd"(port) : "memory");
	return v;
}

static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf) {
	struct cpuid r;
	asm volatile("cpuid"
	             : "=a"(r.eax), "=b"(r.ebx), "=c"(r.ecx), "=d"(r.edx)
	             : "a"(leaf), "c"(subleaf)
	             : "memory");
	return r;
}

static inline uint64_t rdmsr(uint32_t msr) {
	uint32_t low, high;
	asm volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr) : "memory");
	return (uint64_t)high << 32 | low;
}

static inline void wrmsr(uint32_t msr, uint64_t v) {
	asm volatile("wrmsr" ::"c"(msr), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}

static inline uint64_t rdtsc(void) {
	uint32_t low, high;
	asm volatile("rdtsc" : "=a"(low), "=d"(high)::"memory");
	return (uint64_t)high << 32 | low;
}

static inline uint64_t xgetbv(uint32_t reg) {
	uint32_t low, high;
	asm volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(reg) : "memory");
	return (uint64_t)high << 32 | low;
}

static inline void xsetbv(uint32_t reg, uint64_t v) {
	asm volatile("xsetbv" ::"c"(reg), "a"((uint32_t)v), "d"((uint32_t)(v >> 32)) : "memory");
}

#define INSN_REG(name)                                                                                       \
	static inline unsigned long name##_read(void) {                                                          \
		unsigned long v;                                                                                     \
		asm volatile("mov %%" #name ", %0" : "=r"(v)::"memory");                                             \
		return v;                                                                                            \
	}                                                                                                        \
	static inline void name##_write(unsigned long v) { asm volatile("mov %0, %%" #name ::"r"(v) : "memory"); }
INSN_REG(cr0)
INSN_REG(cr2)
INSN_REG(cr3)
INSN_REG(cr4)
#ifdef __x86_64__
INSN_REG(cr8)
#endif
INSN_REG(dr0)
INSN_REG(dr1)
INSN_REG(dr2)
INSN_REG(dr3)
INSN_REG(dr6)
INSN_REG(dr7)

static inline unsigned long flags_read(void) {
	unsigned long v;
	asm volatile("pushf; pop %0" : "=r"(v)::"memory");
	return v;
}

static inline void flags_write(unsigned long v) { asm volatile("push %0; popf" ::"r"(v) : "memory", "cc"); }
static inline void irq_on(void) { asm volatile("sti; nop" ::: "memory"); }
static inline void irq_off(void) { asm volatile("cli" ::: "memory"); }
static inline void pause(void) { asm volatile("pause" ::: "memory"); }
static inline void sti_hlt_cli(void) { asm volatile("sti; hlt; cli" ::: "memory"); }
static inline void invlpg(const volatile void *p) { asm volatile("invlpg (%0)" ::"r"(p) : "memory"); }

// A pseudo descriptor as LGDT and LIDT take it.
struct table {
	uint16_t limit;
	unsigned long base;
} __attribute__((packed));

static inline void lgdt(const struct table *t) { asm volatile("lgdt %0" ::"m"(*t) : "memory"); }
static inline void lidt(const struct table *t) { asm volatile("lidt %0" ::"m"(*t) : "memory"); }
static inline void sidt(struct table *t) { asm volatile("sidt %0" : "=m"(*t)::"memory"); }

// Device registers in memory.
static inline uint32_t mmio32_read(uintptr_t addr) { return *(volatile uint32_t *)addr; }
static inline void mmio32_write(uintptr_t addr, uint32_t v) { *(volatile uint32_t *)addr = v; }

// Port pair 0x70/0x71: one CMOS byte.
static inline uint8_t cmos_read(uint8_t reg) {
	out8(0x70, reg);
	return in8(0x71);
}

static inline void cmos_write(uint8_t reg, uint8_t v) {
	out8(0x70, reg);
	out8(0x71, v);
}
