// SPDX-License-Identifier: Apache-2.0
// Counts its turns of a loop until its TSC, which goes on while others have the CPU, has come to ticks=N; then prints how
// many they were. With the word "pause", each turn is one of a loop of PAUSE.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/insn.h"
#include "tests/guest/lib/report.h"

static uint64_t number(const char *text) {
	uint64_t value = 0;
	for (; *text >= '0' && *text <= '9'; text++) value = value * 10 + (uint64_t)(*text - '0');
	return value;
}

void guest_main(void);
void guest_main(void) {
	char ticks[24];
	if (!boot_value("ticks=", ticks, sizeof ticks)) result_error("ticks?");
	uint64_t end = number(ticks), count = 0;
	bool wait = boot_has_word("pause");
	for (; rdtsc() < end; count++)
		if (wait) pause();
	print("count %lu\n", count);
	CHECK(count != 0, "over before it began");
	finish();
}
