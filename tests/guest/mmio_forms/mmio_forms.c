// SPDX-License-Identifier: Apache-2.0
// Every instruction form that reads or writes memory, on a device page: the local APIC's initial count (a
// full 32-bit register while the timer is masked) and the I/O APIC's index register. Results, flags and
// untouched registers are compared with the same instruction on RAM.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/chips.h"
#include "tests/guest/lib/paging.h"

#define SCRATCH (LAPIC_BASE + LAPIC_TIMER_INITIAL)
#define ALIAS_VA UINT64_C(0x600000000000)
#define FLAGS_STATUS 0x8D5u // CF PF AF ZF SF OF
#define FLAGS_NO_AF 0x8C5u

static uint32_t ram __attribute__((aligned(64)));
static uint32_t buffer[4];

static void set(uint32_t v) {
	mmio32_write(SCRATCH, v);
	ram = v;
}

// Runs one instruction with %0 = register operand on the device and on RAM and compares what is left: the
// cell, the register, the status flags (those the mask names).
#define FORM(name, start, reg, mask, insn)                                                                   \
	do {                                                                                                     \
		uint64_t r1 = (reg), r2 = (reg), a1 = 0x1111111112345678, a2 = a1, f1, f2;                           \
		set(start);                                                                                          \
		asm volatile("push $0x2; popf; " insn "; pushf; pop %2"                                              \
		             : "+r"(r1), "+a"(a1), "=&r"(f1)                                                         \
		             : "r"((uint64_t)SCRATCH)                                                                \
		             : "memory", "cc");                                                                      \
		asm volatile("push $0x2; popf; " insn "; pushf; pop %2"                                              \
		             : "+r"(r2), "+a"(a2), "=&r"(f2)                                                         \
		             : "r"(&ram)                                                                             \
		             : "memory", "cc");                                                                      \
		uint32_t got = mmio32_read(SCRATCH);                                                                 \
		check_report(got == ram && r1 == r2 && a1 == a2 && !((f1 ^ f2) & (mask)), __FILE__, __LINE__, name,  \
		             "device %x %llx %llx flags %llx, RAM %x %llx %llx flags %llx", got,                     \
		             (unsigned long long)r1, (unsigned long long)a1, (unsigned long long)(f1 & (mask)), ram, \
		             (unsigned long long)r2, (unsigned long long)a2, (unsigned long long)(f2 & (mask)));     \
	} while (0)

#define REG UINT64_C(0xFFFFFFFF80000003)

static void test_move(void) {
	subtest("moves");
	FORM("mov r32, m", 0x89ABCDEF, REG, 0, "mov (%3), %k0");
	FORM("mov m, r32", 0x89ABCDEF, REG, 0, "mov %k0, (%3)");
	FORM("mov m, imm32", 0x89ABCDEF, REG, 0, "movl $0x76543210, (%3)");
	FORM("mov r32, m by SIB", 0x89ABCDEF, 4, 0, "mov -16(%3,%0,4), %k0");
	FORM("movsxd r64, m", 0x89ABCDEF, REG, 0, "movslq (%3), %0");
	FORM("xchg m, r32", 0x89ABCDEF, REG, 0, "xchg %k0, (%3)");
	FORM("addr32", 0x89ABCDEF, REG, 0, "addr32 mov (%k3), %k0");
	uint32_t v;
	set(0x13579BDF);
	asm volatile("movabs 0xFEE00380, %%eax" : "=a"(v));
	CHECK_EQ(v, 0x13579BDF);
	asm volatile("movabs %%eax, 0xFEE00380" ::"a"(0x2468ACE0));
	CHECK_EQ(mmio32_read(SCRATCH), 0x2468ACE0);
}

#define BINARY(op)                                                                                           \
	FORM(op " m, r32", 0x90000003, REG, FLAGS, op " %k0, (%3)");                                             \
	FORM(op " r32, m", 0x90000003, REG, FLAGS, op " (%3), %k0");                                             \
	FORM(op " m, imm8", 0x7FFFFFFF, REG, FLAGS, op "l $1, (%3)");                                            \
	FORM(op " m, imm32", 0x12345678, REG, FLAGS, op "l $0x12345678, (%3)")

