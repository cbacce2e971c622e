// SPDX-License-Identifier: Apache-2.0
// A triple fault: no IDT, then an exception. The judge waits for the hypervisor's report. With the word "held" the TPR
// holds an interrupt back meanwhile.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/chips.h"

void guest_main(void);
void guest_main(void) {
	struct table none = {0, 0};
	if (boot_has_word("held")) {
		lapic_enable();
		lapic_write(LAPIC_TPR, 0x60);
		lapic_self_ipi(0x51);
	}
	print("READY\n");
	lidt(&none);
	asm volatile("ud2");
	result_failure("still running");
}
