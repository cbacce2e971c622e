// SPDX-License-Identifier: Apache-2.0
// The configuration: one text file, read by the same code on the host and at boot into one fixed-size
// record. Three stages, each reporting every error it finds as `file:line:column: what is wrong and what is
// allowed`: config_parse (the text alone), config_check_files (the files it names), config_check_machine
// (the machine it runs on). Nothing starts before all three pass. docs/CONFIG.md is the table of keys;
// config_tables is the table that both it and the parser come from.
#pragma once

#include "kernel/lib/bitmap.h"
#include "kernel/lib/source.h"
#include "kernel/lib/types.h"
#include "kernel/toml.h"

#define CONFIG_VM_MAX 64u
#define CONFIG_VCPU_MAX 64u
#define CONFIG_CPU_MAX 256u
#define CONFIG_CPU_TABLE_MAX CONFIG_VM_MAX
#define CONFIG_FILE_BYTES (UINT32_C(64) << 10) // longest configuration file
#define CONFIG_NAME_MAX 31u                    // bytes of a VM's name
#define CONFIG_PATH_MAX 95u                    // bytes of a path (BOOT_NAME_BYTES of kernel/abi/bootinfo.h)
#define CONFIG_CMDLINE_MAX 2047u               // bytes of a guest's command line
#define CONFIG_NO_PORT (-1)

enum config_console { CONFIG_CONSOLE_SERIAL = 1 << 0, CONFIG_CONSOLE_SCREEN = 1 << 1 };
enum config_on_idle { CONFIG_IDLE_POWEROFF, CONFIG_IDLE_REBOOT, CONFIG_IDLE_HALT };
// As enum sched_policy.
enum config_policy { CONFIG_POLICY_FAIR, CONFIG_POLICY_FIXED, CONFIG_POLICY_DEDICATED };
enum config_on_crash { CONFIG_CRASH_STOP, CONFIG_CRASH_RESTART, CONFIG_CRASH_HALT_MACHINE };

// Index of a key in its table and of its position in `at`.
enum config_machine_key {
	CONFIG_MACHINE_CONSOLE,
	CONFIG_MACHINE_ON_IDLE,
	CONFIG_MACHINE_DEBUG_EXIT,
	CONFIG_MACHINE_KEYS
};
enum config_vm_key {
	CONFIG_VM_NAME,
	CONFIG_VM_VCPUS,
	CONFIG_VM_CPUS,
	CONFIG_VM_MEMORY,
	CONFIG_VM_KERNEL,
	CONFIG_VM_INITRD,
	CONFIG_VM_CMDLINE,
	CONFIG_VM_DEBUG_EXIT,
	CONFIG_VM_ON_CRASH,
	CONFIG_VM_WEIGHT,
	CONFIG_VM_PRIORITY,
	CONFIG_VM_PERIOD,
	CONFIG_VM_BUDGET,
	CONFIG_VM_KEYS
};
enum config_cpu_key { CONFIG_CPU_CPUS, CONFIG_CPU_POLICY, CONFIG_CPU_KEYS };

struct config_machine {
	uint32_t console;   // enum config_console bits
	uint32_t on_idle;   // enum config_on_idle
	int32_t debug_exit; // host port, CONFIG_NO_PORT when not given
	struct toml_at table;
	struct toml_at at[CONFIG_MACHINE_KEYS]; // of each value; line 0 when it is the default
};

// Strings are 0-terminated UTF-8 in struct config, "" when not given.
struct config_vm {
	const char *name;
	const char *kernel, *initrd; // paths relative to the file
	const char *cmdline;
	uint64_t memory_bytes;
	uint32_t vcpus;
	uint32_t on_crash;                           // enum config_on_crash
	int32_t debug_exit;                          // guest port, CONFIG_NO_PORT when not given
	uint64_t cpus[BITMAP_WORDS(CONFIG_CPU_MAX)]; // all but the dedicated ones when not given
	uint32_t weight, priority;
	uint32_t period_us, budget_us; // both 0 when not given
	struct toml_at table;
	struct toml_at at[CONFIG_VM_KEYS];
};

