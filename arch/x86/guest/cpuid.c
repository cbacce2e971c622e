// SPDX-License-Identifier: Apache-2.0
// Builds the model at VM build and answers the exit from it. Three words depend on the guest's own state and
// are patched in the answer: OSXSAVE (CR4), the APIC id, and the XSAVE sizes (XCR0).
#include "arch/x86/guest/cpuid.h"

#include "arch/x86/cpu/features.h"
#include "arch/x86/cpu/insn.h"
#include "arch/x86/guest/feature.h"
#include "arch/x86/guest/insn.h"
#include "arch/x86/guest/ops.h"
#include "kernel/abi/hypercall.h"
#include "kernel/clock.h"
#include "kernel/lib/assert.h"
#include "kernel/lib/string.h"

// What a guest may see of each feature word: works with general intercepts off, needs no state that is not
// switched with the FPU area, and is no virtualisation feature (SDM vol. 2 "CPUID", APM vol. 3 appendix E).
#define LEAF1_ECX                                                                                            \
	(BIT32(0) /* SSE3 */ | BIT32(1) /* PCLMULQDQ */ | BIT32(9) /* SSSE3 */ | CPUID1_ECX_FMA |                \
	 BIT32(13) /* CX16 */ | BIT32(19) /* SSE4.1 */ | BIT32(20) /* SSE4.2 */ | BIT32(22) /* MOVBE */ |        \
	 BIT32(23) /* POPCNT */ | BIT32(25) /* AES */ | CPUID1_ECX_XSAVE | CPUID1_ECX_AVX | CPUID1_ECX_F16C |    \
	 BIT32(30) /* RDRAND */)
#define LEAF1_EDX                                                                                            \
	(MASK64(9, 0) /* FPU VME DE PSE TSC MSR PAE MCE CX8 APIC */ |                                            \
	 MASK64(17, 11) /* SEP MTRR PGE MCA CMOV PAT PSE36 */ | BIT32(19) /* CLFSH */ |                          \
	 MASK64(26, 23) /* MMX FXSR SSE SSE2 */)
#define LEAF7_EBX                                                                                            \
	(CPUID7_EBX_FSGSBASE | BIT32(3) /* BMI1 */ | CPUID7_EBX_AVX2 | BIT32(6) /* FDP_EXCPTN_ONLY */ |          \
	 CPUID7_EBX_SMEP | BIT32(8) /* BMI2 */ | BIT32(9) /* ERMS */ | BIT32(13) /* no FPU CS/DS */ |            \
	 MASK64(24, 16) /* AVX512F DQ RDSEED ADX SMAP IFMA - CLFLUSHOPT CLWB */ |                                \
	 MASK64(31, 28) /* CD SHA BW VL */)
#define LEAF7_EBX_NOT BIT32(22)
#define LEAF7_ECX                                                                                            \
	(BIT32(1) /* VBMI */ | CPUID7_ECX_UMIP | BIT32(6) /* VBMI2 */ |                                          \
	 MASK64(12, 8) /* GFNI VAES VPCLMUL VNNI BITALG */ | BIT32(14) /* VPOPCNTDQ */ | LEAF7_ECX_RDPID |       \
	 BIT32(27) /* MOVDIRI */)
#define LEAF7_ECX_RDPID BIT32(22)
#define LEAF7_EDX                                                                                            \
	(BIT32(4) /* FSRM */ | BIT32(8) /* VP2INTERSECT */ | BIT32(10) /* MD_CLEAR */ | BIT32(14) /* SERIALIZE */)
#define LEAF81_ECX                                                                                           \
	(BIT32(0) /* LAHF */ | BIT32(4) /* AltMovCr8 */ | BIT32(5) /* ABM */ | BIT32(6) /* SSE4A */ |            \
	 BIT32(7) /* misaligned SSE */ | BIT32(8) /* PREFETCH */ | BIT32(11) /* XOP */ | BIT32(16) /* FMA4 */ |  \
	 BIT32(21) /* TBM */)
#define LEAF81_EDX                                                                                           \
	(LEAF1_EDX_SHARED | BIT32(11) /* SYSCALL */ | CPUID81_EDX_NX | BIT32(22) /* MMXEXT */ |                  \
	 CPUID81_EDX_FFXSR | CPUID81_EDX_PAGE_1G | CPUID81_EDX_RDTSCP | BIT32(29) /* LM */ | BIT32(30) |         \
	 BIT32(31) /* 3DNow */)
