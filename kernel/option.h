// SPDX-License-Identifier: Apache-2.0
// The options of the hypervisor itself, for tests and diagnosis: words `name=value` from the boot loader's command
// line (GRUB, UEFI load options) and from the file options.txt beside bulkhead.toml. What a user configures is in
// bulkhead.toml; tools/bulkhead-check judges both. A word that is not known is an error, so that a typing mistake does not pass for a result.
#pragma once

#include "kernel/lib/types.h"

#define OPTION_FILE "options.txt"
#define OPTION_FILE_BYTES 1024u // its longest

// A bug of the hypervisor made on purpose, to try the panic; or the PIT's ticks as NMIs, which it must live with.
enum option_fault {
	OPTION_FAULT_NONE,
	OPTION_FAULT_UD,
	OPTION_FAULT_PF,
	OPTION_FAULT_STACK,
	OPTION_FAULT_ASSERT,
	OPTION_FAULT_NMI,
	OPTION_FAULT_ENTRY // of the VM: a state that the CPU does not enter
};

struct option {
	uint32_t stress_fault; // stress=fault:KIND: enum option_fault, at the tenth entry
	uint64_t features_off; // off=NAME,NAME...: bits of arch_feature_bit
	uint32_t max_run_us;   // max_run_us=N: the longest stay in a guest without an exit; 0: no bound
	uint32_t stress_entry; // stress=entry:SEED,N: N entries with a broken state, judged by the CPU and by us
	uint32_t stress_entry_seed;
	uint32_t stress_save; // stress=save:N: save, reset and load each VM's state every N entries; 0: never
};

struct option_why {
	char text[600];
};

// Adds the words of text[0 .. bytes-1], separated by blanks, tabs and line ends, to *option; the last of a name wins.
// -ERR_INVAL: *why is a line that names the word and what is allowed, with `file:line:column: ` before it unless file
// is NULL (column counts bytes); *option is undefined.
__must_check int option_parse(struct option *option, const char *file, const char *text, size_t bytes,
                              struct option_why *why);
