// SPDX-License-Identifier: Apache-2.0
// Names of architectural registers and their bits (Intel SDM vol. 3 ch. 2 and vol. 4; AMD APM vol. 2),
// for the machine we run on and for the guests alike. Constants only.
#pragma once

#include "kernel/lib/bits.h"

// RFLAGS (SDM vol. 1, 3.4.3)
#define RFLAGS_CF BIT64(0)
#define RFLAGS_FIXED BIT64(1)
#define RFLAGS_PF BIT64(2)
#define RFLAGS_AF BIT64(4)
#define RFLAGS_ZF BIT64(6)
#define RFLAGS_SF BIT64(7)
#define RFLAGS_TF BIT64(8)
#define RFLAGS_IF BIT64(9)
#define RFLAGS_DF BIT64(10)
#define RFLAGS_OF BIT64(11)
#define RFLAGS_NT BIT64(14)
#define RFLAGS_RF BIT64(16)
#define RFLAGS_VM BIT64(17)
#define RFLAGS_AC BIT64(18)
// All but bits 3, 5, 15 and those above ID (SDM vol. 1, 3.4.3).
#define RFLAGS_DEFINED UINT64_C(0x3f7fd7)

// CR0 (SDM vol. 3, 2.5 "Control Registers")
#define CR0_PE BIT64(0)
#define CR0_MP BIT64(1)
#define CR0_EM BIT64(2)
#define CR0_TS BIT64(3)
#define CR0_ET BIT64(4)
#define CR0_NE BIT64(5)
#define CR0_WP BIT64(16)
#define CR0_AM BIT64(18)
#define CR0_NW BIT64(29)
#define CR0_CD BIT64(30)
#define CR0_PG BIT64(31)

// CR4
#define CR4_VME BIT64(0)
#define CR4_PVI BIT64(1)
#define CR4_TSD BIT64(2)
#define CR4_DE BIT64(3)
#define CR4_PSE BIT64(4)
#define CR4_PAE BIT64(5)
#define CR4_MCE BIT64(6)
#define CR4_PGE BIT64(7)
#define CR4_PCE BIT64(8)
#define CR4_OSFXSR BIT64(9)
#define CR4_OSXMMEXCPT BIT64(10)
#define CR4_UMIP BIT64(11)
#define CR4_LA57 BIT64(12)
#define CR4_VMXE BIT64(13)
#define CR4_SMXE BIT64(14)
#define CR4_FSGSBASE BIT64(16)
#define CR4_PCIDE BIT64(17)
#define CR4_OSXSAVE BIT64(18)
#define CR4_SMEP BIT64(20)
#define CR4_SMAP BIT64(21)
#define CR4_PKE BIT64(22)
#define CR4_CET BIT64(23)

// EFER (APM vol. 2, 3.1.7)
#define EFER_SCE BIT64(0)
#define EFER_LME BIT64(8)
#define EFER_LMA BIT64(10)
#define EFER_NXE BIT64(11)
#define EFER_SVME BIT64(12)
#define EFER_LMSLE BIT64(13)
#define EFER_FFXSR BIT64(14)
#define EFER_TCE BIT64(15)
#define EFER_AIBRSE BIT64(21)

// XCR0 (SDM vol. 1, 13.3)
#define XCR0_X87 BIT64(0)
#define XCR0_SSE BIT64(1)
#define XCR0_AVX BIT64(2)
#define XCR0_BNDREGS BIT64(3)
#define XCR0_BNDCSR BIT64(4)
#define XCR0_OPMASK BIT64(5)
#define XCR0_ZMM_HI256 BIT64(6)
#define XCR0_HI16_ZMM BIT64(7)
#define XCR0_PKRU BIT64(9)

// DR6, DR7 (SDM vol. 3, 18.2)
#define DR6_FIXED UINT64_C(0xffff0ff0)
#define DR6_BREAKPOINTS UINT64_C(0xf)
#define DR6_BD BIT64(13)
#define DR6_BS BIT64(14)
#define DR6_BT BIT64(15)
#define DR6_DEFINED (DR6_FIXED | MASK64(3, 0) | MASK64(15, 13) | BIT64(16))
#define DR7_FIXED UINT64_C(0x400)
#define DR7_RESERVED (MASK64(63, 32) | MASK64(15, 14) | BIT64(12))
#define DR7_GD BIT64(13)

// Exception vectors (SDM vol. 3, 6.15)
// clang-format off
enum vector {
	VEC_DE = 0, VEC_DB = 1, VEC_NMI = 2, VEC_BP = 3, VEC_OF = 4, VEC_BR = 5, VEC_UD = 6, VEC_NM = 7,
	VEC_DF = 8, VEC_TS = 10, VEC_NP = 11, VEC_SS = 12, VEC_GP = 13, VEC_PF = 14, VEC_MF = 16, VEC_AC = 17,
	VEC_MC = 18, VEC_XM = 19, VEC_VE = 20, VEC_CP = 21, VEC_SX = 30,
};
// clang-format on

// #PF error code (SDM vol. 3, 4.7)
#define PF_PRESENT BIT32(0)
#define PF_WRITE BIT32(1)
#define PF_USER BIT32(2)
#define PF_RSVD BIT32(3)
#define PF_FETCH BIT32(4)

