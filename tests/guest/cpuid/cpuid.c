// SPDX-License-Identifier: Apache-2.0
// CPUID as a guest must see it: nothing that is not there for it (VMX, SVM, MONITOR), OSXSAVE and leaf 0xD
// that follow its own CR4 and XCR0, hypervisor leaves, APIC ids that agree everywhere, and an instruction
// that changes only its four registers.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/chips.h"

#define CR4_OSXSAVE BIT(18)
#define ECX1_MONITOR BIT(3)
#define ECX1_VMX BIT(5)
#define ECX1_XSAVE BIT(26)
#define ECX1_OSXSAVE BIT(27)
#define ECX1_HYPERVISOR BIT(31)
#define ECX81_SVM BIT(2)
#define ECX81_SKINIT BIT(12)
#define ECX81_TOPOEXT BIT(22)
#define ECX81_MWAITX BIT(29)
#define XSAVE_LEGACY_BYTES 576u
#define KVM_FEATURE_CLOCK (BIT(0) | BIT(3))

static uint32_t max_leaf(void) { return cpuid(0, 0).eax; }
static uint32_t max_extended(void) { return cpuid(0x80000000, 0).eax; }

static void test_registers(void) {
	subtest("registers");
	uint64_t a = 0xFFFFFFFF00000000, b = ~UINT64_C(0), c = 0xFFFFFFFF00000000, d = ~UINT64_C(0);
	uint64_t flags_before, flags_after;
	asm volatile("pushf; pop %4; cpuid; pushf; pop %5"
	             : "+a"(a), "+b"(b), "+c"(c), "+d"(d), "=&r"(flags_before), "=&r"(flags_after));
	CHECK_EQ((a | b | c | d) >> 32, 0);
	CHECK_EQ(flags_before, flags_after);
	register uint64_t r8 asm("r8") = 0x8888888888888888, r9 asm("r9") = 0x9999999999999999;
	register uint64_t r10 asm("r10") = 0x1010101010101010, r11 asm("r11") = 0x1111111111111111;
	register uint64_t r12 asm("r12") = 0x1212121212121212, r15 asm("r15") = 0x1515151515151515;
	uint64_t si = 0x5151515151515151, di = 0xD1D1D1D1D1D1D1D1;
	asm volatile("xor %%eax, %%eax; cpuid"
	             : "+r"(r8), "+r"(r9), "+r"(r10), "+r"(r11), "+r"(r12), "+r"(r15), "+S"(si), "+D"(di)
	             :
	             : "rax", "rbx", "rcx", "rdx");
	uint64_t changed = (r8 ^ 0x8888888888888888) | (r9 ^ 0x9999999999999999) | (r10 ^ 0x1010101010101010) |
	                   (r11 ^ 0x1111111111111111) | (r12 ^ 0x1212121212121212) | (r15 ^ 0x1515151515151515) |
	                   (si ^ 0x5151515151515151) | (di ^ 0xD1D1D1D1D1D1D1D1);
	CHECK_EQ(changed, 0);
}

static void test_hidden(void) {
	subtest("hidden features");
	bool bare = !on_bulkhead();
	uint32_t ecx = cpuid(1, 0).ecx;
	CHECK_UNLESS(bare, !(ecx & ECX1_VMX), "%x", ecx);
	CHECK_UNLESS(bare, !(ecx & ECX1_MONITOR), "%x", ecx);
	CHECK_UNLESS(bare, ecx & ECX1_HYPERVISOR, "%x", ecx);
	if (max_extended() < 0x80000001) return;
	ecx = cpuid(0x80000001, 0).ecx;
	CHECK_UNLESS(bare, !(ecx & (ECX81_SVM | ECX81_SKINIT | ECX81_MWAITX)), "%x", ecx);
	CHECK(cpuid(0x80000001, 0).edx >> 29 & 1, "long mode");
	if (max_extended() >= 0x8000000A && !bare) {
		struct cpuid r = cpuid(0x8000000A, 0);
		CHECK_EQ(r.eax | r.ebx | r.ecx | r.edx, 0);
	}
	uint32_t physical = cpuid(0x80000008, 0).eax & 0xFF;
	CHECK(physical >= 36 && physical <= 52, "%u physical address bits", physical);
}