#define LEAF1_EDX_SHARED (LEAF1_EDX & (MASK64(9, 0) | MASK64(17, 12) | MASK64(24, 23)))
#define LEAF88_EBX (BIT32(0) /* CLZERO */ | BIT32(2) /* XSAVEERPTR */ | CPUID88_EBX_IBPB)
#define XCR0_OFFERED (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM)
#define LEAF_D1_COMPACTED (CPUIDD1_EAX_XSAVEC | CPUIDD1_EAX_XSAVES)
#define LEAF_D1_EAX (CPUIDD1_EAX_XSAVEOPT | BIT32(2) /* XGETBV 1 */ | LEAF_D1_COMPACTED)
#define XSAVE_ALIGN 64u
#define XSAVE_FIXED_BYTES 576u // legacy area and header
#define XSAVE_COMPONENTS 63u   // 2 to 62 where their leaves say so (SDM vol. 1, 13.4)
#define LEAF6_ARAT BIT32(2)

static __cold struct cpuid_entry *add(struct cpuid_model *m, uint32_t leaf, uint32_t subleaf,
                                      bool subleaf_matters) {
	assert(m->count < CPUID_ENTRY_MAX);
	struct cpuid_entry *e = &m->entry[m->count++];
	*e = (struct cpuid_entry){.leaf = leaf, .subleaf = subleaf, .subleaf_matters = subleaf_matters};
	return e;
}

static __cold struct cpuid_entry *add_host(struct cpuid_model *m, uint32_t leaf, uint32_t subleaf,
                                           bool subleaf_matters) {
	struct cpuid_entry *e = add(m, leaf, subleaf, subleaf_matters);
	struct cpuid_regs r = cpuid(leaf, subleaf);
	e->eax = r.eax;
	e->ebx = r.ebx;
	e->ecx = r.ecx;
	e->edx = r.edx;
	return e;
}

static unsigned log2_up(unsigned n) { return n <= 1 ? 0 : bit_last(n - 1) + 1; }

static __cold void add_leaf1(struct cpuid_model *m, unsigned vcpus) {
	struct cpuid_entry *e = add_host(m, CPUID_FEATURES, 0, false);
	e->ebx = (e->ebx & CPUID1_EBX_CLFLUSH) |
	         (vcpus > 1 ? vcpus << CPUID1_EBX_CPUS_SHIFT : 0); // APIC id patched in
	// The local APIC is ours, so x2APIC and the deadline timer are there whatever the host has.
	e->ecx = (e->ecx & LEAF1_ECX) | CPUID1_ECX_X2APIC | CPUID1_ECX_TSC_DEADLINE | CPUID1_ECX_HYPERVISOR;
	e->edx = (e->edx & (uint32_t)LEAF1_EDX) | CPUID1_EDX_APIC | (vcpus > 1 ? CPUID1_EDX_HTT : 0);
	if (!features.xsave) e->ecx &= ~(CPUID1_ECX_XSAVE | CPUID1_ECX_AVX | CPUID1_ECX_FMA | CPUID1_ECX_F16C);
}

static __cold void add_caches(struct cpuid_model *m, unsigned vcpus) {
	if (features.vendor != CPU_VENDOR_INTEL) return;
	for (uint32_t i = 0; i < 8; i++) {
		struct cpuid_entry *e = add_host(m, CPUID_CACHES, i, true);
		if ((e->eax & CPUID4_EAX_TYPE) == 0) return; // the list's end
		// Sharing ids: private caches to one CPU, the last level to all.
		bool last_level = (e->eax & CPUID4_EAX_LEVEL) == CPUID4_EAX_LEVEL_3;
		e->eax = (e->eax & CPUID4_EAX_KEPT) | (last_level ? (vcpus - 1) << CPUID4_EAX_SHARING_SHIFT : 0) |
		         (vcpus - 1) << CPUID4_EAX_CORES_SHIFT;
	}
}

static __cold void add_topology(struct cpuid_model *m, unsigned vcpus) {
	// Leaf 0xB: one thread a core, all cores in one package; EDX (x2APIC id) patched in.
	struct cpuid_entry *e = add(m, CPUID_TOPOLOGY, 0, true);
	e->ebx = 1;
	e->ecx = 0u | 1u << 8; // level 0, SMT
	e = add(m, CPUID_TOPOLOGY, 1, true);
	e->eax = log2_up(vcpus);
	e->ebx = vcpus;
	e->ecx = 1u | 2u << 8; // level 1, core
}

