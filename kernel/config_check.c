// SPDX-License-Identifier: Apache-2.0
// Stages two and three of the configuration: the files it names, and the machine. The judgement about a
// kernel is the loader's own: every VM's load is gone through against its memory map, without writing.
#include "kernel/config.h"

#include "kernel/abi/bootinfo.h"
#include "kernel/guestmap.h"
#include "kernel/lib/err.h"
#include "kernel/lib/string.h"
#include "kernel/load/load.h"

_Static_assert(CONFIG_PATH_MAX + 1 == BOOT_NAME_BYTES, "a path is handed over whole by the boot loaders");

struct check {
	const struct config *config;
	const struct config_files *files;
	struct toml_report *report;
};

static int drop_write(void *context __unused_arg, gpa_t at __unused_arg, const void *bytes __unused_arg,
                      size_t len __unused_arg) {
	return 0;
}
static int drop_zero(void *context __unused_arg, gpa_t at __unused_arg, uint64_t len __unused_arg) {
	return 0;
}
static int drop_copy(void *context __unused_arg, gpa_t at __unused_arg,
                     const struct source *file __unused_arg, uint64_t offset __unused_arg,
                     uint64_t len __unused_arg) {
	return 0;
}
static const struct load_ops drop_ops = {.write = drop_write, .zero = drop_zero, .copy = drop_copy};

// False after a report.
static bool find(const struct check *check, const struct config_vm *vm, enum config_vm_key key,
                 const char *path, struct source *file) {
	const char *why = "";
	int rc = check->files->find(check->files->context, path, file, &why);

	if (rc == 0) return true;
	if (rc == -ERR_NOENT) why = "paths are relative to the configuration file";
	toml_error(check->config->file, check->report, vm->at[key], "%s file \"%s\" %s: %s",
	           config_tables[1].keys[key].name, path, rc == -ERR_NOENT ? "is missing" : "cannot be read",
	           why);
	return false;
}

static void blame(const struct check *check, const struct config_vm *vm, const struct load_why *why) {
	const char *file = check->config->file;

	switch (why->blame) {
	case LOAD_BLAME_KERNEL:
		toml_error(file, check->report, vm->at[CONFIG_VM_KERNEL], "kernel \"%s\" %s", vm->kernel, why->text);
		return;
	case LOAD_BLAME_INITRD:
		toml_error(file, check->report, vm->at[CONFIG_VM_INITRD], "initrd \"%s\" %s", vm->initrd, why->text);
		return;
	case LOAD_BLAME_CMDLINE:
		toml_error(file, check->report, vm->at[CONFIG_VM_CMDLINE], "\"cmdline\" %s", why->text);
		return;
	case LOAD_BLAME_MEMORY:
		toml_error(file, check->report, vm->at[CONFIG_VM_MEMORY],
		           "\"memory\" is too small for kernel \"%s\": %s", vm->kernel, why->text);
		return;
	}
}

static void check_vm(const struct check *check, const struct config_vm *vm) {
	struct load_range map[LOAD_MAP_STANDARD_MAX];
	struct source kernel, initrd;
	struct load_entry entry;
	struct load_why why;
	bool found = find(check, vm, CONFIG_VM_KERNEL, vm->kernel, &kernel);

	if (vm->initrd[0] != 0) found &= find(check, vm, CONFIG_VM_INITRD, vm->initrd, &initrd);
	if (!found) return;
	const struct load_request request = {.kernel = &kernel,
	                                     .initrd = vm->initrd[0] != 0 ? &initrd : NULL,
	                                     .initrd_name = vm->initrd,
	                                     .cmdline = vm->cmdline,
	                                     .map = map,
	                                     .map_count = load_map_standard(vm->memory_bytes, map),
	                                     .ops = &drop_ops};

	if (load_guest(&request, &entry, &why) != 0) blame(check, vm, &why);
}

int config_check_files(const struct config *config, const struct config_files *files,
                       struct toml_report *report) {
	const struct check check = {config, files, report};
	unsigned before = report->errors;

	for (uint32_t i = 0; i < config->vm_count; i++) check_vm(&check, &config->vm[i]);
	return report->errors == before ? 0 : -ERR_FORMAT;
}

