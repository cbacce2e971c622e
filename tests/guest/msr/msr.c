// SPDX-License-Identifier: Apache-2.0
// The MSR model: what a guest owns reads back as written, what manuals forbid is #GP(0), and what nobody
// knows is #GP(0) by default deny.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/chips.h"

#define MSR_TSC 0x10u
#define MSR_FEATURE_CONTROL 0x3Au
#define MSR_SYSENTER_CS 0x174u
#define MSR_SYSENTER_ESP 0x175u
#define MSR_SYSENTER_EIP 0x176u
#define MSR_PAT 0x277u
#define MSR_MTRR_DEF_TYPE 0x2FFu
#define MSR_VMX_BASIC 0x480u
#define MSR_EFER 0xC0000080u
#define MSR_STAR 0xC0000081u
#define MSR_LSTAR 0xC0000082u
#define MSR_CSTAR 0xC0000083u
#define MSR_FMASK 0xC0000084u
#define MSR_FS_BASE 0xC0000100u
#define MSR_GS_BASE 0xC0000101u
#define MSR_KERNEL_GS_BASE 0xC0000102u
#define MSR_TSC_AUX 0xC0000103u
#define MSR_VM_CR 0xC0010114u
#define MSR_VM_HSAVE_PA 0xC0010117u
#define MSR_INT_PENDING 0xC0010055u // BKDG of family 10h, "Interrupt Pending and CMP-Halt"
#define CMP_HALT_C1E (BIT(27) | BIT(28))
#define EFER_SCE BIT(0)
#define EFER_LME BIT(8)
#define EFER_NXE BIT(11)
#define EFER_SVME BIT(12)
#define APIC_BASE_BSP BIT(8)
#define NOT_CANONICAL UINT64_C(0x0000900000000000)
#define PAT_RESET UINT64_C(0x0007040600070406)
#define PAT_OTHER UINT64_C(0x0001040500070406)
#define TSC_SLACK 100000000u

// QEMU's TCG knows no #GP for unknown MSRs and reserved bits; under Bulkhead only what it intercepts is exact.
static bool lenient(void) { return on_bare_tcg(); }

static void round_trip(uint32_t msr, uint64_t value) {
	uint64_t before = 0, after = 0;
	if (!EXPECT_NO_TRAP(before = rdmsr(msr))) return;
	EXPECT_NO_TRAP(wrmsr(msr, value));
	EXPECT_NO_TRAP(after = rdmsr(msr));
	CHECK(after == value, "MSR %x: wrote %llx, reads %llx", msr, (unsigned long long)value,
	      (unsigned long long)after);
	EXPECT_NO_TRAP(wrmsr(msr, before));
}

static void test_owned(void) {
	subtest("owned");
	round_trip(MSR_STAR, 0x0023001000000000);
	round_trip(MSR_LSTAR, 0xFFFFFFFF81234567);
	round_trip(MSR_FMASK, 0x47700);
	round_trip(MSR_FS_BASE, 0x00007F1234567000);
	round_trip(MSR_GS_BASE, 0xFFFF888812345000);
	round_trip(MSR_KERNEL_GS_BASE, 0xFFFF888811111000);
	round_trip(MSR_SYSENTER_CS, 0x10);
	round_trip(MSR_SYSENTER_ESP, 0xFFFFFFFF82000000);
	round_trip(MSR_SYSENTER_EIP, 0xFFFFFFFF81000000);
	round_trip(MSR_PAT, PAT_OTHER);
	if (!cpu_is_intel()) round_trip(MSR_CSTAR, 0xFFFFFFFF81765432);
	if (cpuid(0x80000001, 0).edx >> 27 & 1) {
		round_trip(MSR_TSC_AUX, 0x00ABCDEF);
		wrmsr(MSR_TSC_AUX, 0x1234);
		uint32_t aux;
		asm volatile("rdtscp" : "=c"(aux)::"rax", "rdx");
		CHECK_EQ(aux, 0x1234);
	}
	uint64_t a = ~UINT64_C(0), d = ~UINT64_C(0);
	asm volatile("rdmsr" : "+a"(a), "+d"(d) : "c"(MSR_PAT));
	CHECK_EQ((a | d) >> 32, 0);
	// SWAPGS exchanges with what was written, and the base is what addresses use.
	static uint64_t cell = 0x600D600D;
	wrmsr(MSR_KERNEL_GS_BASE, (uintptr_t)&cell);
	uint64_t seen;
	asm volatile("swapgs; mov %%gs:0, %0; swapgs" : "=r"(seen));
	CHECK_EQ(seen, 0x600D600D);
	(void)cpuid(0, 0); // an exit
	CHECK_EQ(rdmsr(MSR_KERNEL_GS_BASE), (uintptr_t)&cell);
}