static __cold void add_xsave(struct cpuid_model *m) {
	if (!features.xsave) return;
	uint64_t mask = features.xcr0_mask & XCR0_OFFERED;
	struct cpuid_entry *e = add(m, CPUID_XSAVE, 0, true);
	e->eax = (uint32_t)mask;
	uint32_t bytes = XSAVE_FIXED_BYTES;
	struct cpuid_entry *one = add_host(m, CPUID_XSAVE, 1, true);
	one->eax &= LEAF_D1_EAX & ~(guest_features.xsaves ? 0 : LEAF_D1_COMPACTED);
	one->ebx = one->ecx = one->edx = 0;
	for (uint32_t i = 2; i < XSAVE_COMPONENTS; i++) {
		if ((mask >> i & 1) == 0) continue;
		struct cpuid_entry *part = add_host(m, CPUID_XSAVE, i, true);
		bytes = (uint32_t)max_u64(bytes, (uint64_t)part->ebx + part->eax);
	}
	e->ecx = bytes;
}

static __cold void add_basic(struct cpuid_model *m, unsigned vcpus) {
	struct cpuid_entry *zero = add_host(m, CPUID_BASIC, 0, false);
	m->max_basic = features.xsave ? CPUID_XSAVE : CPUID_TOPOLOGY;
	zero->eax = m->max_basic;
	add_leaf1(m, vcpus);
	if (features.vendor == CPU_VENDOR_INTEL) add_host(m, CPUID_CACHES_SHORT, 0, false);
	add_caches(m, vcpus);
	struct cpuid_entry *e = add(m, CPUID_POWER, 0, false);
	e->eax = LEAF6_ARAT; // the local APIC timer never stops here
	if (features.max_basic >= CPUID_MORE_FEATURES) {
		e = add_host(m, CPUID_MORE_FEATURES, 0, true);
		e->eax = 0;
		e->ebx = (e->ebx & (uint32_t)LEAF7_EBX & ~LEAF7_EBX_NOT) | CPUID7_EBX_TSC_ADJUST;
		e->ecx &= (uint32_t)LEAF7_ECX;
		e->edx &= LEAF7_EDX;
		if (!guest_features.rdtscp) e->ecx &= ~LEAF7_ECX_RDPID;
		if (!features.xsave) e->ebx &= ~(CPUID7_EBX_AVX2 | CPUID7_EBX_AVX512);
	}
	add_topology(m, vcpus);
	add_xsave(m);
}

static __cold void add_extended(struct cpuid_model *m) {
	if (features.max_extended < CPUID_EXT_FEATURES) return;
	m->max_extended = features.max_extended >= CPUID_EXT_SIZES ? CPUID_EXT_SIZES : CPUID_EXT_FEATURES;
	struct cpuid_entry *e = add_host(m, CPUID_EXT, 0, false);
	e->eax = m->max_extended;
	e = add_host(m, CPUID_EXT_FEATURES, 0, false);
	e->ecx &= LEAF81_ECX;
	e->edx &= (uint32_t)LEAF81_EDX;
	if (!guest_features.rdtscp) e->edx &= ~CPUID81_EDX_RDTSCP;
	for (uint32_t leaf = CPUID_EXT_BRAND; leaf <= CPUID_EXT_CACHES && leaf <= m->max_extended; leaf++)
		add_host(m, leaf, 0, false);
	if (m->max_extended < CPUID_EXT_SIZES) return;
	e = add(m, CPUID_EXT_POWER, 0, false);
	e->edx = features.invariant_tsc ? CPUID87_EDX_INVARIANT_TSC : 0;
	e = add_host(m, CPUID_EXT_SIZES, 0, false);
	e->eax &= CPUID88_EAX_ADDRESS_BITS;
	e->ebx &= LEAF88_EBX;
	e->ecx = e->edx = 0;
}

static __cold void add_signature(struct cpuid_model *m, uint32_t leaf, uint32_t max,
                                 const char signature[static 13]) {
	struct cpuid_entry *e = add(m, leaf, 0, false);
	e->eax = max;
	memcpy(&e->ebx, signature, 4);
	memcpy(&e->ecx, signature + 4, 4);
	memcpy(&e->edx, signature + 8, 4);
}

