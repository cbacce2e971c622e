// SPDX-License-Identifier: Apache-2.0
// The virtual machine control block (AMD APM vol. 2, appendix B "VMCB Layout") and the names of its bits.
// Plain fields at asserted offsets; no bit-fields.
#pragma once

#include "kernel/lib/bits.h"

struct vmcb_seg {
	uint16_t selector;
	uint16_t attrib; // descriptor bits 55:52 and 47:40 packed into 12 bits
	uint32_t limit;
	uint64_t base;
};

#define SVM_ATTRIB_L BIT32(9) // the descriptor's bits 55:52 are 11:8 of vmcb_seg.attrib

struct vmcb {
	// ---- control area ----
	uint16_t intercept_cr_read, intercept_cr_write;
	uint16_t intercept_dr_read, intercept_dr_write;
	uint32_t intercept_exception;
	uint32_t intercept_misc1; // 0x0c
	uint32_t intercept_misc2; // 0x10
	uint32_t intercept_misc3; // 0x14
	uint8_t reserved_018[0x3c - 0x18];
	uint16_t pause_threshold, pause_count;
	uint64_t iopm_base; // 0x40
	uint64_t msrpm_base;
	uint64_t tsc_offset; // 0x50
	uint32_t asid;
	uint8_t tlb_control;
	uint8_t reserved_05d[3];
	uint64_t vintr; // 0x60
	uint64_t interrupt_shadow;
	uint64_t exit_code; // 0x70
	uint64_t exit_info1, exit_info2;
	uint64_t exit_int_info;  // 0x88
	uint64_t nested_control; // 0x90
	uint64_t avic_bar;
	uint64_t ghcb;
	uint64_t event_inject; // 0xa8
	uint64_t nested_cr3;
	uint64_t lbr_control;
	uint64_t clean; // 0xc0
	uint64_t next_rip;
	uint8_t insn_bytes_count; // 0xd0
	uint8_t insn_bytes[15];
	uint8_t reserved_0e0[0x400 - 0xe0];
	// ---- state save area ----
	struct vmcb_seg es, cs, ss, ds, fs, gs, gdtr, ldtr, idtr, tr; // 0x400..0x49f
	uint8_t reserved_4a0[0x4cb - 0x4a0];
	uint8_t cpl;
	uint32_t reserved_4cc;
	uint64_t efer; // 0x4d0
	uint8_t reserved_4d8[0x548 - 0x4d8];
	uint64_t cr4, cr3, cr0, dr7, dr6, rflags; // 0x548..
	union {
		uint64_t rip;
		struct {
			uint32_t eip, rip_high;
		};
	};
	uint8_t reserved_580[0x5d8 - 0x580];
	uint64_t rsp; // 0x5d8
	uint64_t s_cet, ssp, isst_addr;
	uint64_t rax; // 0x5f8
	uint64_t star, lstar, cstar, sfmask, kernel_gs_base, sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t cr2; // 0x640
	uint8_t reserved_648[0x668 - 0x648];
	uint64_t g_pat; // 0x668
	uint64_t debugctl, br_from, br_to, last_excp_from, last_excp_to;
	uint8_t reserved_698[0x1000 - 0x698];
};

_Static_assert(sizeof(struct vmcb) == 4096, "VMCB is one page");
_Static_assert(offsetof(struct vmcb, pause_threshold) == 0x3c, "APM table B-1");
_Static_assert(offsetof(struct vmcb, iopm_base) == 0x40, "APM table B-1");
_Static_assert(offsetof(struct vmcb, tsc_offset) == 0x50, "APM table B-1");
_Static_assert(offsetof(struct vmcb, tlb_control) == 0x5c, "APM table B-1");
_Static_assert(offsetof(struct vmcb, vintr) == 0x60, "APM table B-1");
_Static_assert(offsetof(struct vmcb, exit_code) == 0x70, "APM table B-1");
_Static_assert(offsetof(struct vmcb, exit_int_info) == 0x88, "APM table B-1");
_Static_assert(offsetof(struct vmcb, event_inject) == 0xa8, "APM table B-1");
_Static_assert(offsetof(struct vmcb, clean) == 0xc0, "APM table B-1");
_Static_assert(offsetof(struct vmcb, insn_bytes) == 0xd1, "APM table B-1");
_Static_assert(offsetof(struct vmcb, es) == 0x400, "APM table B-2");
_Static_assert(offsetof(struct vmcb, cpl) == 0x4cb, "APM table B-2");
_Static_assert(offsetof(struct vmcb, efer) == 0x4d0, "APM table B-2");
_Static_assert(offsetof(struct vmcb, cr4) == 0x548, "APM table B-2");
_Static_assert(offsetof(struct vmcb, rip) == 0x578, "APM table B-2");
_Static_assert(offsetof(struct vmcb, rsp) == 0x5d8, "APM table B-2");
_Static_assert(offsetof(struct vmcb, rax) == 0x5f8, "APM table B-2");
_Static_assert(offsetof(struct vmcb, cr2) == 0x640, "APM table B-2");
_Static_assert(offsetof(struct vmcb, g_pat) == 0x668, "APM table B-2");

