// SPDX-License-Identifier: Apache-2.0
// kernel/config: defaults, positions, full tables, and the checks of files and machine as the boot sees them
// (files found by a callback). The error texts are tests/system/test_config_toml.py's.
#include "tests/unit/support.h"

#include "kernel/config.h"
#include "kernel/lib/err.h"

static char lines[16][512];
static unsigned line_count;
static struct toml_report report;
static struct config config;

static void keep_line(void *context __unused_arg, const char *text) {
	if (line_count < array_count(lines)) snprintf(lines[line_count], sizeof lines[0], "%s", text);
	line_count++;
}

static int setup(void **state __unused_arg) {
	line_count = 0;
	report = (struct toml_report){.line = keep_line};
	return 0;
}

static int parse(const char *text) { return config_parse(&config, "f", text, strlen(text), &report); }

static unsigned cpu_count(const struct config_vm *vm) {
	unsigned count = 0;
	for (size_t i = 0; i < CONFIG_CPU_MAX; i++) count += bitmap_test(vm->cpus, i);
	return count;
}

static void parse_minimal_has_defaults(void **state __unused_arg) {
	assert_int_equal(parse("[[vm]]\nname='a'\nmemory='2M'\nkernel='k'"), 0);
	assert_int_equal(config.machine.console, CONFIG_CONSOLE_SERIAL);
	assert_int_equal(config.machine.on_idle, CONFIG_IDLE_POWEROFF);
	assert_int_equal(config.machine.debug_exit, CONFIG_NO_PORT);
	assert_int_equal(config.vm_count, 1);
	const struct config_vm *vm = &config.vm[0];
	assert_int_equal(vm->memory_bytes, 2 * MIB);
	assert_int_equal(vm->vcpus, 1);
	assert_int_equal(vm->on_crash, CONFIG_CRASH_STOP);
	assert_int_equal(vm->debug_exit, CONFIG_NO_PORT);
	assert_string_equal(vm->cmdline, "");
	assert_string_equal(vm->initrd, "");
	assert_int_equal(cpu_count(vm), CONFIG_CPU_MAX);
	assert_int_equal(vm->at[CONFIG_VM_CPUS].line, 0);
	assert_int_equal(vm->at[CONFIG_VM_VCPUS].line, 0);
	assert_int_equal(vm->table.line, 1);
	assert_int_equal(vm->weight, 100);
	assert_int_equal(vm->priority, 0);
	assert_int_equal(vm->period_us, 0);
	assert_int_equal(vm->budget_us, 0);
	for (unsigned i = 0; i < CONFIG_CPU_MAX; i++) assert_int_equal(config.policy[i], CONFIG_POLICY_FAIR);
}

static void parse_whole_fills_every_field(void **state __unused_arg) {
	assert_int_equal(parse("[[vm]]\nname='a'\nvcpus=2\ncpus=[3,64]\nmemory='1G'\nkernel='d/k'\ninitrd='i'\n"
	                       "cmdline='c d'\ndebug_exit=0xf4\non_crash='halt-machine'\n"
	                       "weight=7\npriority=9\nperiod=2000\nbudget=150\n"
	                       "[machine]\nconsole=['screen','serial']\non_idle='halt'\ndebug_exit=0xffff\n"),
	                 0);
	const struct config_vm *vm = &config.vm[0];
	assert_string_equal(vm->name, "a");
	assert_string_equal(vm->kernel, "d/k");
	assert_string_equal(vm->initrd, "i");
	assert_string_equal(vm->cmdline, "c d");
	assert_int_equal(vm->vcpus, 2);
	assert_int_equal(vm->memory_bytes, GIB);
	assert_int_equal(vm->debug_exit, 0xf4);
	assert_int_equal(vm->on_crash, CONFIG_CRASH_HALT_MACHINE);
	assert_true(bitmap_test(vm->cpus, 3) && bitmap_test(vm->cpus, 64));
	assert_int_equal(cpu_count(vm), 2);
	assert_int_equal(vm->weight, 7);
	assert_int_equal(vm->priority, 9);
	assert_int_equal(vm->period_us, 2000);
	assert_int_equal(vm->budget_us, 150);
	assert_int_equal(vm->at[CONFIG_VM_KERNEL].line, 6);
	assert_int_equal(vm->at[CONFIG_VM_KERNEL].column, 8);
	assert_int_equal(config.machine.console, CONFIG_CONSOLE_SERIAL | CONFIG_CONSOLE_SCREEN);
	assert_int_equal(config.machine.on_idle, CONFIG_IDLE_HALT);
	assert_int_equal(config.machine.debug_exit, 0xffff);
}

static void parse_cpus_with_their_policies(void **state __unused_arg) {
	assert_int_equal(parse("[[cpu]]\ncpus=[1,200]\npolicy='dedicated'\n[[cpu]]\ncpus=[3]\npolicy='fixed'\n"
	                       "[[vm]]\nname='a'\nmemory='2M'\nkernel='k'\n"
	                       "[[vm]]\nname='b'\nmemory='2M'\nkernel='k'\ncpus=[1]\n"),
	                 0);
	assert_int_equal(config.policy[0], CONFIG_POLICY_FAIR);
	assert_int_equal(config.policy[1], CONFIG_POLICY_DEDICATED);
	assert_int_equal(config.policy[200], CONFIG_POLICY_DEDICATED);
	assert_int_equal(config.policy[3], CONFIG_POLICY_FIXED);
	assert_int_equal(cpu_count(&config.vm[0]), CONFIG_CPU_MAX - 2); // not the dedicated ones
	assert_int_equal(cpu_count(&config.vm[1]), 1);
}

