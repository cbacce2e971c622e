// SPDX-License-Identifier: Apache-2.0
// Stage one: text to record. Statements come from kernel/toml, their meaning from config_tables. A wrong
// value does not stop the parse, so that one run shows all errors; broken syntax does.
#include "kernel/config.h"

#include "kernel/config_value.h"
#include "kernel/lib/err.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/string.h"

// Where statements go: the table of the last header, or nowhere after one that was refused.
struct target {
	const struct config_table *table;
	void *record;
};

static bool name_is(const struct toml *toml, const char *name) {
	return strlen(name) == toml->name_bytes && memcmp(name, toml->name, toml->name_bytes) == 0;
}

// Names in messages are cut: the file may hold one of any length.
#define NAME_ARGS(toml) (int)((toml)->name_bytes < 40 ? (toml)->name_bytes : 40), (toml)->name

static struct toml_at *positions(const struct target *target) {
	return (struct toml_at *)(void *)((char *)target->record + target->table->at_offset);
}

// Values that no default text can express.
static void absent_values(struct config_vm *vm) {
	vm->debug_exit = CONFIG_NO_PORT;
	vm->kernel = vm->initrd = vm->name = "";
	memset(vm->cpus, 0xff, sizeof vm->cpus);
}

// Reads each default as if it stood in the file; the grammar's own text cannot be wrong.
static int set_defaults(struct toml *toml, const struct target *target) {
	for (unsigned i = 0; i < target->table->key_count; i++) {
		const struct config_key *key = &target->table->keys[i];
		struct toml text;

		if (key->default_text == NULL) continue;
		int rc = toml_open(&text, "default", key->default_text, strlen(key->default_text),
		                   toml->pool + toml->pool_used, toml->pool_bytes - toml->pool_used, toml->report);
		struct toml_at at;
		if (rc == 0) rc = config_value_read(&text, key, target->record, &at);
		if (rc != 0) return rc;
		toml->pool_used += text.pool_used;
	}
	return 0;
}

static int open_table(struct config *config, struct toml *toml, enum toml_event event,
                      struct target *target) {
	const struct config_table *table = NULL;
	struct toml_at at = toml->name_at;

	target->table = NULL;
	for (unsigned i = 0; i < CONFIG_TABLES; i++)
		if (name_is(toml, config_tables[i].name)) table = &config_tables[i];
	if (table == NULL) {
		toml_error(toml->file, toml->report, at,
		           "unknown table \"%.*s\": [machine], [[vm]] and [[cpu]] are known", NAME_ARGS(toml));
		return 0;
	}
	if (table->repeated != (event == TOML_TABLE_ARRAY)) {
		toml_error(toml->file, toml->report, at, "write %s%s%s for this table", table->repeated ? "[[" : "[",
		           table->name, table->repeated ? "]]" : "]");
		return 0;
	}
	if (table == &config_tables[0]) {
		if (config->machine.table.line != 0) {
			toml_error(toml->file, toml->report, at, "[machine] is already in line %u",
			           config->machine.table.line);
			return 0;
		}
		config->machine.table = at;
		*target = (struct target){table, &config->machine}; // its defaults are set before the first line
		return 0;
	}
	bool is_vm = table == &config_tables[1];
	uint32_t i = is_vm ? config->vm_count++ : config->cpu_count++;
	_Static_assert(CONFIG_VM_MAX == CONFIG_CPU_TABLE_MAX, "one limit for both");
	if (i == CONFIG_VM_MAX) {
		toml_error(toml->file, toml->report, at, "more than %u [[%s]] tables", CONFIG_VM_MAX, table->name);
		return -ERR_FORMAT;
	}
	if (!is_vm) {
		config->cpu[i].table = at;
		*target = (struct target){table, &config->cpu[i]};
		return 0; // no key has a default
	}
	struct config_vm *vm = &config->vm[i];
	vm->table = at;
	absent_values(vm);
	*target = (struct target){table, vm};
	return set_defaults(toml, target);
}