// intercept_misc1 (vector 3, offset 0x0c)
#define SVM_ICPT1_INTR BIT32(0)
#define SVM_ICPT1_NMI BIT32(1)
#define SVM_ICPT1_SMI BIT32(2)
#define SVM_ICPT1_INIT BIT32(3)
#define SVM_ICPT1_VINTR BIT32(4)
#define SVM_ICPT1_RDPMC BIT32(15)
#define SVM_ICPT1_PUSHF BIT32(16)
#define SVM_ICPT1_CPUID BIT32(18)
#define SVM_ICPT1_IRET BIT32(20)
#define SVM_ICPT1_INVD BIT32(22)
#define SVM_ICPT1_PAUSE BIT32(23)
#define SVM_ICPT1_HLT BIT32(24)
#define SVM_ICPT1_INVLPGA BIT32(26)
#define SVM_ICPT1_IOIO BIT32(27)
#define SVM_ICPT1_MSR BIT32(28)
#define SVM_ICPT1_TASK_SWITCH BIT32(29)
#define SVM_ICPT1_FERR_FREEZE BIT32(30)
#define SVM_ICPT1_SHUTDOWN BIT32(31)
// intercept_misc2 (vector 4, offset 0x10)
#define SVM_ICPT2_VMRUN BIT32(0)
#define SVM_ICPT2_VMMCALL BIT32(1)
#define SVM_ICPT2_VMLOAD BIT32(2)
#define SVM_ICPT2_VMSAVE BIT32(3)
#define SVM_ICPT2_STGI BIT32(4)
#define SVM_ICPT2_CLGI BIT32(5)
#define SVM_ICPT2_SKINIT BIT32(6)
#define SVM_ICPT2_RDTSCP BIT32(7)
#define SVM_ICPT2_WBINVD BIT32(9)
#define SVM_ICPT2_MONITOR BIT32(10)
#define SVM_ICPT2_MWAIT BIT32(11)
#define SVM_ICPT2_XSETBV BIT32(13)
#define SVM_ICPT2_RDPRU BIT32(14)
// intercept_misc3 (vector 5, offset 0x14)
#define SVM_ICPT3_INVPCID BIT32(2)

// vintr
#define SVM_VINTR_TPR_MASK UINT64_C(0xf)
#define SVM_VINTR_IRQ BIT64(8)
#define SVM_VINTR_PRIO_MAX (UINT64_C(0xf) << 16)
#define SVM_VINTR_IGN_TPR BIT64(20)
#define SVM_VINTR_MASKING BIT64(24)

#define SVM_SHADOW BIT64(0)
#define SVM_GUEST_IF BIT64(1)

#define SVM_NESTED_ENABLE BIT64(0)

// event_inject and exit_int_info (APM vol. 2, 15.20 "Event Injection")
#define SVM_EVENT_TYPE_SHIFT 8
#define SVM_EVENT_TYPE_MASK UINT64_C(7)
#define SVM_EVENT_HAS_ERROR BIT64(11)
#define SVM_EVENT_VALID BIT64(31)
enum svm_event_type { SVM_EVENT_INTR = 0, SVM_EVENT_NMI = 2, SVM_EVENT_EXCEPTION = 3, SVM_EVENT_SOFT = 4 };

enum svm_tlb_control { SVM_TLB_KEEP = 0, SVM_TLB_FLUSH_ALL = 1, SVM_TLB_FLUSH_ASID = 3 };