// MSRs
// clang-format off
enum msr {
	MSR_TSC = 0x10, MSR_PLATFORM_ID = 0x17, MSR_APIC_BASE = 0x1b, MSR_FEATURE_CONTROL = 0x3a,
	MSR_TSC_ADJUST = 0x3b, MSR_SPEC_CTRL = 0x48, MSR_PRED_CMD = 0x49, MSR_UCODE_REV = 0x8b,
	MSR_MPERF = 0xe7, MSR_APERF = 0xe8, MSR_MTRR_CAP = 0xfe, MSR_ARCH_CAPABILITIES = 0x10a,
	MSR_FLUSH_CMD = 0x10b, MSR_SYSENTER_CS = 0x174, MSR_SYSENTER_ESP = 0x175, MSR_SYSENTER_EIP = 0x176,
	MSR_MCG_CAP = 0x179, MSR_MCG_STATUS = 0x17a, MSR_MCG_CTL = 0x17b, MSR_MISC_ENABLE = 0x1a0,
	MSR_DEBUGCTL = 0x1d9, MSR_LASTBRANCH_FROM = 0x1db, MSR_LASTBRANCH_TO = 0x1dc, MSR_LASTINT_FROM = 0x1dd,
	MSR_LASTINT_TO = 0x1de, MSR_MTRR_PHYSBASE0 = 0x200, MSR_MTRR_FIX64K = 0x250, MSR_MTRR_FIX16K_80000 = 0x258,
	MSR_MTRR_FIX16K_A0000 = 0x259, MSR_MTRR_FIX4K_C0000 = 0x268, MSR_MTRR_FIX4K_F8000 = 0x26f, MSR_PAT = 0x277,
	MSR_MTRR_DEF_TYPE = 0x2ff, MSR_MC0_CTL = 0x400, MSR_MC0_STATUS = 0x401, MSR_TSC_DEADLINE = 0x6e0, MSR_X2APIC_FIRST = 0x800,
	MSR_X2APIC_LAST = 0x8ff, MSR_XSS = 0xda0,
	MSR_KVM_WALL_CLOCK_OLD = 0x11, MSR_KVM_SYSTEM_TIME_OLD = 0x12,
	MSR_KVM_WALL_CLOCK = 0x4b564d00, MSR_KVM_SYSTEM_TIME = 0x4b564d01,
};
// clang-format on
#define MSR_EFER 0xc0000080u
#define MSR_STAR 0xc0000081u
#define MSR_LSTAR 0xc0000082u
#define MSR_CSTAR 0xc0000083u
#define MSR_SFMASK 0xc0000084u
#define MSR_FS_BASE 0xc0000100u
#define MSR_GS_BASE 0xc0000101u
#define MSR_KERNEL_GS_BASE 0xc0000102u
#define MSR_TSC_AUX 0xc0000103u
#define MSR_SYSCFG 0xc0010010u
#define MSR_HWCR 0xc0010015u
#define MSR_NB_CFG 0xc001001fu
#define MSR_INT_PENDING 0xc0010055u // BKDG of family 10h: C1E, the local APIC timer stops in it
#define MSR_VM_CR 0xc0010114u
#define MSR_VM_HSAVE_PA 0xc0010117u
#define MSR_DE_CFG 0xc0011029u

// Segment selectors' attribute word as VMCS access rights keep them (SDM vol. 3, table 24-2); SVM packs
// the same bits in 12 (converted in svm/).
#define SEG_TYPE_MASK 0xfu
#define SEG_TYPE_ACCESSED BIT32(0) // code and data
#define SEG_TYPE_WRITABLE BIT32(1) // data
#define SEG_TYPE_READABLE BIT32(1) // code
#define SEG_TYPE_BUSY BIT32(1)     // TSS
#define SEG_TYPE_CODE BIT32(3)
#define SEG_TYPE_LDT 2u
#define SEG_TYPE_TSS_BUSY 11u // 32 and 64 bits
#define SEG_S BIT32(4)
#define SEG_DPL_SHIFT 5u
#define SEG_P BIT32(7)
#define SEG_AVL BIT32(12)
#define SEG_L BIT32(13)
#define SEG_DB BIT32(14)
#define SEG_G BIT32(15)
#define SEG_UNUSABLE BIT32(16)
// What a load of a present segment of ring 0 leaves, without size and granularity.
#define SEG_ACCESS_DATA (SEG_P | SEG_S | SEG_TYPE_WRITABLE | SEG_TYPE_ACCESSED)
#define SEG_ACCESS_CODE (SEG_P | SEG_S | SEG_TYPE_CODE | SEG_TYPE_READABLE | SEG_TYPE_ACCESSED)

#define APIC_BASE_BSP BIT64(8)
#define APIC_BASE_X2 BIT64(10)
#define APIC_BASE_ENABLE BIT64(11)

// Machine-check architecture (SDM vol. 3, 15.3.1 "Machine-Check Global Control MSRs", 15.3.2.2 "IA32_MCi_STATUS
// MSRs"; APM vol. 2, 9.3). S and AR are Intel's, with SER_P only.
#define MCG_CAP_COUNT MASK64(7, 0)
#define MCG_CAP_CTL_P BIT64(8)
#define MCG_CAP_SER_P BIT64(24)
#define MCG_STATUS_RIPV BIT64(0)
#define MCI_STATUS_AR BIT64(55)
#define MCI_STATUS_S BIT64(56)
#define MCI_STATUS_PCC BIT64(57)
#define MCI_STATUS_ADDRV BIT64(58)
#define MCI_STATUS_MISCV BIT64(59)
#define MCI_STATUS_UC BIT64(61)
#define MCI_STATUS_OVER BIT64(62)
#define MCI_STATUS_VAL BIT64(63)
