// SPDX-License-Identifier: Apache-2.0
// Back to real mode: copies module 0 (flat real-mode code) to 0x7C00 and starts it there, the way of
// SDM vol. 3, 9.9.2 "Switching Back to Real-Address Mode". The module reports the result.
#include "tests/guest/lib/boot.h"
#include "tests/guest/lib/trap.h"

#define LOAD_ADDRESS 0x7C00u
#define TRAMPOLINE 0x600u
#define MODULE_MAX 0x10000u

extern const uint8_t real_start[], real_end[];

void guest_main(void);
void guest_main(void) {
	const uint8_t *image;
	uint32_t bytes;
	if (!boot_module(&image, &bytes)) result_error("no module");
	if (bytes == 0 || bytes > MODULE_MAX) result_error("a module of %u bytes", bytes);
	subtest("back to real mode");
	__builtin_memmove((void *)LOAD_ADDRESS, image, bytes);
	__builtin_memmove((void *)TRAMPOLINE, real_start, (size_t)(real_end - real_start));
	struct table vectors = {0x3FF, 0};
	lidt(&vectors);
	((void (*)(void))TRAMPOLINE)();
	result_failure("came back");
}