static void test_checked(void) {
	subtest("checked");
	CHECK(rdmsr(MSR_PAT) == PAT_RESET || !on_bulkhead(), "PAT %llx", (unsigned long long)rdmsr(MSR_PAT));
	EXPECT_TRAP_UNLESS(on_tcg(), VEC_GP, 0, wrmsr(MSR_PAT, 0x0202020202020202));
	EXPECT_TRAP_UNLESS(on_tcg(), VEC_GP, 0, wrmsr(MSR_LSTAR, NOT_CANONICAL));
	EXPECT_TRAP_UNLESS(on_tcg(), VEC_GP, 0, wrmsr(MSR_KERNEL_GS_BASE, NOT_CANONICAL));
	EXPECT_TRAP_UNLESS(on_tcg(), VEC_GP, 0, wrmsr(MSR_FS_BASE, NOT_CANONICAL));
	wrmsr(MSR_PAT, PAT_RESET);

	uint64_t efer = rdmsr(MSR_EFER);
	EXPECT_TRAP_UNLESS(lenient(), VEC_GP, 0, wrmsr(MSR_EFER, efer | BIT(63)));
	EXPECT_TRAP_UNLESS(lenient(), VEC_GP, 0, wrmsr(MSR_EFER, efer | BIT(1)));
	EXPECT_TRAP_UNLESS(lenient(), VEC_GP, 0, wrmsr(MSR_EFER, efer & ~EFER_LME)); // paging is on
	EXPECT_TRAP_UNLESS(!on_bulkhead(), VEC_GP, 0, wrmsr(MSR_EFER, efer | EFER_SVME));
	CHECK_UNLESS(!on_bulkhead(), rdmsr(MSR_EFER) == efer, "%llx", (unsigned long long)rdmsr(MSR_EFER));
	wrmsr(MSR_EFER, efer);
	EXPECT_NO_TRAP(wrmsr(MSR_EFER, efer | EFER_SCE | EFER_NXE));
	CHECK_EQ(rdmsr(MSR_EFER), efer | EFER_SCE | EFER_NXE);
	wrmsr(MSR_EFER, efer);
}

static void test_apic_base(void) {
	subtest("APIC base");
	uint64_t base = rdmsr(MSR_APIC_BASE);
	CHECK_EQ(base & ~APIC_BASE_X2, LAPIC_BASE | APIC_BASE_ENABLE | APIC_BASE_BSP);
	EXPECT_TRAP_UNLESS(lenient(), VEC_GP, 0, wrmsr(MSR_APIC_BASE, base | BIT(0)));
	EXPECT_TRAP_UNLESS(lenient(), VEC_GP, 0, wrmsr(MSR_APIC_BASE, base | BIT(62)));
	EXPECT_TRAP_UNLESS(lenient(), VEC_GP, 0, wrmsr(MSR_APIC_BASE, (base & ~APIC_BASE_ENABLE) | APIC_BASE_X2));
	CHECK_UNLESS(lenient(), rdmsr(MSR_APIC_BASE) == base, "%llx", (unsigned long long)rdmsr(MSR_APIC_BASE));
	EXPECT_NO_TRAP(wrmsr(MSR_APIC_BASE, base));
	EXPECT_TRAP_UNLESS(lenient() || base & APIC_BASE_X2, VEC_GP, 0, rdmsr(MSR_X2APIC + 2));
}

static void test_tsc(void) {
	subtest("TSC");
	if (lenient()) return; // TCG has no such MSR
	uint64_t a = rdtsc(), b = rdmsr(MSR_TSC), c = rdtsc();
	CHECK(a <= b && b <= c, "%llx %llx %llx", (unsigned long long)a, (unsigned long long)b,
	      (unsigned long long)c);
	EXPECT_NO_TRAP(wrmsr(MSR_TSC, UINT64_C(0x100000000000)));
	uint64_t d = rdtsc();
	CHECK(d >= UINT64_C(0x100000000000) && d - UINT64_C(0x100000000000) < TSC_SLACK, "%llx",
	      (unsigned long long)d);
}

static void test_denied(void) {
	subtest("denied");
	static const uint32_t unknown[] = {0x00000004, 0x00012345, 0x000003F0 + 0x1000, 0x3FFFFFFF,
	                                   0x40010000, 0xBFFFFFFF, 0xC0001FFF,          0xC0012345,
	                                   0xC0020000, 0xDEADBEEF, 0xFFFFFFFF};
	for (unsigned i = 0; i < sizeof unknown / sizeof unknown[0]; i++) {
		uint32_t msr = unknown[i];
		bool known = lenient();
		check_unless(known, CATCH(rdmsr(msr)).vector == VEC_GP, __FILE__, __LINE__, "RDMSR: #GP", "%x", msr);
		check_unless(known, CATCH(wrmsr(msr, 0)).vector == VEC_GP, __FILE__, __LINE__, "WRMSR: #GP", "%x",
		             msr);
	}
	if (!on_bulkhead()) return;
	// Linux asks it on families 0Fh and 10h, whose local APIC timer stops in C1E. Ours does not.
	if (cpu_is_intel())
		EXPECT_TRAP(VEC_GP, 0, rdmsr(MSR_INT_PENDING));
	else
		EXPECT_NO_TRAP(CHECK_EQ(rdmsr(MSR_INT_PENDING) & CMP_HALT_C1E, 0));
	EXPECT_TRAP(VEC_GP, 0, rdmsr(MSR_VMX_BASIC));
	EXPECT_TRAP(VEC_GP, 0, wrmsr(MSR_VM_HSAVE_PA, 0x1000));
	struct trap t = CATCH(wrmsr(MSR_VM_CR, 0));
	CHECK(t.vector == VEC_GP || t.vector == -1, "vector %d", t.vector);
	t = CATCH(CHECK_EQ(rdmsr(MSR_FEATURE_CONTROL) & 6, 0));
	CHECK(t.vector == VEC_GP || t.vector == -1, "vector %d", t.vector);
}

void guest_main(void);
void guest_main(void) {
	test_owned();
	test_checked();
	test_apic_base();
	test_tsc();
	test_denied();
	finish();
}
