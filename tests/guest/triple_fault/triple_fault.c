// SPDX-License-Identifier: Apache-2.0
// A triple fault: no IDT, then an exception. The judge waits for the hypervisor's report.
#include "tests/guest/lib/trap.h"

void guest_main(void);
void guest_main(void) {
	struct table none = {0, 0};
	print("READY\n");
	lidt(&none);
	asm volatile("ud2");
	result_failure("still running");
}