static __cold void add_hypervisor(struct cpuid_model *m) {
	add_signature(m, CPUID_HV_BASE, CPUID_HV_MAX, "BulkheadHV\0\0");
	struct cpuid_entry *e = add(m, CPUID_HV_MAX, 0, false);
	e->eax = HYPERCALL_ABI_VERSION;
	e->ecx = (uint32_t)clock_tsc_khz();
	add_signature(m, CPUID_KVM_BASE, CPUID_KVM_MAX, "KVMKVMKVM\0\0\0");
	e = add(m, CPUID_KVM_MAX, 0, false);
	e->eax = KVM_FEATURE_CLOCKSOURCE | KVM_FEATURE_NOP_IO_DELAY | KVM_FEATURE_CLOCKSOURCE2 |
	         KVM_FEATURE_CLOCKSOURCE_STABLE;
}

void cpuid_build(struct cpuid_model *m, unsigned vcpus) {
	*m = (struct cpuid_model){.max_hypervisor = CPUID_KVM_MAX};
	add_basic(m, vcpus);
	add_hypervisor(m);
	add_extended(m);
}

const struct cpuid_entry *cpuid_find(const struct cpuid_model *m, uint32_t leaf, uint32_t subleaf) {
	for (uint32_t i = 0; i < m->count; i++) {
		const struct cpuid_entry *e = &m->entry[i];
		if (e->leaf == leaf && (!e->subleaf_matters || e->subleaf == subleaf)) return e;
	}
	return NULL;
}

uint64_t cpuid_xcr0_mask(const struct cpuid_model *m) {
	const struct cpuid_entry *e = cpuid_find(m, CPUID_XSAVE, 0);
	return e != NULL ? (uint64_t)e->edx << 32 | e->eax : 0;
}

// The size of an XSAVE area for the features XCR0 has on now; of XSS no bit is ever on.
static uint32_t xsave_bytes_now(const struct vcpu *vcpu, bool compacted) {
	const struct cpuid_model *m = &vcpu->vm->arch->cpuid;
	uint64_t on = xgetbv(0); // the guest's: XSETBV is not intercepted on every CPU
	uint32_t bytes = XSAVE_FIXED_BYTES;
	for (uint32_t i = 2; i < XSAVE_COMPONENTS && on >> i != 0; i++) {
		const struct cpuid_entry *part = (on >> i & 1) != 0 ? cpuid_find(m, CPUID_XSAVE, i) : NULL;
		if (part == NULL) continue;
		uint32_t begin = compacted ? bytes : part->ebx;
		if (compacted && (part->ecx & CPUIDD_ECX_ALIGNED) != 0)
			begin = (begin + XSAVE_ALIGN - 1) & ~(XSAVE_ALIGN - 1);
		bytes = (uint32_t)max_u64(bytes, (uint64_t)begin + part->eax);
	}
	return bytes;
}

static __attribute__((noinline)) bool osxsave(const struct vcpu *vcpu) {
	struct guest_paging p;
	ops->paging_get(vcpu, &p);
	return (p.cr4 & CR4_OSXSAVE) != 0;
}

void cpuid_exit(struct vcpu *vcpu, const struct exit *exit) {
	struct arch_vcpu *arch = vcpu->arch;
	const struct cpuid_model *m = &vcpu->vm->arch->cpuid;
	uint32_t leaf = (uint32_t)arch->gpr[GPR_RAX], subleaf = (uint32_t)arch->gpr[GPR_RCX];
	const struct cpuid_entry *e = cpuid_find(m, leaf, subleaf);
	struct cpuid_regs r = {0};
	if (likely(e != NULL)) r = (struct cpuid_regs){e->eax, e->ebx, e->ecx, e->edx};
	switch (leaf) {
	case CPUID_FEATURES:
		r.ebx |= vcpu->id << CPUID1_EBX_APIC_ID_SHIFT;
		if ((r.ecx & CPUID1_ECX_XSAVE) != 0 && osxsave(vcpu)) r.ecx |= CPUID1_ECX_OSXSAVE;
		break;
	case CPUID_TOPOLOGY:
		r.edx = vcpu->id;
		if (e == NULL) r.ecx = subleaf & 0xff;
		break;
	case CPUID_XSAVE:
		if (subleaf == 0 && e != NULL) r.ebx = xsave_bytes_now(vcpu, false);
		if (subleaf == 1 && (r.eax & LEAF_D1_COMPACTED) != 0) r.ebx = xsave_bytes_now(vcpu, true);
		break;
	default: break;
	}
	arch->gpr[GPR_RAX] = r.eax;
	arch->gpr[GPR_RBX] = r.ebx;
	arch->gpr[GPR_RCX] = r.ecx;
	arch->gpr[GPR_RDX] = r.edx;
	guest_skip(vcpu, exit);
}
