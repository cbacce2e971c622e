// SPDX-License-Identifier: Apache-2.0
// The x86 half of a VM and of a vCPU. The first fields of struct arch_vcpu are known to enter.inc.
#pragma once

#include "arch/x86/emul/emul.h"
#include "arch/x86/guest/exit.h"
#include "arch/x86/guest/state.h"
#include "kernel/vcpu.h"
#include "kernel/vm.h"

// What the guest left behind and is delivered before its next instruction, at most one.
struct pending_exception {
	bool valid;
	struct guest_event event;
};

#define CPUID_ENTRY_MAX 64u
struct cpuid_entry {
	uint32_t leaf, subleaf;
	bool subleaf_matters;
	uint32_t eax, ebx, ecx, edx;
};
struct cpuid_model {
	uint32_t count;
	uint32_t max_basic, max_hypervisor, max_extended;
	struct cpuid_entry entry[CPUID_ENTRY_MAX];
};

struct arch_vm {
	struct cpuid_model cpuid;
	void *vendor;   // the backend's own
	bool apic_page; // VMX: the page that stands for the local APIC's is in the nested tables
};

#define FETCH_WALKS 4u
// A walk of a guest's tables for an instruction fetch, level by level. It is used again only when every
// entry it went through still reads the same, which makes it exactly a walk and costs a fifth of one.
#define FETCH_WALK_NONE UINT64_C(1)
struct fetch_walk {
	uint64_t linear_page; // or FETCH_WALK_NONE, which is no page's address
	uint64_t cr0, cr3, cr4, efer;
	uint32_t access;
	uint32_t levels;
	uint64_t at[5], entry[5]; // guest physical address and value of each entry
	uint64_t gpa_page;
};

// Instructions decoded lately, found again by their bytes.
#define INSN_CACHE_ENTRIES 8u
struct insn_cache {
	uint64_t code[CODE_BYTES / 8];
	uint8_t mode;          // enum emul_mode
	struct emul_insn insn; // length 0: none
};

#define MTRR_VAR_MAX 8u
struct guest_mtrr {
	uint64_t def_type;
	uint64_t base[MTRR_VAR_MAX], mask[MTRR_VAR_MAX];
	uint64_t fixed[11];
};

// The state components that are switched with a vCPU, as bits of XCR0; the host's CPU may lack some.
#define GUEST_XSTATE (XCR0_X87 | XCR0_SSE | XCR0_AVX | XCR0_OPMASK | XCR0_ZMM_HI256 | XCR0_HI16_ZMM)

struct arch_vcpu {
	uint64_t gpr[16];  // +0    x86 order; RSP is the backend's (ops->rsp_get)
	uint64_t enter_pa; // +128  physical address of the VMCB / VMCS
	uint64_t host_pa;  // +136  host VMCB (SVM)
	uint64_t launched; // +144  VMRESUME instead of VMLAUNCH (VMX)
	uint64_t cr2;      // +152  guest CR2 (VMX; SVM keeps it in the VMCB)
	struct vcpu *vcpu; // +160
	struct vdev *lapic;
	void *vendor; // struct svm_vcpu / vmx_vcpu
	void *block;  // the VMCB (SVM)

	struct pending_exception exception;
	bool irq_taken; // an interrupt already acknowledged, whose delivery an exit interrupted
	uint8_t irq_vector;
	bool nmi_pending;
	uint64_t cr0_cache; // CR0.CD and NW as the guest set them; hardware has them clear
	uint64_t dr[4];     // DR0..3 while another vCPU has the CPU
	uint64_t xcr0;      // as last seen

	// MSRs that no backend holds.
	uint64_t tsc_aux, tsc_adjust, misc_enable, mcg_status, pat, hwcr;
	uint64_t system_time_msr, wall_clock_msr; // KVM clock, as written
	uint32_t system_time_version;
	struct guest_mtrr mtrr;
	struct fetch_walk fetch[FETCH_WALKS]; // by linear page
	struct insn_cache insn_cache[INSN_CACHE_ENTRIES];
	void *fpu; // XSAVE area, 64-byte aligned, features.xsave_bytes
};

_Static_assert(offsetof(struct arch_vcpu, enter_pa) == 128, "known to enter.inc");
_Static_assert(offsetof(struct arch_vcpu, host_pa) == 136, "known to enter.inc");
_Static_assert(offsetof(struct arch_vcpu, launched) == 144, "known to enter.inc");
_Static_assert(offsetof(struct arch_vcpu, cr2) == 152, "known to enter.inc");
_Static_assert(offsetof(struct arch_vcpu, vcpu) == 160, "known to enter.inc");