static void test_arithmetic(void) {
	subtest("arithmetic");
#define FLAGS FLAGS_STATUS
	BINARY("add");
	BINARY("sub");
	BINARY("adc");
	BINARY("sbb");
	BINARY("cmp");
	FORM("neg", 0x80000000, REG, FLAGS, "negl (%3)");
	FORM("inc", 0x7FFFFFFF, REG, FLAGS, "incl (%3)");
	FORM("dec", 0x80000000, REG, FLAGS, "decl (%3)");
	FORM("xadd", 0x90000003, REG, FLAGS, "xadd %k0, (%3)");
	FORM("lock xadd", 0x90000003, REG, FLAGS, "lock xadd %k0, (%3)");
	FORM("cmpxchg, equal", 0x12345678, REG, FLAGS, "cmpxchg %k0, (%3)");
	FORM("cmpxchg, other", 0x12345679, REG, FLAGS, "lock cmpxchg %k0, (%3)");
#undef FLAGS
#define FLAGS FLAGS_NO_AF
	BINARY("and");
	BINARY("or");
	BINARY("xor");
	FORM("test m, r32", 0x90000003, REG, FLAGS, "test %k0, (%3)");
	FORM("test m, imm32", 0x90000003, REG, FLAGS, "testl $0x80000000, (%3)");
	FORM("not", 0x12345678, REG, FLAGS, "notl (%3)");
	FORM("lock or", 0x12345678, REG, FLAGS, "lock orl $0x0F, (%3)");
#undef FLAGS
}

static void test_bits(void) {
	subtest("bits");
	FORM("bt m, imm8", 0x80000000, REG, 1, "btl $31, (%3)");
	FORM("bts m, imm8", 0x00000001, REG, 1, "btsl $4, (%3)");
	FORM("btr m, imm8", 0xFFFFFFFF, REG, 1, "btrl $4, (%3)");
	FORM("btc m, imm8", 0x0000FFFF, REG, 1, "btcl $20, (%3)");
	FORM("bt m, r32", 0x80000000, 31, 1, "bt %k0, (%3)");
	FORM("bts m, r32", 0x80000000, 7, 1, "lock bts %k0, (%3)");
	FORM("btr m, r32", 0x800000FF, 7, 1, "btr %k0, (%3)");
	FORM("btc m, r32", 0x800000FF, 30, 1, "btc %k0, (%3)");
}

static void test_strings(void) {
	subtest("strings");
	const uint32_t *from = buffer;
	uint64_t to = SCRATCH, count;
	buffer[0] = 0xA0A1A2A3;
	asm volatile("movsl" : "+S"(from), "+D"(to)::"memory");
	CHECK_EQ(mmio32_read(SCRATCH), 0xA0A1A2A3);
	CHECK(from == buffer + 1 && to == SCRATCH + 4, "%lx %llx", (unsigned long)(uintptr_t)from,
	      (unsigned long long)to);
	uint64_t device = SCRATCH;
	uint32_t *ram_to = buffer + 1;
	asm volatile("std; movsl; cld" : "+S"(device), "+D"(ram_to)::"memory");
	CHECK_EQ(buffer[1], 0xA0A1A2A3);
	CHECK(ram_to == buffer && device == SCRATCH - 4, "%llx", (unsigned long long)device);
	to = SCRATCH;
	asm volatile("stosl" : "+D"(to) : "a"(0x5A5A0001) : "memory");
	CHECK_EQ(mmio32_read(SCRATCH), 0x5A5A0001);
	CHECK_EQ(to, SCRATCH + 4);
	to = SCRATCH;
	count = 1;
	asm volatile("rep stosl" : "+D"(to), "+c"(count) : "a"(0x5A5A0002) : "memory");
	CHECK_EQ(mmio32_read(SCRATCH), 0x5A5A0002);
	CHECK_EQ(count, 0);
	if (!on_bare_bochs()) { // asserts on what lies between two registers
		device = LAPIC_BASE + LAPIC_VERSION;
		ram_to = buffer;
		count = 4;
		asm volatile("rep movsl" : "+S"(device), "+D"(ram_to), "+c"(count)::"memory");
		CHECK_EQ(buffer[0], lapic_read(LAPIC_VERSION));
		CHECK_EQ(count, 0);
		CHECK_EQ(device, LAPIC_BASE + LAPIC_VERSION + 16);
	}
	uint32_t v;
	device = SCRATCH;
	asm volatile("lodsl" : "=a"(v), "+S"(device));
	CHECK_EQ(v, 0x5A5A0002);
	uint8_t equal;
	to = SCRATCH;
	asm volatile("scasl; sete %0" : "=q"(equal), "+D"(to) : "a"(0x5A5A0002) : "cc");
	CHECK_EQ(equal, 1);
	buffer[0] = 0x5A5A0002;
	from = buffer;
	to = SCRATCH;
	asm volatile("cmpsl; sete %0" : "=q"(equal), "+S"(from), "+D"(to)::"cc");
	CHECK_EQ(equal, 1);
}

