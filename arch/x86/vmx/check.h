// SPDX-License-Identifier: Apache-2.0
// The checks that a VM entry makes on the guest's state, in software (SDM vol. 3, 26.3.1 "Checks on the Guest
// State Area" and 26.2.1.3): the CPU only says that one of them failed. Pure functions, host and target.
#pragma once

#include "arch/x86/guest/state.h"

// What the rules are about, as the VMCS has it; this backend's controls are implied (unrestricted guest, EPT,
// virtual NMIs, PAT, EFER and debug controls loaded).
struct vmx_entry_state {
	struct guest_segment seg[SEG_COUNT];
	uint64_t gdt_base, idt_base;
	uint32_t gdt_limit, idt_limit;
	uint64_t cr0, cr3, cr4, efer, pat, dr7, debugctl;
	uint64_t rip, rflags, pending_debug, sysenter_esp, sysenter_eip, link_pointer;
	uint64_t pdpte[4];
	uint32_t interruptibility, activity;
	uint32_t entry_controls, intr_info, intr_insn_len;
	// The CPU.
	uint64_t cr0_fixed, cr4_fixed; // bits that must be 1
	uint8_t phys_bits, virt_bits;
};

#define VMX_CHECK_MAX 16u
// Fills why[] with the broken rules, at most VMX_CHECK_MAX; returns how many. 0: the CPU should take the state.
unsigned vmx_entry_check(const struct vmx_entry_state *s, const char *why[static VMX_CHECK_MAX]);
