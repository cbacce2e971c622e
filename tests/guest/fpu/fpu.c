// SPDX-License-Identifier: Apache-2.0
// x87, SSE and AVX state across exits of every kind, MXCSR and the control word, and the checks of XSETBV
// (SDM vol. 1, 13.3).
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/chips.h"

#define CR0_MP BIT(1)
#define CR0_EM BIT(2)
#define CR0_TS BIT(3)
#define CR4_OSFXSR BIT(9)
#define CR4_OSXMMEXCPT BIT(10)
#define CR4_OSXSAVE BIT(18)
#define VECTOR 0x40
#define ROUNDS 20

static uint8_t before[1024] __attribute__((aligned(64))), after[1024] __attribute__((aligned(64)));
static bool has_avx;

static void eoi(struct regs *regs) {
	(void)regs;
	lapic_eoi();
}

static void load_patterns(unsigned seed) {
	static uint64_t v[4] __attribute__((aligned(32)));
	for (unsigned i = 0; i < 4; i++) v[i] = UINT64_C(0x0123456789ABCDEF) * (seed + i + 1);
	uint32_t mxcsr = 0x1F80 | (seed & 3) << 13;
	uint16_t control = (uint16_t)(0x37F | (seed & 3) << 10);
	asm volatile("fninit; fldcw %0; fld1; fldpi; fldl2e; fldz; ldmxcsr %1" ::"m"(control), "m"(mxcsr));
	if (has_avx)
		asm volatile("vmovdqu (%0), %%ymm0; vpermilps $0x1B, %%ymm0, %%ymm1; vmovups %%ymm1, %%ymm7;"
		             "vmovups %%ymm0, %%ymm8; vmovups %%ymm1, %%ymm15" ::"r"(v));
	else
		asm volatile(
		    "movups (%0), %%xmm0; movups 16(%0), %%xmm1; movups %%xmm1, %%xmm7; movups %%xmm0, %%xmm8;"
		    "movups %%xmm1, %%xmm15" ::"r"(v));
}

static void save(uint8_t *area) {
	if (has_avx)
		asm volatile("xsave64 (%0)" ::"r"(area), "a"(7), "d"(0) : "memory");
	else
		asm volatile("fxsave64 (%0)" ::"r"(area) : "memory");
}

static void exits(void) {
	(void)cpuid(0, 0);
	(void)in8(0x21);
	(void)lapic_read(LAPIC_VERSION);
	lapic_write(LAPIC_TPR, 0);
	(void)rdmsr(MSR_APIC_BASE);
	lapic_self_ipi(VECTOR);
	irq_on();
	irq_off();
	lapic_write(LAPIC_TIMER_INITIAL, 20000);
	sti_hlt_cli();
}

static void test_state(void) {
	subtest("state across exits");
	for (unsigned i = 0; i < ROUNDS; i++) {
		load_patterns(i);
		save(before);
		exits();
		save(after);
		unsigned differ = 0, first = 0;
		for (unsigned b = 0; b < (has_avx ? 832 : 512); b++) {
			if (b >= 416 && b < 512) continue; // not written by FXSAVE
			if (before[b] == after[b]) continue;
			if (!differ++) first = b;
		}
		if (!CHECK(differ == 0, "round %u: %u bytes, the first at %u", i, differ, first)) break;
	}
}

static void test_xsetbv(void) {
	if (!(cpuid(1, 0).ecx >> 26 & 1)) return;
	subtest("XSETBV");
	uint64_t all = (uint64_t)cpuid(0xD, 0).edx << 32 | cpuid(0xD, 0).eax;
	cr4_write(cr4_read() & ~CR4_OSXSAVE);
	EXPECT_TRAP(VEC_UD, 0, xsetbv(0, 1));
	EXPECT_TRAP(VEC_UD, 0, xgetbv(0));
	cr4_write(cr4_read() | CR4_OSXSAVE);
	EXPECT_TRAP(VEC_GP, 0, xsetbv(0, 0));
	EXPECT_TRAP(VEC_GP, 0, xsetbv(0, 2));
	EXPECT_TRAP(VEC_GP, 0, xsetbv(0, 5)); // AVX without SSE
	EXPECT_TRAP(VEC_GP, 0, xsetbv(0, all | BIT(62)));
	EXPECT_TRAP(VEC_GP, 0, xsetbv(0, (all & 0xFF) | BIT(8) | BIT(20)));
	EXPECT_TRAP(VEC_GP, 0, xsetbv(1, 1));
	EXPECT_TRAP(VEC_GP, 0, xsetbv(~0u, 1));
	EXPECT_TRAP_UNLESS(on_tcg(), VEC_GP, 0, xgetbv(5));
	EXPECT_NO_TRAP(xsetbv(0, 1));
	CHECK_EQ(xgetbv(0), 1);
	EXPECT_NO_TRAP(xsetbv(0, 3));
	(void)cpuid(0, 0);
	CHECK_EQ(xgetbv(0), 3);
	if (!(all & 4)) {
		EXPECT_TRAP(VEC_GP, 0, xsetbv(0, 7));
		return;
	}
	EXPECT_NO_TRAP(xsetbv(0, 7));
	(void)cpuid(0, 0);
	CHECK_EQ(xgetbv(0), 7);
	has_avx = cpuid(1, 0).ecx >> 28 & 1;
}