struct config_cpu {
	uint64_t cpus[BITMAP_WORDS(CONFIG_CPU_MAX)];
	uint32_t policy; // enum config_policy
	struct toml_at table;
	struct toml_at at[CONFIG_CPU_KEYS];
};

// Holds pointers into itself: it is never copied or moved.
struct config {
	const char *file; // as given, for messages
	struct config_machine machine;
	uint32_t vm_count;
	struct config_vm vm[CONFIG_VM_MAX];
	uint32_t cpu_count;
	struct config_cpu cpu[CONFIG_CPU_TABLE_MAX];
	uint8_t policy[CONFIG_CPU_MAX];      // of each CPU, enum config_policy
	char text[CONFIG_FILE_BYTES + 1024]; // decoded strings, and the defaults
};

// `text` is not needed afterwards; `file` must outlive the configuration. -ERR_FORMAT after at least one
// report, and then the record is not to be used.
__must_check int config_parse(struct config *config, const char *file, const void *text, size_t bytes,
                              struct toml_report *report);

// Finds a file by the path the configuration gives. -ERR_NOENT: there is none; other errors: not readable, and *why
// says it in words.
struct config_files {
	int (*find)(void *context, const char *path, struct source *file, const char **why);
	void *context;
};
// Every kernel is there and of a kind that kernel/load starts, and it fits into the VM's memory together with
// the initrd and the command line (a whole load is gone through without writing). -ERR_FORMAT after reports.
__must_check int config_check_files(const struct config *config, const struct config_files *files,
                                    struct toml_report *report);

// Parts of config_parse, and of the checks of version and machine: the CPUs by all tables together, and whether each
// vCPU finds one with room for its budget among the first `cpus`, as sched_add would. They report.
void config_check_cpus(struct config *config, struct toml_report *report);
void config_check_room(const struct config *config, uint32_t cpus, struct toml_report *report);

// What this version can run: VMs with one vCPU each, a debug_exit port that no device of the board has.
// -ERR_FORMAT after reports.
__must_check int config_check_version(const struct config *config, struct toml_report *report);

struct config_facts {
	uint32_t cpus;         // physical CPUs, numbered from 0
	uint64_t memory_bytes; // that VMs can get, all together
};
// CPU numbers, room for budgets, and memory are there. -ERR_FORMAT after reports.
__must_check int config_check_machine(const struct config *config, const struct config_facts *facts,
                                      struct toml_report *report);

// ---- The grammar as data --------------------------------------------------------------------------------

enum config_type {
	CONFIG_TYPE_NAME,    // string of letters, digits, . _ -
	CONFIG_TYPE_PATH,    // relative path
	CONFIG_TYPE_TEXT,    // any string without control characters
	CONFIG_TYPE_CHOICE,  // one of `choices`, stored as its index
	CONFIG_TYPE_CHOICES, // list of distinct `choices`, stored as bits
	CONFIG_TYPE_INTEGER,
	CONFIG_TYPE_SIZE, // "4K", "256M", "2G": bytes
	CONFIG_TYPE_CPUS, // list of distinct CPU numbers
};

struct config_key {
	const char *name;
	enum config_type type;
	bool required;
	uint8_t store_bytes;        // of the field, 4 or 8
	uint16_t offset;            // of the field in the table's record
	int64_t min, max;           // integer: value; size: bytes; strings: length in bytes
	uint64_t multiple;          // size: granularity
	const char *const *choices; // NULL-terminated
	const char *default_text;   // as it would be written in the file; NULL: none
	const char *absent;         // what it means when there is no default and it is not given
	const char *help;
};

struct config_table {
	const char *name;
	bool repeated;      // [[name]]
	uint16_t at_offset; // of the positions in the record
	uint16_t key_count;
	const struct config_key *keys;
	const char *help;
};

#define CONFIG_TABLES 3u
extern const struct config_table config_tables[CONFIG_TABLES]; // [machine], [[vm]], [[cpu]]

// What a value of the key may be, in words: "a number, 1 to 64".
void config_type_text(const struct config_key *key, char *text, size_t size);
