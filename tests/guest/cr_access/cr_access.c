// SPDX-License-Identifier: Apache-2.0
// Control registers: what is written reads back, what must be #GP is, LMSW, SMSW, CLTS and CR8 do what the
// manuals say (SDM vol. 3, 2.5; APM vol. 2, 3.1).
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/chips.h"
#include "tests/guest/lib/paging.h"

#define CR0_PE BIT(0)
#define CR0_MP BIT(1)
#define CR0_EM BIT(2)
#define CR0_TS BIT(3)
#define CR0_ET BIT(4)
#define CR0_NE BIT(5)
#define CR0_WP BIT(16)
#define CR0_AM BIT(18)
#define CR0_NW BIT(29)
#define CR0_CD BIT(30)
#define CR0_PG BIT(31)
#define CR4_TSD BIT(2)
#define CR4_DE BIT(3)
#define CR4_PAE BIT(5)
#define CR4_PGE BIT(7)
#define CR4_OSFXSR BIT(9)
#define CR4_VMXE BIT(13)
#define CR4_PCIDE BIT(17)

static void test_cr0(void) {
	subtest("CR0");
	unsigned long start = cr0_read();
	static const unsigned long bits[] = {CR0_MP, CR0_EM, CR0_TS, CR0_NE,
	                                     CR0_WP, CR0_AM, CR0_CD, CR0_CD | CR0_NW};
	for (unsigned i = 0; i < sizeof bits / sizeof bits[0]; i++) {
		unsigned long v = (start & ~(CR0_MP | CR0_EM | CR0_TS | CR0_NE | CR0_AM)) | CR0_WP;
		v = i == 4 ? v & ~CR0_WP : v | bits[i];
		EXPECT_NO_TRAP(cr0_write(v));
		(void)cpuid(0, 0);
		CHECK_EQ(cr0_read() | CR0_ET, v | CR0_ET);
	}
	cr0_write(start);
	EXPECT_TRAP_UNLESS(on_tcg(), VEC_GP, 0, cr0_write((start & ~CR0_CD) | CR0_NW));
	EXPECT_TRAP_UNLESS(on_tcg(), VEC_GP, 0, cr0_write(start | BIT(40)));
	if (!on_tcg()) { // TCG would obey
		EXPECT_TRAP(VEC_GP, 0, cr0_write(start & ~CR0_PE));
	}
	cr0_write(start);
	CHECK_EQ(cr0_read(), start);
	if (!on_tcg()) cr0_write(start & ~CR0_ET); // ET is always 1
	CHECK_EQ(cr0_read() & CR0_ET, start & CR0_ET);
	cr0_write(start);
}

static void test_msw(void) {
	subtest("LMSW, SMSW, CLTS");
	unsigned long start = cr0_read(), seen;
	uint16_t low;
	asm volatile("smsw %0" : "=r"(seen));
	CHECK_EQ(seen & 0xFFFF, start & 0xFFFF);
	asm volatile("smsw %0" : "=m"(low));
	CHECK_EQ(low, start & 0xFFFF);
	asm volatile("lmsw %w0" ::"r"((start & 0xFFFF) | CR0_TS | CR0_EM));
	CHECK_EQ(cr0_read(), start | CR0_TS | CR0_EM);
	low = (uint16_t)(start & ~(CR0_PE | CR0_EM)); // PE can not be cleared by it
	asm volatile("lmsw %0" ::"m"(low));
	CHECK_EQ(cr0_read() & (CR0_PE | CR0_EM | CR0_TS), CR0_PE);
	cr0_write(start | CR0_TS);
	asm volatile("smsw %0" : "=r"(seen));
	CHECK(seen & CR0_TS, "%lx", seen);
	EXPECT_TRAP(VEC_NM, 0, asm volatile("fnop"));
	asm volatile("clts");
	CHECK_EQ(cr0_read() & CR0_TS, 0);
	EXPECT_NO_TRAP(asm volatile("fnop"));
	cr0_write(start);
}