#define MSR_XSS 0xDA0
#define X87_AND_SSE 3 // of AVX state Bochs writes the compacted form wrongly (docs/QUIRKS.md)
#define HEADER 512
#define COMPACTED BIT(63)

static void xsaves(uint8_t *area) {
	asm volatile("xsaves64 (%0)" ::"r"(area), "a"(X87_AND_SSE), "d"(0) : "memory");
}
static void xrstors(const uint8_t *area) {
	asm volatile("xrstors64 (%0)" ::"r"(area), "a"(X87_AND_SSE), "d"(0) : "memory");
}

// CPUID 0xD.1 EBX is the compacted size of what XCR0 has on (SDM vol. 2, "CPUID").
static void test_compacted(void) {
	struct cpuid one = cpuid(0xD, 1);
	if (!(one.eax >> 1 & 1)) return;
	subtest("XSAVE areas, compacted");
	uint32_t bytes = 576;
	for (unsigned i = 2; i < 32; i++) {
		if (!(xgetbv(0) >> i & 1)) continue;
		struct cpuid part = cpuid(0xD, i);
		if (part.ecx >> 1 & 1) bytes = (bytes + 63) & ~63u;
		bytes += part.eax;
	}
	CHECK_EQ(one.ebx, bytes);
	CHECK_EQ(one.ecx, 0);
	CHECK_EQ(one.edx, 0);
}

static void test_xsaves(void) {
	if (cpuid(0xD, 0).eax == 0 || !(cpuid(0xD, 1).eax >> 3 & 1)) {
		EXPECT_TRAP(VEC_GP, 0, rdmsr(MSR_XSS));
		return;
	}
	subtest("XSAVES, IA32_XSS");
	CHECK_EQ(rdmsr(MSR_XSS), 0);
	EXPECT_NO_TRAP(wrmsr(MSR_XSS, 0));
	EXPECT_TRAP(VEC_GP, 0, wrmsr(MSR_XSS, BIT(8)));
	EXPECT_TRAP(VEC_GP, 0, wrmsr(MSR_XSS, BIT(2))); // a user state
	load_patterns(3);
	save(after); // some areas are not written in the initial state
	for (unsigned b = 0; b < sizeof before; b++) before[b] = 0;
	EXPECT_NO_TRAP(xsaves(before));
	CHECK(*(uint64_t *)(before + HEADER + 8) & COMPACTED, "XCOMP_BV %lx", *(uint64_t *)(before + HEADER + 8));
	load_patterns(5);
	EXPECT_NO_TRAP(xrstors(before));
	static uint8_t again[1024] __attribute__((aligned(64)));
	save(again);
	for (unsigned b = 0; b < 416; b++)
		if (!CHECK(again[b] == after[b], "byte %u", b)) break;
}

void guest_main(void);
void guest_main(void) {
	pic_init(0x20, 0);
	lapic_enable();
	lapic_write(LAPIC_LVT_TIMER, VECTOR);
	lapic_write(LAPIC_TIMER_DIVIDE, 0xB);
	trap_handle(VECTOR, eoi);
	cr0_write((cr0_read() & ~(CR0_EM | CR0_TS)) | CR0_MP);
	cr4_write(cr4_read() | CR4_OSFXSR | CR4_OSXMMEXCPT);
	test_state();
	test_xsetbv();
	if (has_avx) test_state();
	test_compacted();
	test_xsaves();
	subtest("#NM");
	cr0_write(cr0_read() | CR0_TS);
	EXPECT_TRAP(VEC_NM, 0, asm volatile("movups %%xmm0, %%xmm1" ::));
	(void)cpuid(0, 0);
	EXPECT_TRAP(VEC_NM, 0, asm volatile("fld1"));
	asm volatile("clts");
	EXPECT_NO_TRAP(asm volatile("movups %%xmm0, %%xmm1" ::));
	finish();
}
