// SPDX-License-Identifier: Apache-2.0
// Reads CPUID into struct cpu_features (SDM vol. 2 "CPUID", APM vol. 3 appendix E).
#include "arch/x86/cpu/features.h"

#include "arch/x86/cpu/insn.h"
#include "arch/x86/cpu/regs.h"
#include "kernel/lib/string.h"

struct cpu_features features;

static bool bit(uint32_t reg, unsigned n) { return (reg >> n & 1) != 0; }

static void read_brand(struct cpu_features *f) {
	if (f->max_extended < 0x80000004u) return;
	for (uint32_t i = 0; i < 3; i++) {
		struct cpuid_regs r = cpuid(0x80000002u + i, 0);
		memcpy(f->brand + 16 * i, &r, sizeof r);
	}
}

static void read_extended(struct cpu_features *f) {
	f->max_extended = cpuid(0x80000000u, 0).eax;
	if (f->max_extended < 0x80000000u) f->max_extended = 0;
	f->phys_bits = 36;
	f->virt_bits = 48;
	if (f->max_extended >= 0x80000001u) {
		struct cpuid_regs r = cpuid(0x80000001u, 0);
		f->svm = bit(r.ecx, 2);
		f->nx = bit(r.edx, 20);
		f->page_1g = bit(r.edx, 26);
		f->rdtscp = bit(r.edx, 27);
	}
	if (f->max_extended >= 0x80000007u) f->invariant_tsc = bit(cpuid(0x80000007u, 0).edx, 8);
	if (f->max_extended >= 0x80000008u) {
		struct cpuid_regs r = cpuid(0x80000008u, 0);
		f->phys_bits = (uint8_t)r.eax;
		f->virt_bits = (uint8_t)(r.eax >> 8);
		f->ibpb = bit(r.ebx, 12);
	}
	read_brand(f);
}

static void read_xsave(struct cpu_features *f) {
	f->xsave_bytes = 512;
	if (!f->xsave || f->max_basic < 0xd) {
		f->xsave = false;
		return;
	}
	struct cpuid_regs r = cpuid(0xd, 0);
	f->xcr0_mask = (uint64_t)r.edx << 32 | r.eax;
	f->xsave_bytes = r.ecx;
	f->xsaveopt = bit(cpuid(0xd, 1).eax, 0);
}

void features_read(void) {
	struct cpu_features *f = &features;
	struct cpuid_regs r = cpuid(0, 0);
	f->max_basic = r.eax;
	memcpy(f->vendor_name, &r.ebx, 4);
	memcpy(f->vendor_name + 4, &r.edx, 4);
	memcpy(f->vendor_name + 8, &r.ecx, 4);
	if (strcmp(f->vendor_name, "GenuineIntel") == 0) f->vendor = CPU_VENDOR_INTEL;
	if (strcmp(f->vendor_name, "AuthenticAMD") == 0 || strcmp(f->vendor_name, "HygonGenuine") == 0)
		f->vendor = CPU_VENDOR_AMD;

	r = cpuid(1, 0);
	f->vmx = bit(r.ecx, 5);
	f->pcid = bit(r.ecx, 17);
	f->x2apic = bit(r.ecx, 21);
	f->tsc_deadline = bit(r.ecx, 24);
	f->xsave = bit(r.ecx, 26);
	f->avx = bit(r.ecx, 28);
	f->rdrand = bit(r.ecx, 30);
	f->hypervisor = bit(r.ecx, 31);
	f->pge = bit(r.edx, 13);
	if (f->max_basic >= 6) f->arat = bit(cpuid(6, 0).eax, 2);
	if (f->max_basic >= 7) {
		r = cpuid(7, 0);
		f->fsgsbase = bit(r.ebx, 0);
		f->tsc_adjust = bit(r.ebx, 1);
		f->smep = bit(r.ebx, 7);
		f->smap = bit(r.ebx, 20);
		f->umip = bit(r.ecx, 2);
		f->la57 = bit(r.ecx, 16);
		f->spec_ctrl = bit(r.edx, 26);
		f->ibpb = f->ibpb || f->spec_ctrl;
		f->arch_capabilities = bit(r.edx, 29);
	}
	read_extended(f);
	read_xsave(f);
}
