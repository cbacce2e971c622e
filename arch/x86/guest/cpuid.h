// SPDX-License-Identifier: Apache-2.0
// The CPUID a guest sees: computed once at build from the host's, filtered by what is allowed and really
// works here. Never VMX or SVM, never a feature that nobody saves or switches.
#pragma once

#include "arch/x86/cpu/cpuid.h"
#include "arch/x86/guest/vcpu.h"

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
