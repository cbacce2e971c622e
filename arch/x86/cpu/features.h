// SPDX-License-Identifier: Apache-2.0
// What this CPU can do, read once at boot from CPUID; every decision about an optional feature asks here.
#pragma once

#include "kernel/lib/types.h"

enum cpu_vendor { CPU_VENDOR_OTHER, CPU_VENDOR_INTEL, CPU_VENDOR_AMD };

struct cpu_features {
	enum cpu_vendor vendor;
	char vendor_name[13];
	char brand[49];
	uint32_t max_basic, max_extended;
	uint8_t phys_bits, virt_bits;
	bool vmx, svm, hypervisor;
	bool x2apic, tsc_deadline, invariant_tsc, rdtscp, mce, mca;
	bool xsave, xsaves, smep, smap, umip, nx, page_1g, pge, arch_capabilities;
	uint64_t xcr0_mask;   // bits XCR0 may have set (CPUID 0xD)
	uint32_t xsave_bytes; // largest XSAVE area for xcr0_mask; 512 without XSAVE
};

// Filled by features_read, constant after.
extern struct cpu_features features;
void features_read(void);
// True when the CPU it runs on can do exactly what the boot CPU, whose features those are, can.
bool features_same(void);
