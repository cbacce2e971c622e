// SPDX-License-Identifier: Apache-2.0
// The grammar: every table and key with its type, limits, default and meaning. The parser, the defaults and
// docs/CONFIG.md (bulkhead-check --keys) all come from here.
#include "kernel/config.h"

static const char *const console_choices[] = {"serial", "screen", NULL};
static const char *const idle_choices[] = {"poweroff", "reboot", "halt", NULL};
static const char *const crash_choices[] = {"stop", "restart", "halt-machine", NULL};

#define FIELD(record, field)                                                                                 \
	.offset = offsetof(struct record, field), .store_bytes = sizeof(((struct record *)0)->field) == 4 ? 4 : 8

static const struct config_key machine_keys[CONFIG_MACHINE_KEYS] = {
    [CONFIG_MACHINE_CONSOLE] = {.name = "console",
                                .type = CONFIG_TYPE_CHOICES,
                                FIELD(config_machine, console),
                                .choices = console_choices,
                                .default_text = "[\"serial\"]",
                                .help = "where the hypervisor's lines and the guests' serial ports appear"},
    [CONFIG_MACHINE_ON_IDLE] = {.name = "on_idle",
                                .type = CONFIG_TYPE_CHOICE,
                                FIELD(config_machine, on_idle),
                                .choices = idle_choices,
                                .default_text = "\"poweroff\"",
                                .help = "what the machine does when every VM has ended"},
    [CONFIG_MACHINE_DEBUG_EXIT] = {.name = "debug_exit",
                                   .type = CONFIG_TYPE_INTEGER,
                                   FIELD(config_machine, debug_exit),
                                   .min = 0,
                                   .max = 0xffff,
                                   .absent = "none",
                                   .help =
                                       "host port that gets the result when the machine is idle (ends QEMU)"},
};

static const struct config_key vm_keys[CONFIG_VM_KEYS] = {
    [CONFIG_VM_NAME] = {.name = "name",
                        .type = CONFIG_TYPE_NAME,
                        .required = true,
                        FIELD(config_vm, name),
                        .min = 1,
                        .max = CONFIG_NAME_MAX,
                        .help = "name of the VM, different from all others"},
    [CONFIG_VM_VCPUS] = {.name = "vcpus",
                         .type = CONFIG_TYPE_INTEGER,
                         FIELD(config_vm, vcpus),
                         .min = 1,
                         .max = CONFIG_VCPU_MAX,
                         .default_text = "1",
                         .help = "number of virtual CPUs"},
    [CONFIG_VM_CPUS] = {.name = "cpus",
                        .type = CONFIG_TYPE_CPUS,
                        FIELD(config_vm, cpus),
                        .min = 0,
                        .max = CONFIG_CPU_MAX - 1,
                        .absent = "all",
                        .help = "physical CPUs that its virtual CPUs may use"},
    [CONFIG_VM_MEMORY] = {.name = "memory",
                          .type = CONFIG_TYPE_SIZE,
                          .required = true,
                          FIELD(config_vm, memory_bytes),
                          .min = 1 * MIB,
                          .max = 1024 * GIB,
                          .multiple = 4 * KIB,
                          .help = "size of its memory"},
    [CONFIG_VM_KERNEL] =
        {.name = "kernel",
         .type = CONFIG_TYPE_PATH,
         .required = true,
         FIELD(config_vm, kernel),
         .min = 1,
         .max = CONFIG_PATH_MAX,
         .help = "what it runs: bzImage, ELF with a PVH note, multiboot 1 or 2, or flat real-mode code"},
    [CONFIG_VM_INITRD] = {.name = "initrd",
                          .type = CONFIG_TYPE_PATH,
                          FIELD(config_vm, initrd),
                          .min = 1,
                          .max = CONFIG_PATH_MAX,
                          .absent = "none",
                          .help = "initial RAM disk; module 0 of PVH and multiboot kernels"},
    [CONFIG_VM_CMDLINE] = {.name = "cmdline",
                           .type = CONFIG_TYPE_TEXT,
                           FIELD(config_vm, cmdline),
                           .min = 0,
                           .max = CONFIG_CMDLINE_MAX,
                           .default_text = "\"\"",
                           .help = "command line of its kernel"},
    [CONFIG_VM_DEBUG_EXIT] =
        {.name = "debug_exit",
         .type = CONFIG_TYPE_INTEGER,
         FIELD(config_vm, debug_exit),
         .min = 0,
         .max = 0xffff,
         .absent = "none",
         .help = "a write to this guest port ends the VM with the written value as its code"},
    [CONFIG_VM_ON_CRASH] = {.name = "on_crash",
                            .type = CONFIG_TYPE_CHOICE,
                            FIELD(config_vm, on_crash),
                            .choices = crash_choices,
                            .default_text = "\"stop\"",
                            .help = "what follows when it crashes"},
};

const struct config_table config_tables[CONFIG_TABLES] = {
    {.name = "machine",
     .repeated = false,
     .at_offset = offsetof(struct config_machine, at),
     .key_count = CONFIG_MACHINE_KEYS,
     .keys = machine_keys,
     .help = "the machine as a whole; may be left out"},
    {.name = "vm",
     .repeated = true,
     .at_offset = offsetof(struct config_vm, at),
     .key_count = CONFIG_VM_KEYS,
     .keys = vm_keys,
     .help = "one VM each, at least one"},
};