static void test_cr3(void) {
	subtest("CR3");
	unsigned long start = cr3_read();
	static uint64_t other[512] __attribute__((aligned(4096)));
	static uint64_t cell = 1;
	for (unsigned i = 0; i < 512; i++) other[i] = pml4[i];
	for (unsigned i = 0; i < 100; i++) {
		cr3_write((uintptr_t)other);
		cell++;
		cr3_write(start);
	}
	CHECK_EQ(cell, 101);
	CHECK_EQ(cr3_read(), start);
	if (!on_tcg()) EXPECT_TRAP(VEC_GP, 0, cr3_write(start | BIT(52)));
	// A changed entry is seen after a reload, and after INVLPG.
	const uint64_t va = UINT64_C(0x300000000000);
	static uint64_t page_a[512] __attribute__((aligned(4096))), page_b[512] __attribute__((aligned(4096)));
	page_a[0] = 0xA, page_b[0] = 0xB;
	page_map(va, (uintptr_t)page_a, PTE_P | PTE_W);
	CHECK_EQ(*(volatile uint64_t *)va, 0xA);
	*page_entry(va) = (uintptr_t)page_b | PTE_P | PTE_W;
	cr3_write(start);
	CHECK_EQ(*(volatile uint64_t *)va, 0xB);
	*page_entry(va) = (uintptr_t)page_a | PTE_P | PTE_W | PTE_G;
	invlpg((void *)va);
	CHECK_EQ(*(volatile uint64_t *)va, 0xA);
	cr4_write(cr4_read() | CR4_PGE);
	(void)*(volatile uint64_t *)va;
	*page_entry(va) = (uintptr_t)page_b | PTE_P | PTE_W | PTE_G;
	cr4_write(cr4_read() & ~CR4_PGE); // flushes global entries
	CHECK_EQ(*(volatile uint64_t *)va, 0xB);
	asm volatile("wbinvd");
}

static void test_cr4(void) {
	subtest("CR4");
	unsigned long start = cr4_read();
	static const unsigned long bits[] = {CR4_TSD, CR4_DE, CR4_PGE, CR4_OSFXSR};
	for (unsigned i = 0; i < sizeof bits / sizeof bits[0]; i++) {
		EXPECT_NO_TRAP(cr4_write(start | bits[i]));
		CHECK_EQ(cr4_read(), start | bits[i]);
	}
	cr4_write(start);
	struct cpuid one = cpuid(1, 0);
	if (on_bare_tcg()) return; // takes what it should refuse, and hangs
	EXPECT_TRAP(VEC_GP, 0, cr4_write(start | BIT(31)));
	EXPECT_TRAP(VEC_GP, 0, cr4_write(start | BIT(40)));
	EXPECT_TRAP(VEC_GP, 0, cr4_write(start | BIT(15)));
	EXPECT_TRAP(VEC_GP, 0, cr4_write(start & ~CR4_PAE)); // in long mode
	if (!(one.ecx >> 17 & 1)) EXPECT_TRAP(VEC_GP, 0, cr4_write(start | CR4_PCIDE));
	if (on_bulkhead()) {
		EXPECT_TRAP(VEC_GP, 0, cr4_write(start | CR4_VMXE));
		cr4_write(start);
		CHECK_EQ(cr4_read() & CR4_VMXE, 0);
	}
	cr4_write(start);
	CHECK_EQ(cr4_read(), start);
}

static void test_cr8(void) {
	subtest("CR8");
	for (unsigned i = 0; i < 16; i++) {
		cr8_write(i);
		CHECK_EQ(cr8_read(), i);
		CHECK_EQ(lapic_read(LAPIC_TPR), i << 4);
		lapic_write(LAPIC_TPR, (15 - i) << 4 | 5);
		CHECK_EQ(cr8_read(), 15 - i);
	}
	cr8_write(0);
	EXPECT_TRAP_UNLESS(on_tcg(), VEC_GP, 0, cr8_write(16));
	EXPECT_TRAP_UNLESS(on_tcg(), VEC_GP, 0, cr8_write(BIT(32)));
	EXPECT_TRAP(VEC_UD, 0, asm volatile(".byte 0x0F, 0x20, 0xC8" ::: "rax")); // MOV RAX, CR1
	EXPECT_TRAP(VEC_UD, 0, asm volatile(".byte 0x0F, 0x22, 0xE8"));           // MOV CR5, RAX
}

void guest_main(void);
void guest_main(void) {
	pic_init(0x20, 0);
	lapic_enable();
	test_cr0();
	test_msw();
	test_cr3();
	test_cr4();
	test_cr8();
	finish();
}
