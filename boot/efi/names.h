// SPDX-License-Identifier: Apache-2.0
// Which files of the bulkhead folder the loader reads: those whose path stands in bulkhead.toml as a whole
// string. That needs no knowledge of keys, so the loader never has to learn a new one; what a key means and
// whether its file is there is judged once, by the kernel's configuration parser.
#pragma once

#include "kernel/abi/bootinfo.h"
#include "kernel/lib/types.h"

struct names {
	const char *at, *end; // what is left of the text
};

// The text stays with the caller and outlives *names.
void names_init(struct names *names, const void *text, size_t bytes);
// The next string of the text that can be a file's path: relative, '/' separators, no empty, "." or ".."
// part, no control character, quote, '\', '*' or '?', shorter than BOOT_NAME_BYTES. False at the end.
// Strings with escapes are passed over, and a string never goes past its line.
bool names_next(struct names *names, char name[BOOT_NAME_BYTES]);

// UTF-8 to the UCS-2 path `prefix` + name with '\' separators, terminated. False when it does not fit in
// `count` units or is not UTF-8 of the basic multilingual plane.
bool names_path(uint16_t *path, size_t count, const char *prefix, const char *name);