// Exit codes (APM vol. 2, appendix C)
// clang-format off
enum svm_exit_code {
	SVM_EXIT_CR_READ = 0x000, SVM_EXIT_CR_WRITE = 0x010, SVM_EXIT_DR_READ = 0x020, SVM_EXIT_DR_WRITE = 0x030,
	SVM_EXIT_EXCEPTION = 0x040, SVM_EXIT_INTR = 0x060, SVM_EXIT_NMI = 0x061, SVM_EXIT_SMI = 0x062,
	SVM_EXIT_INIT = 0x063, SVM_EXIT_VINTR = 0x064, SVM_EXIT_CR0_SEL_WRITE = 0x065, SVM_EXIT_IDTR_READ = 0x066,
	SVM_EXIT_TR_WRITE = 0x06d, SVM_EXIT_RDTSC = 0x06e, SVM_EXIT_RDPMC = 0x06f, SVM_EXIT_PUSHF = 0x070,
	SVM_EXIT_POPF = 0x071, SVM_EXIT_CPUID = 0x072, SVM_EXIT_RSM = 0x073, SVM_EXIT_IRET = 0x074,
	SVM_EXIT_SWINT = 0x075, SVM_EXIT_INVD = 0x076, SVM_EXIT_PAUSE = 0x077, SVM_EXIT_HLT = 0x078,
	SVM_EXIT_INVLPG = 0x079, SVM_EXIT_INVLPGA = 0x07a, SVM_EXIT_IOIO = 0x07b, SVM_EXIT_MSR = 0x07c,
	SVM_EXIT_TASK_SWITCH = 0x07d, SVM_EXIT_FERR_FREEZE = 0x07e, SVM_EXIT_SHUTDOWN = 0x07f,
	SVM_EXIT_VMRUN = 0x080, SVM_EXIT_VMMCALL = 0x081, SVM_EXIT_VMLOAD = 0x082, SVM_EXIT_VMSAVE = 0x083,
	SVM_EXIT_STGI = 0x084, SVM_EXIT_CLGI = 0x085, SVM_EXIT_SKINIT = 0x086, SVM_EXIT_RDTSCP = 0x087,
	SVM_EXIT_ICEBP = 0x088, SVM_EXIT_WBINVD = 0x089, SVM_EXIT_MONITOR = 0x08a, SVM_EXIT_MWAIT = 0x08b,
	SVM_EXIT_MWAIT_ARMED = 0x08c, SVM_EXIT_XSETBV = 0x08d, SVM_EXIT_RDPRU = 0x08e, SVM_EXIT_EFER_WRITE = 0x08f,
	SVM_EXIT_INVPCID = 0x0a2, SVM_EXIT_NPF = 0x400,
};
// clang-format on
#define SVM_EXIT_INVALID UINT64_MAX
#define SVM_EXIT_KNOWN_END 0x0a7u // behind those of instructions and events (table C-1)

// exit_info1 of IOIO (APM vol. 2, 15.10.2)
#define SVM_IOIO_IN BIT64(0)
#define SVM_IOIO_STRING BIT64(2)
#define SVM_IOIO_REP BIT64(3)
#define SVM_IOIO_SIZE_SHIFT 4 // one-hot 1, 2, 4 bytes
#define SVM_IOIO_PORT_SHIFT 16

// exit_info1 of NPF: a #PF error code, and where in the walk it was (15.25.6)
#define SVM_NPF_FINAL BIT64(32)
#define SVM_NPF_TABLE BIT64(33)

// exit_info1 of CR and DR accesses with decode assists (15.33.1)
#define SVM_CR_MOV BIT64(63)
#define SVM_CR_GPR_MASK UINT64_C(0xf)
#define SVM_INSN_BYTES_MASK 0xfu // of the count

// CPUID 8000_000A EDX (APM vol. 3, E.4.9)
#define SVM_FEATURE_NPT BIT32(0)
#define SVM_FEATURE_NRIPS BIT32(3)
#define SVM_FEATURE_FLUSH_ASID BIT32(6)
#define SVM_FEATURE_DECODE BIT32(7)
#define SVM_FEATURE_PAUSE_FILTER (BIT32(10) | BIT32(12)) // count and threshold

#define SVM_VM_CR_SVMDIS BIT64(4)
#define SVM_VM_CR_LOCK BIT64(3)
