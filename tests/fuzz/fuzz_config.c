// SPDX-License-Identifier: Apache-2.0
// The configuration parser over arbitrary bytes: it accepts or reports, and what it accepts keeps every limit
// that the rest of the hypervisor relies on.
#include <stdio.h>
#include <string.h>

#include "kernel/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len);

static void count_line(void *context, const char *text) {
	if (text[0] == 0 || strchr(text, '\n') != NULL) __builtin_trap();
	++*(unsigned *)context;
}

static void require(bool condition) {
	if (!condition) __builtin_trap();
}

static void check_vm(const struct config_vm *vm) {
	require(strlen(vm->name) >= 1 && strlen(vm->name) <= CONFIG_NAME_MAX);
	require(strlen(vm->kernel) >= 1 && strlen(vm->kernel) <= CONFIG_PATH_MAX);
	require(strlen(vm->initrd) <= CONFIG_PATH_MAX && strlen(vm->cmdline) <= CONFIG_CMDLINE_MAX);
	require(vm->kernel[0] != '/' && strstr(vm->kernel, "..") != vm->kernel + strlen(vm->kernel) - 2);
	require(vm->vcpus >= 1 && vm->vcpus <= CONFIG_VCPU_MAX);
	require(vm->memory_bytes >= MIB && vm->memory_bytes <= 1024 * GIB && vm->memory_bytes % (4 * KIB) == 0);
	require(vm->debug_exit >= CONFIG_NO_PORT && vm->debug_exit <= 0xffff);
	require(vm->on_crash <= CONFIG_CRASH_HALT_MACHINE);
	require(bitmap_next_set(vm->cpus, CONFIG_CPU_MAX, 0) != BITMAP_NONE);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t len) {
	static struct config config;
	unsigned lines = 0;
	struct toml_report report = {.line = count_line, .context = &lines};
	int rc = config_parse(&config, "f.toml", data, len, &report);

	require((rc == 0) == (lines == 0) && report.errors == lines);
	if (rc != 0) return 0;
	require(config.vm_count >= 1 && config.vm_count <= CONFIG_VM_MAX);
	require(config.machine.console >= 1 && config.machine.console <= 3);
	require(config.machine.on_idle <= CONFIG_IDLE_HALT);
	for (uint32_t i = 0; i < config.vm_count; i++) check_vm(&config.vm[i]);

	const struct config_facts facts = {.cpus = 2, .memory_bytes = 128 * MIB};
	rc = config_check_machine(&config, &facts, &report);
	require((rc == 0) == (lines == 0));
	return 0;
}
