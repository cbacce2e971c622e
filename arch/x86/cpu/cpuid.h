// SPDX-License-Identifier: Apache-2.0
// CPUID by name: leaves and the bits of their words (SDM vol. 2 "CPUID", APM vol. 3 appendix E), for the machine we
// run on and for the guests' model alike. Constants only; what one file alone uses stands there.
#pragma once

#include "kernel/lib/bits.h"

#define CPUID_BASIC 0u
#define CPUID_FEATURES 1u
#define CPUID_CACHES_SHORT 2u
#define CPUID_CACHES 4u
#define CPUID_POWER 6u
#define CPUID_MORE_FEATURES 7u
#define CPUID_TOPOLOGY 0xbu
#define CPUID_XSAVE 0xdu
#define CPUID_TSC_CRYSTAL 0x15u
#define CPUID_EXT 0x80000000u
#define CPUID_EXT_FEATURES 0x80000001u
#define CPUID_EXT_BRAND 0x80000002u // and the two after it
#define CPUID_EXT_CACHES 0x80000006u
#define CPUID_EXT_POWER 0x80000007u
#define CPUID_EXT_SIZES 0x80000008u
#define CPUID_EXT_MORE_FEATURES 0x80000021u

// Leaf 1
#define CPUID1_EBX_CLFLUSH 0xff00u
#define CPUID1_EBX_CPUS_SHIFT 16u
#define CPUID1_EBX_APIC_ID_SHIFT 24u
#define CPUID1_ECX_VMX BIT32(5)
#define CPUID1_ECX_FMA BIT32(12)
#define CPUID1_ECX_X2APIC BIT32(21)
#define CPUID1_ECX_TSC_DEADLINE BIT32(24)
#define CPUID1_ECX_XSAVE BIT32(26)
#define CPUID1_ECX_OSXSAVE BIT32(27)
#define CPUID1_ECX_AVX BIT32(28)
#define CPUID1_ECX_F16C BIT32(29)
#define CPUID1_ECX_HYPERVISOR BIT32(31)
#define CPUID1_EDX_MCE BIT32(7)
#define CPUID1_EDX_APIC BIT32(9)
#define CPUID1_EDX_PGE BIT32(13)
#define CPUID1_EDX_MCA BIT32(14)
#define CPUID1_EDX_HTT BIT32(28)
// Leaf 4
#define CPUID4_EAX_TYPE 0x1fu // 0: the list's end
#define CPUID4_EAX_LEVEL 0xe0u
#define CPUID4_EAX_LEVEL_3 0x60u
#define CPUID4_EAX_KEPT 0x3fffu      // what is below the two counts
#define CPUID4_EAX_SHARING_SHIFT 14u // threads that share it, less 1
#define CPUID4_EAX_CORES_SHIFT 26u   // cores in the package, less 1
// Leaf 7
#define CPUID7_EBX_FSGSBASE BIT32(0)
#define CPUID7_EBX_TSC_ADJUST BIT32(1)
#define CPUID7_EBX_AVX2 BIT32(5)
#define CPUID7_EBX_SMEP BIT32(7)
#define CPUID7_EBX_SMAP BIT32(20)
#define CPUID7_EBX_AVX512 (BIT32(16) | BIT32(17) | BIT32(30) | BIT32(31)) // F, DQ, BW, VL
#define CPUID7_ECX_UMIP BIT32(2)
#define CPUID7_EDX_ARCH_CAPABILITIES BIT32(29)
// Leaf 0xD: subleaf 1, and those of the components.
#define CPUIDD1_EAX_XSAVEOPT BIT32(0)
#define CPUIDD1_EAX_XSAVEC BIT32(1)
#define CPUIDD1_EAX_XSAVES BIT32(3)
#define CPUIDD_ECX_ALIGNED BIT32(1) // in the compacted format
// Leaf 8000_0001
#define CPUID81_ECX_SVM BIT32(2)
#define CPUID81_EDX_NX BIT32(20)
#define CPUID81_EDX_FFXSR BIT32(25)
#define CPUID81_EDX_PAGE_1G BIT32(26)
#define CPUID81_EDX_RDTSCP BIT32(27)
// Leaf 8000_0007
#define CPUID87_EDX_INVARIANT_TSC BIT32(8)
// Leaf 8000_0008
#define CPUID88_EAX_ADDRESS_BITS 0xffffu // physical, linear
#define CPUID88_EBX_IBPB BIT32(12)