// The board's ports (docs/GUEST.md); a debug_exit takes four.
#define DEBUG_EXIT_PORTS 4
static const struct {
	int32_t first, last;
	const char *owner;
} board_ports[] = {
    {0x20, 0x21, "the PIC"},
    {GUEST_PIT_PORT, GUEST_PIT_PORT + 3, "the PIT"},
    {GUEST_KBC_DATA_PORT, GUEST_KBC_COMMAND_PORT, "the keyboard controller"},
    {GUEST_RTC_PORT, GUEST_RTC_PORT + 1, "the RTC"},
    {GUEST_FAST_A20_PORT, GUEST_FAST_A20_PORT, "port 92"},
    {0xa0, 0xa1, "the PIC"},
    {GUEST_COM1_PORT, GUEST_COM1_PORT + 7, "the serial port"},
    {0x4d0, 0x4d1, "the PIC"},
    {GUEST_PM_PORT, GUEST_PM_PORT + GUEST_PM_BYTES - 1, "ACPI power management"},
    {GUEST_PCI_ADDRESS_PORT, GUEST_PCI_DATA_PORT + 3, "PCI configuration"},
};

static void check_debug_exit(const struct config *config, const struct config_vm *vm,
                             struct toml_report *report) {
	int32_t port = vm->debug_exit;
	if (port == CONFIG_NO_PORT) return;
	for (unsigned i = 0; i < array_count(board_ports); i++)
		if (port <= board_ports[i].last && port + DEBUG_EXIT_PORTS > board_ports[i].first)
			toml_error(
			    config->file, report, vm->at[CONFIG_VM_DEBUG_EXIT],
			    "\"debug_exit\" takes ports %d to %d, and %s of every guest has %d to %d: 0xf4 is free", port,
			    port + DEBUG_EXIT_PORTS - 1, board_ports[i].owner, board_ports[i].first, board_ports[i].last);
}

int config_check_version(const struct config *config, struct toml_report *report) {
	unsigned before = report->errors;

	for (uint32_t i = 0; i < config->vm_count; i++) {
		const struct config_vm *vm = &config->vm[i];

		if (vm->vcpus > 1)
			toml_error(config->file, report, vm->at[CONFIG_VM_VCPUS],
			           "\"vcpus\" is %u: this version runs a VM with one vCPU", vm->vcpus);
		check_debug_exit(config, vm, report);
	}
	config_check_room(config, CONFIG_CPU_MAX, report);
	return report->errors == before ? 0 : -ERR_FORMAT;
}

static void check_cpus_exist(const struct config *config, const uint64_t *cpus, struct toml_at at,
                             const struct config_facts *facts, struct toml_report *report) {
	size_t beyond = at.line == 0 ? BITMAP_NONE : bitmap_next_set(cpus, CONFIG_CPU_MAX, facts->cpus);
	if (beyond != BITMAP_NONE)
		toml_error(config->file, report, at,
		           "\"cpus\" has CPU %zu, but this machine's last is CPU %u (the first is CPU 0)", beyond,
		           facts->cpus - 1);
}

int config_check_machine(const struct config *config, const struct config_facts *facts,
                         struct toml_report *report) {
	unsigned before = report->errors;
	uint64_t used = 0;

	for (uint32_t i = 0; i < config->vm_count; i++) {
		const struct config_vm *vm = &config->vm[i];
		check_cpus_exist(config, vm->cpus, vm->at[CONFIG_VM_CPUS], facts, report);
		if (vm->memory_bytes > facts->memory_bytes - used) {
			toml_error(
			    config->file, report, vm->at[CONFIG_VM_MEMORY],
			    "\"memory\" is %lu MiB, but of the %lu MiB that this machine has for VMs %lu MiB are left",
			    (vm->memory_bytes + MIB - 1) / MIB, facts->memory_bytes / MIB,
			    (facts->memory_bytes - used) / MIB);
			continue; // the others are judged without it
		}
		used += vm->memory_bytes;
	}
	for (uint32_t i = 0; i < config->cpu_count; i++)
		check_cpus_exist(config, config->cpu[i].cpus, config->cpu[i].at[CONFIG_CPU_CPUS], facts, report);
	if (report->errors == before) config_check_room(config, facts->cpus, report);
	return report->errors == before ? 0 : -ERR_FORMAT;
}