// A CPU has what it claims, as far as general registers show it: no #UD.
#define CLAIMED(known, leaf, reg, bit, ...)                                                                  \
	do {                                                                                                     \
		if ((cpuid(leaf, 0).reg >> (bit)&1) != 0)                                                            \
			EXPECT_TRAP_UNLESS(known, -1, 0, asm volatile(__VA_ARGS__ ::: "rax", "cc", "memory"));           \
	} while (0)

static void test_claimed(void) {
	subtest("what is claimed works");
	CLAIMED(false, 1, ecx, 13, "mov %%rsp, %%rax; lock cmpxchg16b -64(%%rsp)");
	CLAIMED(on_bochs(), 1, ecx, 23, "popcnt %%rax, %%rax"); // docs/QUIRKS.md
	CLAIMED(false, 1, ecx, 20, "crc32q %%rax, %%rax");
	CLAIMED(false, 1, ecx, 22, "movbe -64(%%rsp), %%rax");
	CLAIMED(false, 1, ecx, 30, "rdrand %%rax");
	if (max_leaf() >= 7) {
		CLAIMED(false, 7, ebx, 0, "mov %%cr4, %%rax; bts $16, %%rax; mov %%rax, %%cr4; rdfsbase %%rax");
		CLAIMED(false, 7, ebx, 3, "andn %%rax, %%rax, %%rax; tzcnt %%rax, %%rax");
		CLAIMED(false, 7, ebx, 8, "rorx $1, %%rax, %%rax");
		CLAIMED(false, 7, ebx, 18, "rdseed %%rax");
		CLAIMED(false, 7, ebx, 19, "adcx %%rax, %%rax");
		CLAIMED(false, 7, ebx, 23, "clflushopt -64(%%rsp)");
		CLAIMED(false, 7, ebx, 24, "clwb -64(%%rsp)");
		CLAIMED(false, 7, ecx, 22, "rdpid %%rax");
		CLAIMED(false, 7, ecx, 27, "movdiri %%rax, -64(%%rsp)");
		CLAIMED(false, 7, edx, 14, ".byte 0x0f, 0x01, 0xe8"); // SERIALIZE
	}
	if (max_extended() < 0x80000001) return;
	CLAIMED(false, 0x80000001, ecx, 0, "lahf");
	CLAIMED(false, 0x80000001, ecx, 5, "lzcnt %%rax, %%rax");
	CLAIMED(false, 0x80000001, ecx, 8, "prefetchw -64(%%rsp)");
	CLAIMED(false, 0x80000001, ecx, 21, "blsfill %%rax, %%rax"); // TBM
	CLAIMED(false, 0x80000001, edx, 27, "mov %%ecx, %%eax; rdtscp; mov %%eax, %%ecx");
	if (max_extended() >= 0x80000008) CLAIMED(false, 0x80000008, ebx, 0, "lea -64(%%rsp), %%rax; clzero");
}

