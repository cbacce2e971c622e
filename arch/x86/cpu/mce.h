// SPDX-License-Identifier: Apache-2.0
// Machine checks (SDM vol. 3, ch. 15 "Machine-Check Architecture"; APM vol. 2, ch. 9): the CPU's error banks, read,
// judged, told and cleared. What follows is the caller's: a guest's exit (arch/x86/guest/exit.c) or a panic.
#pragma once

#include "kernel/lib/types.h"

// What the errors leave of the context that they interrupted; a later one is worse.
enum mce_verdict {
	MCE_GO_ON, // corrected, or nothing that was used: the context is whole
	MCE_STOP,  // the interrupted program cannot go on; the CPU can
	MCE_FATAL, // the CPU's own state, or an error nobody can place
};

struct mce_bank {
	uint32_t number;
	uint64_t status, address, misc; // the last two where `status` says that they are valid
};

// Of one valid bank; `cap` is MCG_CAP.
enum mce_verdict mce_judge(uint64_t cap, uint64_t status);
// One line: the bank, what kind of error, its flags by name, the valid registers. At least 200 bytes keep it whole.
void mce_describe(const struct mce_bank *bank, char *text, size_t bytes);

// Turns this CPU's banks on; what they hold from before the start is logged and cleared. Once a CPU, before guests.
void mce_cpu_init(void);
// Logs this CPU's valid banks, clears them and MCG_STATUS.MCIP, and returns the worst verdict; MCE_GO_ON at best when
// MCG_STATUS.RIPV is set. Before mce_cpu_init there are no banks.
__cold enum mce_verdict mce_take(void);
