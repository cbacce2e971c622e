// SPDX-License-Identifier: Apache-2.0
// A storm of MSR accesses: reads all over the ranges that CPUs use, then random values written to random
// numbers, each either done or #GP(0); except those whose effect would end the guest itself.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/chips.h"

#define STORM 20000u

static uint32_t seed = 0x7654321;

static uint32_t random(void) {
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed;
}

static bool spared(uint32_t msr) {
	return msr == MSR_APIC_BASE || msr == 0xC0000080 ||          // EFER
	       (msr >= MSR_X2APIC && msr < MSR_X2APIC + 0x100) ||    // self IPI and the like
	       msr == 0x11 || msr == 0x12 || msr >> 8 == 0x4B564D || // kvmclock pages: written to guest memory
	       (msr >= 0x40000000 && msr <= 0x400001FF) || msr == 0x10 || msr == 0x3B; // hypercall pages, TSC
}

static bool good(struct trap t) { return t.vector == -1 || (t.vector == VEC_GP && t.error == 0); }

static void test_reads(void) {
	static const uint32_t base[] = {0,          0x400,      0xC00,      0x40000000,
	                                0x4B564D00, 0xC0000000, 0xC0010000, 0xC0011000};
	subtest("reads");
	unsigned answered = 0, bad = 0;
	for (unsigned i = 0; i < sizeof base / sizeof base[0]; i++)
		for (uint32_t msr = base[i]; msr < base[i] + 0x300; msr++) {
			if (!on_bulkhead() && msr >= 0x800 && msr < 0x900) continue;
			struct trap t = CATCH(rdmsr(msr));
			answered += t.vector == -1;
			bad += !good(t);
		}
	print("  %u answered\n", answered);
	CHECK_EQ(bad, 0);
}

static void test_writes(void) {
	if (!on_bulkhead()) return;
	static const uint32_t base[] = {0,          0x100,      0x200,      0x300,     0x400,
	                                0xC0000000, 0xC0000100, 0xC0010000, 0xC0010100};
	subtest("writes");
	unsigned bad = 0, done = 0;
	for (unsigned i = 0; i < STORM; i++) {
		uint32_t msr =
		    i % 10 == 0 ? random() : base[random() % (sizeof base / sizeof base[0])] + random() % 256;
		if (spared(msr)) continue;
		uint64_t v = (uint64_t)random() << 32 | random();
		if (i % 3 == 0) v &= 0xFF;
		struct trap t = CATCH(wrmsr(msr, v));
		bad += !good(t);
		done += t.vector == -1;
	}
	print("  %u done\n", done);
	CHECK_EQ(bad, 0);
}

void guest_main(void);
void guest_main(void) {
	test_reads();
	test_writes();
	subtest("still there");
	wrmsr(0xC0000102, 0x1000);
	CHECK_EQ(rdmsr(0xC0000102), 0x1000);
	finish();
}
