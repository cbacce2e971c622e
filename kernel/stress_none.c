// SPDX-License-Identifier: Apache-2.0
// Stands for stress.c in the shipped image: a stress option is refused in words, so that no test believes it was heard.
// Without a caller, what only serves those options is left out by the linker.
#include "kernel/lib/err.h"
#include "kernel/lib/log.h"
#include "kernel/stress.h"

int stress_start(const struct vm *vm __unused_arg, const struct option *option) {
	if (option->stress_fault == OPTION_FAULT_NONE && option->stress_entry == 0 && option->stress_save == 0)
		return 0;
	log_error("stress", "this image has no stress options: use bulkhead-stress.elf");
	return -ERR_UNSUP;
}