static void test_registers(void) {
	subtest("every register");
	set(0x0BADCAFE);
	uint64_t r8, r9, r10, r11, r12, r13, r14, r15, bx, bp;
	asm volatile("mov (%%rsi), %%r8d; mov %%r8, %0; mov (%%rsi), %%r9d; mov %%r9, %1;"
	             "mov (%%rsi), %%r10d; mov %%r10, %2; mov (%%rsi), %%r11d; mov %%r11, %3"
	             : "=m"(r8), "=m"(r9), "=m"(r10), "=m"(r11)
	             : "S"((uint64_t)SCRATCH)
	             : "r8", "r9", "r10", "r11");
	CHECK(r8 == 0x0BADCAFE && r9 == r8 && r10 == r8 && r11 == r8, "%llx",
	      (unsigned long long)(r8 | r9 | r10 | r11));
	asm volatile("mov (%%rsi), %%r12d; mov %%r12, %0; mov (%%rsi), %%r13d; mov %%r13, %1;"
	             "mov (%%rsi), %%r14d; mov %%r14, %2; mov (%%rsi), %%r15d; mov %%r15, %3;"
	             "mov (%%rsi), %%ebx; mov %%rbx, %4"
	             : "=m"(r12), "=m"(r13), "=m"(r14), "=m"(r15), "=m"(bx)
	             : "S"((uint64_t)SCRATCH)
	             : "r12", "r13", "r14", "r15", "rbx");
	CHECK(r12 == 0x0BADCAFE && r13 == r12 && r14 == r12 && r15 == r12 && bx == r12, "%llx",
	      (unsigned long long)(r12 | r13 | r14 | r15 | bx));
	asm volatile("mov %%rsi, %%r12; mov (%%r12), %%eax; mov %%rsi, %%r13; add (%%r13), %%eax; mov %%rax, %0"
	             : "=m"(bp)
	             : "S"((uint64_t)SCRATCH)
	             : "rax", "r12", "r13", "cc"); // base registers that need SIB or a displacement
	CHECK_EQ(bp, 2 * 0x0BADCAFE);
	// By stack pointer, by RIP and by FS base.
	uint64_t pushed;
	asm volatile(
	    "mov %%rsp, %%r12; lea 8(%%rsi), %%rsp; mov -8(%%rsp), %%eax; mov %%r12, %%rsp; mov %%rax, %0"
	    : "=r"(pushed)
	    : "S"((uint64_t)SCRATCH)
	    : "rax", "r12");
	CHECK_EQ(pushed, 0x0BADCAFE);
	wrmsr(0xC0000100, SCRATCH - 0x10);
	uint32_t by_fs;
	asm volatile("mov %%fs:0x10, %0" : "=r"(by_fs));
	CHECK_EQ(by_fs, 0x0BADCAFE);
	wrmsr(0xC0000100, 0);
	page_map(ALIAS_VA, LAPIC_BASE, PTE_P | PTE_W | PTE_PCD);
	CHECK_EQ(mmio32_read(ALIAS_VA + LAPIC_TIMER_INITIAL), 0x0BADCAFE);
}

