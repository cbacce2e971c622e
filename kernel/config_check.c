// SPDX-License-Identifier: Apache-2.0
// Stages two and three of the configuration: the files it names, and the machine. The judgement about a
// kernel is the loader's own: every VM's load is gone through against its memory map, without writing.
#include "kernel/config.h"

#include "kernel/abi/bootinfo.h"
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
	int rc = check->files->find(check->files->context, path, file);

	if (rc == 0) return true;
	toml_error(check->config->file, check->report, vm->at[key],
	           rc == -ERR_NOENT ? "%s file \"%s\" is missing: paths are relative to the configuration file"
	                            : "%s file \"%s\" cannot be read",
	           config_tables[1].keys[key].name, path);
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

int config_check_machine(const struct config *config, const struct config_facts *facts,
                         struct toml_report *report) {
	unsigned before = report->errors;
	uint64_t used = 0;

	for (uint32_t i = 0; i < config->vm_count; i++) {
		const struct config_vm *vm = &config->vm[i];
		size_t beyond = vm->at[CONFIG_VM_CPUS].line == 0
		                    ? BITMAP_NONE
		                    : bitmap_next_set(vm->cpus, CONFIG_CPU_MAX, facts->cpus);

		if (beyond != BITMAP_NONE)
			toml_error(config->file, report, vm->at[CONFIG_VM_CPUS],
			           "\"cpus\" has CPU %zu: this machine has %u, numbered from 0", beyond, facts->cpus);
		if (vm->memory_bytes > facts->memory_bytes - used) {
			toml_error(config->file, report, vm->at[CONFIG_VM_MEMORY],
			           "\"memory\" %lu MiB is beyond the machine's: %lu MiB of %lu MiB for VMs are left",
			           vm->memory_bytes / MIB, (facts->memory_bytes - used) / MIB, facts->memory_bytes / MIB);
			continue; // the others are judged without it
		}
		used += vm->memory_bytes;
	}
	return report->errors == before ? 0 : -ERR_FORMAT;
}
