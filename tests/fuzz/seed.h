// SPDX-License-Identifier: Apache-2.0
// Seeds that a target makes with the code it tests, so that they are never of an old version: written from
// LLVMFuzzerInitialize into the first folder of the command line, the one that tests/fuzz/run.py lets grow, before
// libFuzzer reads it.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

// Does nothing when the command line names no folder (one input is being repeated, for instance).
static inline void seed_write(int argc, char **argv, const char *name, const void *bytes, size_t len) {
	char path[4096];
	int i = 1;
	while (i < argc && argv[i][0] == '-') i++;
	if (i >= argc || snprintf(path, sizeof path, "%s/%s", argv[i], name) >= (int)sizeof path) return;
	FILE *file = fopen(path, "wb");
	if (file == NULL) return;
	if (fwrite(bytes, 1, len, file) != len || fclose(file) != 0) __builtin_trap();
}