// Widths that the local APIC does not define: whatever they give, nothing breaks.
static void test_narrow(void) {
	subtest("8, 16 and 64 bits");
	volatile uint8_t *b = (volatile uint8_t *)(uintptr_t)SCRATCH;
	volatile uint16_t *w = (volatile uint16_t *)(uintptr_t)SCRATCH;
	volatile uint64_t *q = (volatile uint64_t *)(uintptr_t)SCRATCH;
	set(0x89ABCDEF);
	uint64_t v;
	asm volatile("movzbl (%1), %k0" : "=r"(v) : "r"(b));
	asm volatile("movsbl (%1), %k0" : "=r"(v) : "r"(b));
	asm volatile("movzwl (%1), %k0" : "=r"(v) : "r"(w));
	asm volatile("movswq (%1), %0" : "=r"(v) : "r"(w));
	asm volatile("mov (%1), %0" : "=r"(v) : "r"(q));
	asm volatile("mov 1(%1), %k0" : "=r"(v) : "r"(b)); // misaligned
	*b = 1;
	*w = 2;
	b[3] = 4;
	*q = 5;
	set(0x89ABCDEF);
	CHECK_EQ(mmio32_read(SCRATCH), 0x89ABCDEF);
	// The I/O APIC's index register is eight bits wide and takes bytes.
	mmio32_write(IOAPIC_BASE, 0x12);
	volatile uint8_t *index = (volatile uint8_t *)(uintptr_t)IOAPIC_BASE;
	uint8_t got = *index;
	CHECK_UNLESS(!on_bulkhead(), got == 0x12, "%x", got);
	if (on_bulkhead()) {
		*index = 1;
		CHECK_EQ(mmio32_read(IOAPIC_BASE + 0x10) >> 16 & 0xFF, 23);
		asm volatile("movzbl (%1), %k0" : "=r"(v) : "r"(index));
		CHECK_EQ(v, 1);
		(void)*(volatile uint16_t *)(uintptr_t)IOAPIC_BASE;
		(void)*(volatile uint64_t *)(uintptr_t)IOAPIC_BASE;
		*(volatile uint64_t *)(uintptr_t)(IOAPIC_BASE + 0x10) = 0;
	}
	// Every offset of both pages, read.
	for (uint32_t at = 0; at < 0x1000; at += 4) {
		(void)mmio32_read(LAPIC_BASE + at);
		if (on_bulkhead()) (void)mmio32_read(IOAPIC_BASE + at);
	}
	CHECK_EQ(mmio32_read(SCRATCH), 0x89ABCDEF);
}

static void test_page_crossing(void) {
	subtest("fetch across a page");
	static uint8_t code[3 * 4096] __attribute__((aligned(4096)));
	set(0x0CA11AB1);
	for (unsigned before = 1; before < 6; before++) {
		uint8_t *p = code + 4096 - before; // mov eax, [rdi + disp32]; ret
		p[0] = 0x8B, p[1] = 0x87, p[2] = p[3] = p[4] = p[5] = 0, p[6] = 0xC3;
		uint32_t v;
		asm volatile("call *%2" : "=a"(v) : "D"((uint64_t)SCRATCH), "r"(p) : "memory");
		CHECK_EQ(v, 0x0CA11AB1);
	}
}

void guest_main(void);
void guest_main(void) {
	lapic_enable();
	lapic_write(LAPIC_LVT_TIMER, LVT_MASKED);
	test_move();
	test_arithmetic();
	test_bits();
	test_strings();
	test_registers();
	if (!on_bare_bochs()) test_narrow(); // its APIC asserts
	test_page_crossing();
	finish();
}
