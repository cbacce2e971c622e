// SPDX-License-Identifier: Apache-2.0
// The hypervisor's own options over arbitrary bytes: taken, or refused with one line that names the place; what is
// taken keeps its limits, and means the same when it is read once more.
#include <stdlib.h>
#include <string.h>

#include "arch/x86/guest/feature.h"
#include "kernel/arch.h"
#include "kernel/lib/bits.h"
#include "kernel/option.h"
#include "tests/fuzz/seed.h"

static void require(bool condition) {
	if (!condition) __builtin_trap();
}

// One of each kind, with every feature's name.
int LLVMFuzzerInitialize(int *argc, char ***argv) {
	char text[1024] = "stress=save:250 stress=fault:pf\noff=";
	size_t len = strlen(text);
	arch_feature_names(text + len, sizeof text - len);
	for (char *c = text + len; *c != 0; c++)
		if (*c == ' ') *c = ',';
	struct option option = {0};
	struct option_why why;
	require(option_parse(&option, NULL, text, strlen(text), &why) == 0);
	require(option.features_off == MASK64(FEATURE_COUNT - 1, 0));
	seed_write(*argc, *argv, "every", text, strlen(text));
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
	struct option first = {0}, second;
	struct option_why why, plain;
	// Exactly as long as it says, so that a read past the end is seen.
	char *text = malloc(len + 1);
	memcpy(text, data, len);
	char *exact = realloc(text, len > 0 ? len : 1);
	int err = option_parse(&first, "options.txt", exact, len, &why);
	second = first;
	if (err == 0) {
		require(first.stress_fault <= OPTION_FAULT_ASSERT && first.stress_save <= 1000000000);
		require((first.features_off & ~MASK64(FEATURE_COUNT - 1, 0)) == 0);
		require(option_parse(&second, NULL, exact, len, &plain) == 0);
		require(memcmp(&first, &second, sizeof first) == 0);
	} else {
		require(option_parse(&second, NULL, exact, len, &plain) == err);
		require(memchr(why.text, 0, sizeof why.text) != NULL &&
		        memchr(plain.text, 0, sizeof plain.text) != NULL);
		require(strncmp(why.text, "options.txt:", 12) == 0);
		// The same words behind the place, as far as they fit.
		size_t shown = strlen(why.text), whole = strlen(plain.text);
		const char *line = strstr(why.text, ": ") + 2;
		require(strncmp(line, plain.text, strlen(line)) == 0);
		require(strlen(line) == whole || shown == sizeof why.text - 1);
	}
	free(exact);
	return 0;
}