// As many VMs and as long a file as there may be: the pool of strings is never the limit.
static void parse_largest_file_fits(void **state __unused_arg) {
	static char text[CONFIG_FILE_BYTES + 1];
	size_t used = 0;

	for (unsigned i = 0; i < CONFIG_VM_MAX; i++)
		used += (size_t)snprintf(text + used, sizeof text - used,
		                         "[[vm]]\nname='%u'\nmemory='1M'\nkernel='k'\n", i);
	used += (size_t)snprintf(text + used, sizeof text - used, "cmdline='%02000d'\n", 0);
	while (used < CONFIG_FILE_BYTES) text[used++] = '#';
	assert_int_equal(config_parse(&config, "f", text, used, &report), 0);
	assert_int_equal(config.vm_count, CONFIG_VM_MAX);
	assert_string_equal(config.vm[63].name, "63");
	assert_int_equal(strlen(config.vm[63].cmdline), 2000);
	assert_int_equal(config_parse(&config, "f", text, used + 1, &report), -ERR_FORMAT);
}

static void parse_errors_are_counted(void **state __unused_arg) {
	assert_int_equal(parse("[[vm]]\nname=1\nmemory='2M'\nkernel='k'\nvcpus=0"), -ERR_FORMAT);
	assert_int_equal(line_count, 2);
	assert_int_equal(report.errors, 2);
	assert_string_equal(lines[1], "f:5:7: \"vcpus\" is 0: 1 to 64 are allowed");
}

static int find_flat(void *context __unused_arg, const char *path, struct source *file, const char **why) {
	*why = "broken";
	if (strcmp(path, "bad") == 0) return -ERR_PERM;
	if (strcmp(path, "k") != 0) return -ERR_NOENT;
	*file = source_memory("\xf4", 1);
	return 0;
}
static const struct config_files files = {.find = find_flat};

static void check_files_missing_is_named_at_its_value(void **state __unused_arg) {
	assert_int_equal(
	    parse("[[vm]]\nname='a'\nmemory='2M'\nkernel='k'\n[[vm]]\nname='b'\nmemory='2M'\nkernel='x'"), 0);
	assert_int_equal(config_check_files(&config, &files, &report), -ERR_FORMAT);
	assert_int_equal(line_count, 1);
	assert_string_equal(lines[0],
	                    "f:8:8: kernel file \"x\" is missing: paths are relative to the configuration file");
	config.vm_count = 1;
	assert_int_equal(config_check_files(&config, &files, &report), 0);
}

static void check_files_unreadable_is_told_with_its_reason(void **state __unused_arg) {
	assert_int_equal(parse("[[vm]]\nname='a'\nmemory='2M'\nkernel='bad'"), 0);
	assert_int_equal(config_check_files(&config, &files, &report), -ERR_FORMAT);
	assert_int_equal(line_count, 1);
	assert_string_equal(lines[0], "f:4:8: kernel file \"bad\" cannot be read: broken");
}

static void check_version_limits_are_named_at_their_values(void **state __unused_arg) {
	assert_int_equal(parse("[[vm]]\nname='a'\nmemory='2M'\nkernel='k'\nvcpus=1\ndebug_exit=0xf4"), 0);
	assert_int_equal(config_check_version(&config, &report), 0);
	assert_int_equal(parse("[[vm]]\nname='a'\nmemory='2M'\nkernel='k'\nvcpus=2\ncpus=[1]\ndebug_exit=0x3f6\n"
	                       "[[vm]]\nname='b'\nmemory='2M'\nkernel='k'"),
	                 0);
	assert_int_equal(config_check_version(&config, &report), -ERR_FORMAT);
	assert_int_equal(line_count, 2);
	assert_string_equal(lines[0], "f:5:7: \"vcpus\" is 2: this version runs a VM with one vCPU");
	assert_string_equal(lines[1],
	                    "f:7:12: \"debug_exit\" takes ports 1014 to 1017, and the serial port of every guest "
	                    "has 1016 to 1023: 0xf4 is free");
}

static void check_machine_edges(void **state __unused_arg) {
	struct config_facts facts = {.cpus = 2, .memory_bytes = 4 * MIB};

	assert_int_equal(
	    parse(
	        "[[vm]]\nname='a'\nmemory='2M'\nkernel='k'\ncpus=[1]\n[[vm]]\nname='b'\nmemory='2M'\nkernel='k'"),
	    0);
	assert_int_equal(config_check_machine(&config, &facts, &report), 0);
	facts.memory_bytes--;
	assert_int_equal(config_check_machine(&config, &facts, &report), -ERR_FORMAT);
	facts = (struct config_facts){.cpus = 1, .memory_bytes = 4 * MIB};
	assert_int_equal(config_check_machine(&config, &facts, &report), -ERR_FORMAT);
	assert_string_equal(lines[1],
	                    "f:5:6: \"cpus\" has CPU 1, but this machine's last is CPU 0 (the first is CPU 0)");
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup(parse_minimal_has_defaults, setup),
	    cmocka_unit_test_setup(parse_whole_fills_every_field, setup),
	    cmocka_unit_test_setup(parse_cpus_with_their_policies, setup),
	    cmocka_unit_test_setup(parse_largest_file_fits, setup),
	    cmocka_unit_test_setup(parse_errors_are_counted, setup),
	    cmocka_unit_test_setup(check_files_missing_is_named_at_its_value, setup),
	    cmocka_unit_test_setup(check_files_unreadable_is_told_with_its_reason, setup),
	    cmocka_unit_test_setup(check_version_limits_are_named_at_their_values, setup),
	    cmocka_unit_test_setup(check_machine_edges, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
