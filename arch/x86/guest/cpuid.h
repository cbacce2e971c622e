// SPDX-License-Identifier: Apache-2.0
// The CPUID a guest sees: computed once at build from the host's, filtered by what is allowed and really
// works here. Never VMX or SVM, never a feature that nobody saves or switches.
#pragma once

#include "arch/x86/guest/vcpu.h"

// Leaf 1
#define CPUID1_ECX_MONITOR BIT32(3)
#define CPUID1_ECX_PCID BIT32(17)
#define CPUID1_ECX_X2APIC BIT32(21)
#define CPUID1_ECX_TSC_DEADLINE BIT32(24)
#define CPUID1_ECX_XSAVE BIT32(26)
#define CPUID1_ECX_OSXSAVE BIT32(27)
#define CPUID1_ECX_AVX BIT32(28)
#define CPUID1_ECX_HYPERVISOR BIT32(31)
#define CPUID1_EDX_APIC BIT32(9)
#define CPUID1_EDX_HTT BIT32(28)
// Leaf 7
#define CPUID7_EBX_FSGSBASE BIT32(0)
#define CPUID7_EBX_TSC_ADJUST BIT32(1)
#define CPUID7_EBX_SMEP BIT32(7)
#define CPUID7_EBX_SMAP BIT32(20)
#define CPUID7_ECX_UMIP BIT32(2)
// Leaf 8000_0001
#define CPUID81_EDX_NX BIT32(20)
#define CPUID81_EDX_FFXSR BIT32(25)
#define CPUID81_EDX_RDTSCP BIT32(27)
// Leaf 8000_0008
#define CPUID88_EBX_IBPB BIT32(12)

// Our own leaf range, and KVM's for unmodified guests that know it.
#define CPUID_HV_BASE 0x40000000u
#define CPUID_HV_MAX 0x40000001u
#define CPUID_KVM_BASE 0x40000100u
#define CPUID_KVM_MAX 0x40000101u
#define KVM_FEATURE_CLOCKSOURCE BIT32(0)
#define KVM_FEATURE_NOP_IO_DELAY BIT32(1)
#define KVM_FEATURE_CLOCKSOURCE2 BIT32(3)
#define KVM_FEATURE_CLOCKSOURCE_STABLE BIT32(24)

__cold void cpuid_build(struct cpuid_model *model, unsigned vcpus);
const struct cpuid_entry *cpuid_find(const struct cpuid_model *model, uint32_t leaf, uint32_t subleaf);
// XCR0 bits this guest may set.
uint64_t cpuid_xcr0_mask(const struct cpuid_model *model);
void cpuid_exit(struct vcpu *vcpu, const struct exit *exit);