static void unknown_key(struct toml *toml, const struct config_table *table) {
	char known[160];
	size_t used = 0;

	for (unsigned i = 0; i < table->key_count && used < sizeof known; i++)
		used += fmt_print(known + used, sizeof known - used, "%s%s", i == 0 ? "" : ", ", table->keys[i].name);
	toml_error(toml->file, toml->report, toml->name_at, "unknown key \"%.*s\": %s%s%s has %s",
	           NAME_ARGS(toml), table->repeated ? "[[" : "[", table->name, table->repeated ? "]]" : "]",
	           known);
}

static int set_key(struct toml *toml, const struct target *target) {
	const struct config_key *key = NULL;

	for (unsigned i = 0; target->table != NULL && i < target->table->key_count; i++)
		if (name_is(toml, target->table->keys[i].name)) key = &target->table->keys[i];
	if (target->table != NULL && key == NULL) unknown_key(toml, target->table);
	if (key == NULL) return config_value_skip(toml);

	struct toml_at *at = &positions(target)[key - target->table->keys];
	if (at->line != 0) {
		toml_error(toml->file, toml->report, toml->name_at, "\"%s\" is already set in line %u", key->name,
		           at->line);
		return config_value_skip(toml);
	}
	return config_value_read(toml, key, target->record, at);
}

static int parse_statements(struct config *config, struct toml *toml) {
	struct target target = {NULL, NULL};
	bool in_table = false;

	for (;;) {
		enum toml_event event = toml_next(toml);
		int rc = 0;

		if (event == TOML_ERROR) return -ERR_FORMAT;
		if (event == TOML_END) return 0;
		if (event == TOML_KEY) {
			if (!in_table)
				toml_error(toml->file, toml->report, toml->name_at,
				           "key \"%.*s\" stands in no table: begin with [machine], [[vm]] or [[cpu]]",
				           NAME_ARGS(toml));
			rc = set_key(toml, &target);
		} else {
			in_table = true;
			rc = open_table(config, toml, event, &target);
		}
		if (rc != 0) return rc;
	}
}

static void check_required(const struct config *config, const struct config_table *table, struct toml_at at,
                           const struct toml_at *given, struct toml_report *report) {
	for (unsigned k = 0; k < table->key_count; k++)
		if (table->keys[k].required && given[k].line == 0)
			toml_error(config->file, report, at, "this [[%s]] lacks the required key \"%s\"", table->name,
			           table->keys[k].name);
}

// What only the whole file shows.
static void check_whole(struct config *config, struct toml_report *report) {
	if (config->vm_count == 0)
		toml_error(config->file, report, (struct toml_at){1, 1},
		           "no [[vm]] table: at least one VM is needed");
	for (uint32_t i = 0; i < config->vm_count; i++) {
		const struct config_vm *vm = &config->vm[i];

		check_required(config, &config_tables[1], vm->table, vm->at, report);
		for (uint32_t other = 0; other < i; other++) {
			if (vm->name[0] == 0 || strcmp(vm->name, config->vm[other].name) != 0) continue;
			toml_error(config->file, report, vm->at[CONFIG_VM_NAME],
			           "the name \"%s\" is already used in line %u", vm->name,
			           config->vm[other].at[CONFIG_VM_NAME].line);
			break;
		}
	}
	for (uint32_t i = 0; i < config->cpu_count; i++)
		check_required(config, &config_tables[2], config->cpu[i].table, config->cpu[i].at, report);
	config_check_cpus(config, report);
}

int config_parse(struct config *config, const char *file, const void *text, size_t bytes,
                 struct toml_report *report) {
	unsigned before = report->errors;
	struct toml toml;

	memset(config, 0, sizeof *config);
	config->file = file;
	config->machine.debug_exit = CONFIG_NO_PORT;
	if (bytes > CONFIG_FILE_BYTES) {
		toml_error(file, report, (struct toml_at){0, 0}, "%zu bytes are too long: at most %u", bytes,
		           CONFIG_FILE_BYTES);
		return -ERR_FORMAT;
	}
	int rc = toml_open(&toml, file, text, bytes, config->text, sizeof config->text, report);
	struct target machine = {&config_tables[0], &config->machine};

	if (rc == 0) rc = set_defaults(&toml, &machine);
	if (rc == 0) rc = parse_statements(config, &toml);
	if (rc == 0) check_whole(config, report);
	return rc == 0 && report->errors != before ? -ERR_FORMAT : rc;
}
