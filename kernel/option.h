// SPDX-License-Identifier: Apache-2.0
// The options of the hypervisor itself, for tests and diagnosis: words `name=value` from the boot loader's command
// line (GRUB, UEFI load options) and from the file options.txt beside bulkhead.toml. What a user configures is in
// bulkhead.toml. A word that is not known is an error, so that a typing mistake does not pass for a result.
#pragma once

#include "kernel/lib/types.h"

#define OPTION_FILE "options.txt"

struct option {
	uint32_t stress_save; // stress=save:N: save, reset and load each VM's state every N entries; 0: never
};

struct option_why {
	char text[160];
};

// Adds the words of text[0 .. bytes-1], separated by blanks, tabs and line ends, to *option; the last of a name wins.
// -ERR_INVAL: *why is a line that names the word and what is allowed; *option is undefined.
__must_check int option_parse(struct option *option, const char *text, size_t bytes, struct option_why *why);
