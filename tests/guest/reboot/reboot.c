// SPDX-License-Identifier: Apache-2.0
// Resets the machine by port 0xCF9 (how=cf9), the keyboard controller (how=keyboard) or port 0x92 (how=fast);
// the judge waits for the second READY.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/chips.h"

#define WAIT_US 100000u

void guest_main(void);
void guest_main(void) {
	char how[16];
	if (!boot_value("how=", how, sizeof how)) result_error("how?");
	print("READY\n");
	if (text_equal(how, "cf9")) {
		out8(0xCF9, 2);
		out8(0xCF9, 6);
	} else if (text_equal(how, "keyboard")) {
		out8(0x64, 0xFE);
	} else if (text_equal(how, "fast")) {
		out8(0x92, (uint8_t)(in8(0x92) & ~1));
		out8(0x92, in8(0x92) | 1);
	}
	delay_us(WAIT_US);
	result_failure("no reset by %s", how);
}