static void test_xsave(void) {
	if (!(cpuid(1, 0).ecx & ECX1_XSAVE)) return;
	subtest("XSAVE");
	cr4_write(cr4_read() & ~CR4_OSXSAVE);
	CHECK(!(cpuid(1, 0).ecx & ECX1_OSXSAVE), "CR4.OSXSAVE is 0");
	cr4_write(cr4_read() | CR4_OSXSAVE);
	CHECK(cpuid(1, 0).ecx & ECX1_OSXSAVE, "CR4.OSXSAVE is 1");
	struct cpuid d = cpuid(0xD, 0);
	CHECK_EQ(d.eax & 3, 3);
	xsetbv(0, 1);
	CHECK_EQ(xgetbv(0), 1);
	CHECK_EQ(cpuid(0xD, 0).ebx, XSAVE_LEGACY_BYTES);
	uint32_t largest = d.ecx;
	CHECK(largest >= XSAVE_LEGACY_BYTES, "%u", largest);
	uint64_t all = (uint64_t)d.edx << 32 | d.eax;
	for (unsigned i = 2; i < 63; i++) {
		if (!(all >> i & 1)) continue;
		struct cpuid part = cpuid(0xD, i);
		CHECK(part.eax && part.ebx >= XSAVE_LEGACY_BYTES && part.eax + part.ebx <= largest,
		      "component %u: %u bytes at %u of %u", i, part.eax, part.ebx, largest);
	}
	if (all & 4) {
		xsetbv(0, 7);
		CHECK_EQ(cpuid(0xD, 0).ebx, cpuid(0xD, 2).eax + cpuid(0xD, 2).ebx);
		CHECK_EQ(xgetbv(0), 7);
	}
	CHECK(!(cpuid(1, 0).ecx >> 28 & 1) || all & 4, "AVX without its state");
	xsetbv(0, 1);
}

static void test_hypervisor(void) {
	if (!on_bulkhead()) return;
	subtest("hypervisor leaves");
	uint32_t own = hypervisor_leaf("Bulkhead"), kvm = hypervisor_leaf("KVMKVMKVM");
	CHECK(own != 0, "no Bulkhead leaf");
	CHECK(kvm != 0, "no KVM leaf");
	print("  Bulkhead at %x to %x, KVM at %x to %x, KVM features %x\n", own, cpuid(own, 0).eax, kvm,
	      cpuid(kvm, 0).eax, cpuid(kvm + 1, 0).eax);
	CHECK(cpuid(own, 0).eax >= own && cpuid(own, 0).eax < own + 0x100, "%x", cpuid(own, 0).eax);
	CHECK(cpuid(kvm, 0).eax >= kvm + 1 && cpuid(kvm, 0).eax < kvm + 0x100, "%x", cpuid(kvm, 0).eax);
	CHECK_EQ(hypervisor_leaf("TCG"), 0);
}

static void test_topology(void) {
	subtest("topology");
	uint32_t id = lapic_read(LAPIC_ID) >> 24;
	struct cpuid one = cpuid(1, 0);
	CHECK_EQ(one.ebx >> 24, id);
	if (one.edx >> 28 & 1) CHECK((one.ebx >> 16 & 0xFF) >= 1, "logical processors: %u", one.ebx >> 16 & 0xFF);
	if (max_leaf() >= 0xB && cpuid(0xB, 0).ecx >> 8) { // Bochs has an empty one for one CPU
		struct cpuid smt = cpuid(0xB, 0), core = cpuid(0xB, 1);
		CHECK_EQ(smt.edx, id);
		CHECK_EQ(smt.ecx >> 8 & 0xFF, 1);
		CHECK_EQ(core.edx, id);
		CHECK_EQ(core.ecx >> 8 & 0xFF, 2);
		CHECK((core.eax & 31) >= (smt.eax & 31), "shifts %u, %u", smt.eax & 31, core.eax & 31);
	}
	if (cpuid(0x80000001, 0).ecx & ECX81_TOPOEXT && max_extended() >= 0x8000001E)
		CHECK_EQ(cpuid(0x8000001E, 0).eax, id);
	// Legacy and extended brand and limits: present where they are announced.
	CHECK(max_leaf() >= 1, "%x", max_leaf());
	CHECK(max_extended() >= 0x80000008, "%x", max_extended());
	// Leaves that do not exist must only not harm.
	(void)cpuid(max_leaf() + 1, 0);
	(void)cpuid(0x8FFFFFFF, 5);
	(void)cpuid(0xC0000000, ~0u);
	(void)cpuid(~0u, ~0u);
}

void guest_main(void);
void guest_main(void) {
	test_registers();
	test_hidden();
	test_claimed();
	test_xsave();
	test_hypervisor();
	test_topology();
	finish();
}
