// SPDX-License-Identifier: Apache-2.0
// Reads CPUID into struct cpu_features; the single bits by one table.
#include "arch/x86/cpu/features.h"

#include "arch/x86/cpu/cpuid.h"
#include "arch/x86/cpu/insn.h"
#include "kernel/lib/string.h"

struct cpu_features features;

enum word { EBX = 1, ECX, EDX }; // as struct cpuid_regs has them

static const struct {
	uint32_t leaf, mask;
	uint8_t word; // enum word
	uint8_t at;   // of the bool
} bit[] = {
#define BIT(leaf, word, mask, name)                                                                          \
	{ leaf, mask, word, offsetof(struct cpu_features, name) }
    BIT(CPUID_FEATURES, ECX, CPUID1_ECX_VMX, vmx),
    BIT(CPUID_FEATURES, ECX, CPUID1_ECX_X2APIC, x2apic),
    BIT(CPUID_FEATURES, ECX, CPUID1_ECX_TSC_DEADLINE, tsc_deadline),
    BIT(CPUID_FEATURES, ECX, CPUID1_ECX_XSAVE, xsave),
    BIT(CPUID_FEATURES, ECX, CPUID1_ECX_HYPERVISOR, hypervisor),
    BIT(CPUID_FEATURES, EDX, CPUID1_EDX_MCE, mce),
    BIT(CPUID_FEATURES, EDX, CPUID1_EDX_PGE, pge),
    BIT(CPUID_FEATURES, EDX, CPUID1_EDX_MCA, mca),
    BIT(CPUID_MORE_FEATURES, EBX, CPUID7_EBX_SMEP, smep),
    BIT(CPUID_MORE_FEATURES, EBX, CPUID7_EBX_SMAP, smap),
    BIT(CPUID_MORE_FEATURES, ECX, CPUID7_ECX_UMIP, umip),
    BIT(CPUID_MORE_FEATURES, EDX, CPUID7_EDX_ARCH_CAPABILITIES, arch_capabilities),
    BIT(CPUID_EXT_FEATURES, ECX, CPUID81_ECX_SVM, svm),
    BIT(CPUID_EXT_FEATURES, EDX, CPUID81_EDX_NX, nx),
    BIT(CPUID_EXT_FEATURES, EDX, CPUID81_EDX_PAGE_1G, page_1g),
    BIT(CPUID_EXT_FEATURES, EDX, CPUID81_EDX_RDTSCP, rdtscp),
    BIT(CPUID_EXT_POWER, EDX, CPUID87_EDX_INVARIANT_TSC, invariant_tsc),
#undef BIT
};
_Static_assert(sizeof(struct cpu_features) <= UINT8_MAX, "offsets in the table");

static bool has_leaf(const struct cpu_features *f, uint32_t leaf) {
	return leaf <= (leaf < CPUID_EXT ? f->max_basic : f->max_extended);
}

static void read_bits(struct cpu_features *f) {
	for (unsigned i = 0; i < array_count(bit); i++) {
		if (!has_leaf(f, bit[i].leaf)) continue;
		const struct cpuid_regs r = cpuid(bit[i].leaf, 0);
		const uint32_t word[] = {r.eax, r.ebx, r.ecx, r.edx};
		*((bool *)f + bit[i].at) = (word[bit[i].word] & bit[i].mask) != 0;
	}
}

#define PHYS_BITS_LEAST 36u
#define VIRT_BITS_LEAST 48u
#define XSAVE_BYTES_LEAST 512u // FXSAVE's

static void read_sizes(struct cpu_features *f) {
	f->phys_bits = PHYS_BITS_LEAST;
	f->virt_bits = VIRT_BITS_LEAST;
	if (has_leaf(f, CPUID_EXT_SIZES)) {
		uint32_t eax = cpuid(CPUID_EXT_SIZES, 0).eax;
		f->phys_bits = (uint8_t)eax;
		f->virt_bits = (uint8_t)(eax >> 8);
	}
	f->xsave_bytes = XSAVE_BYTES_LEAST;
	f->xsave = f->xsave && has_leaf(f, CPUID_XSAVE);
	if (!f->xsave) return;
	const struct cpuid_regs r = cpuid(CPUID_XSAVE, 0);
	f->xcr0_mask = (uint64_t)r.edx << 32 | r.eax;
	f->xsave_bytes = r.ecx;
	f->xsaves = (cpuid(CPUID_XSAVE, 1).eax & CPUIDD1_EAX_XSAVES) != 0;
}

static void read_all(struct cpu_features *f) {
	struct cpuid_regs r = cpuid(CPUID_BASIC, 0);
	f->max_basic = r.eax;
	memcpy(f->vendor_name, (const uint32_t[]){r.ebx, r.edx, r.ecx}, 12);
	if (strcmp(f->vendor_name, "GenuineIntel") == 0) f->vendor = CPU_VENDOR_INTEL;
	if (strcmp(f->vendor_name, "AuthenticAMD") == 0 || strcmp(f->vendor_name, "HygonGenuine") == 0)
		f->vendor = CPU_VENDOR_AMD;
	f->max_extended = cpuid(CPUID_EXT, 0).eax; // below CPUID_EXT where there are none
	for (uint32_t i = 0; i < 3 && has_leaf(f, CPUID_EXT_BRAND + i); i++) {
		r = cpuid(CPUID_EXT_BRAND + i, 0);
		memcpy(f->brand + sizeof r * i, &r, sizeof r);
	}
	read_bits(f);
	f->mca = f->mca && f->mce;
	read_sizes(f);
}

void features_read(void) { read_all(&features); }

// From phys_bits on: a CPU of another model or stepping may do, one that can do less may not.
bool features_same(void) {
	struct cpu_features mine = {.vendor = CPU_VENDOR_OTHER};
	read_all(&mine);
	mine.xsave_bytes = features.xsave_bytes; // follows XCR0
	size_t from = offsetof(struct cpu_features, phys_bits);
	return mine.vendor == features.vendor &&
	       memcmp((const char *)&mine + from, (const char *)&features + from, sizeof mine - from) == 0;
}
