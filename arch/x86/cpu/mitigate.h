// SPDX-License-Identifier: Apache-2.0
// Speculation mitigations: chosen once from CPUID, told in one line at boot. What a CPU can keep switched on is switched
// on; the rest is done when a CPU goes from one VM to another. Nothing is done at an exit: an exit begins on an empty
// stack and never returns past it, so no RET of ours can use a prediction that a guest left in the return stack; host
// page tables map no guest memory as executable and one VM's only (docs/DECISIONS.md).
#pragma once

#include "arch/x86/cpu/features.h"

enum mitigation {
	MITIGATE_IBRS = 1 << 0,      // SPEC_CTRL.IBRS stays set (enhanced, or AMD's always-on form)
	MITIGATE_AUTO_IBRS = 1 << 1, // EFER.AIBRSE stays set
	MITIGATE_LFENCE = 1 << 2,    // AMD: LFENCE made serialising, as guests are told
	MITIGATE_IBPB = 1 << 3,      // at a change of VM, as what follows
	MITIGATE_L1D = 1 << 4,       // flush of the L1 data cache
	MITIGATE_VERW = 1 << 5,      // clears the buffers of microarchitectural data sampling
	MITIGATE_NAMES = 6,
};

// What the choice depends on; 0 where a CPU lacks the leaf or register.
struct mitigate_facts {
	enum cpu_vendor vendor;
	uint32_t leaf7_edx, ext8_ebx, ext21_eax; // CPUID 7, 8000_0008, 8000_0021
	uint64_t arch_capabilities;
};
uint32_t mitigate_choose(const struct mitigate_facts *facts);

// Boot CPU, once: reads the facts, chooses, says so.
__cold void mitigate_init(void);
// Each CPU, the boot CPU after mitigate_init: sets what stays set.
__cold void mitigate_cpu_init(void);
// Before a CPU enters a guest of another VM than the last.
void mitigate_vm_switch(void);
