// SPDX-License-Identifier: Apache-2.0
// bulkhead-check: judges configuration files on the host with the hypervisor's own code. Prints the error
// lines and exits 1 when there are any; otherwise exits 0. It can also print what was read as JSON, and the
// table of keys that docs/CONFIG.md shows.
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "kernel/config.h"
#include "kernel/lib/err.h"
#include "kernel/lib/fmt.h"

noreturn void assert_fail(const char *expr, const char *file, int line);

noreturn void assert_fail(const char *expr, const char *file, int line) {
	fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, expr);
	abort();
}

static void print_line(void *context __unused_arg, const char *text) { printf("%s\n", text); }

// ---- files beside the configuration -----------------------------------------------------------------------

static int host_read(const struct source *self, uint64_t offset, void *dst, size_t len) {
	FILE *file = (FILE *)(uintptr_t)self->context;

	if (fseeko(file, (off_t)offset, SEEK_SET) != 0) return -ERR_FAULT;
	return fread(dst, 1, len, file) == len ? 0 : -ERR_TRUNC;
}

static int host_open(const char *path, struct source *source) {
	struct stat stat_buffer;

	if (stat(path, &stat_buffer) != 0) return -ERR_NOENT;
	if (!S_ISREG(stat_buffer.st_mode)) return -ERR_FORMAT;
	FILE *file = fopen(path, "rb");
	if (file == NULL) return -ERR_PERM;
	*source = (struct source){.read = host_read, .context = file, .bytes = (uint64_t)stat_buffer.st_size};
	return 0;
}

static void host_close(const struct source *source) { fclose((FILE *)(uintptr_t)source->context); }

#define OPEN_MAX (2 * CONFIG_VM_MAX)
struct folder {
	const char *config; // its path, whose folder the names are relative to
	struct source open[OPEN_MAX];
	unsigned count;
};

static int folder_find(void *context, const char *path, struct source *file) {
	struct folder *folder = context;
	const char *slash = strrchr(folder->config, '/');
	char full[PATH_MAX];

	size_t len = fmt_print(full, sizeof full, "%.*s%s", slash == NULL ? 0 : (int)(slash + 1 - folder->config),
	                       folder->config, path);
	if (len >= sizeof full || folder->count == OPEN_MAX) return -ERR_NOMEM;
	int rc = host_open(full, file);
	if (rc == 0) folder->open[folder->count++] = *file;
	return rc;
}

// ---- JSON and Markdown ------------------------------------------------------------------------------------

static void json_string(const char *text) {
	putchar('"');
	for (; *text != 0; text++) {
		if (*text == '"' || *text == '\\') putchar('\\');
		putchar(*text); // control characters are refused by the parser
	}
	putchar('"');
}

static void json_list(const struct config_key *key, const uint64_t *bits, size_t count) {
	bool first = true;

	putchar('[');
	for (size_t bit = bitmap_next_set(bits, count, 0); bit != BITMAP_NONE;
	     bit = bitmap_next_set(bits, count, bit + 1)) {
		printf("%s", first ? "" : ", ");
		if (key->type == CONFIG_TYPE_CPUS)
			printf("%zu", bit);
		else
			json_string(key->choices[bit]);
		first = false;
	}
	putchar(']');
}

static void json_value(const struct config_key *key, const void *record) {
	uint64_t word = 0;

	memcpy(&word, (const char *)record + key->offset, key->store_bytes);
	switch (key->type) {
	case CONFIG_TYPE_INTEGER: printf("%d", (int)(int32_t)word); break;
	case CONFIG_TYPE_SIZE: printf("%llu", (unsigned long long)word); break;
	case CONFIG_TYPE_CHOICE: json_string(key->choices[word]); break;
	case CONFIG_TYPE_CHOICES: json_list(key, &word, 64); break;
	case CONFIG_TYPE_CPUS:
		json_list(key, (const void *)((const char *)record + key->offset), CONFIG_CPU_MAX);
		break;
	default: json_string((const char *)(uintptr_t)word);
	}
}

// What has no default and is not given is null.
static void json_record(const struct config_table *table, const void *record) {
	const struct toml_at *at = (const void *)((const char *)record + table->at_offset);

	putchar('{');
	for (unsigned i = 0; i < table->key_count; i++) {
		const struct config_key *key = &table->keys[i];

		printf("%s\"%s\": ", i == 0 ? "" : ", ", key->name);
		if (at[i].line == 0 && key->default_text == NULL)
			printf("null");
		else
			json_value(key, record);
	}
	putchar('}');
}

static void json_config(const struct config *config) {
	printf("{\"machine\": ");
	json_record(&config_tables[0], &config->machine);
	printf(", \"vm\": [");
	for (uint32_t i = 0; i < config->vm_count; i++) {
		printf("%s", i == 0 ? "" : ", ");
		json_record(&config_tables[1], &config->vm[i]);
	}
	printf("]}\n");
}

static void print_keys(void) {
	for (unsigned t = 0; t < CONFIG_TABLES; t++) {
		const struct config_table *table = &config_tables[t];

		printf("%s### `%s%s%s`: %s\n\n", t == 0 ? "" : "\n", table->repeated ? "[[" : "[", table->name,
		       table->repeated ? "]]" : "]", table->help);
		printf("| key | type and allowed values | default | meaning |\n| --- | --- | --- | --- |\n");
		for (unsigned i = 0; i < table->key_count; i++) {
			const struct config_key *key = &table->keys[i];
			char type[256];

			config_type_text(key, type, sizeof type);
			printf("| `%s` | %s | ", key->name, type);
			if (key->required)
				printf("required");
			else if (key->default_text != NULL)
				printf("`%s`", key->default_text);
			else
				printf("%s", key->absent);
			printf(" | %s |\n", key->help);
		}
	}
}

// ---- the command ------------------------------------------------------------------------------------------

struct options {
	bool syntax, dump, facts;
	struct config_facts machine;
};

static int check_one(const char *path, const struct options *options) {
	static struct config config;
	static char text[CONFIG_FILE_BYTES + 1]; // one byte more shows a file that is too long
	struct toml_report report = {.line = print_line};
	struct folder folder = {.config = path};
	struct source source;
	int rc = host_open(path, &source);

	if (rc != 0) {
		printf("%s: cannot be read: %s\n", path, err_name(rc));
		return 1;
	}
	size_t len = source.bytes < sizeof text ? (size_t)source.bytes : sizeof text;
	rc = source_read(&source, 0, text, len);
	host_close(&source);
	if (rc != 0) {
		printf("%s: cannot be read: %s\n", path, err_name(rc));
		return 1;
	}
	rc = config_parse(&config, path, text, len, &report);
	if (rc == 0 && options->dump) json_config(&config);
	if (rc == 0 && !options->syntax && !options->dump) {
		const struct config_files files = {.find = folder_find, .context = &folder};

		rc = config_check_version(&config, &report);
		if (rc == 0) rc = config_check_files(&config, &files, &report);
		for (unsigned i = 0; i < folder.count; i++) host_close(&folder.open[i]);
	}
	if (rc == 0 && options->facts) rc = config_check_machine(&config, &options->machine, &report);
	return rc == 0 ? 0 : 1;
}

static noreturn void usage(void) {
	fprintf(stderr, "usage: bulkhead-check [--syntax | --dump] [--cpus N --memory MIB] FILE...\n"
	                "       bulkhead-check --keys\n"
	                "  --syntax       do not look at the files that FILE names\n"
	                "  --dump         print what was read as JSON, likewise\n"
	                "  --cpus, --memory  also check against a machine of N CPUs and that memory for VMs\n"
	                "  --keys         print the table of keys\n");
	exit(2);
}

static uint64_t number(const char *text) {
	char *end = NULL;
	uint64_t value = text == NULL ? 0 : strtoull(text, &end, 10);

	if (value == 0 || *end != 0 || value > UINT32_MAX) usage();
	return value;
}

int main(int argc, char **argv) {
	struct options options = {.machine = {.cpus = CONFIG_CPU_MAX, .memory_bytes = UINT64_MAX}};
	int at = 1, status = 0;

	for (; at < argc && strncmp(argv[at], "--", 2) == 0; at++) {
		if (strcmp(argv[at], "--keys") == 0) {
			print_keys();
			return 0;
		}
		if (strcmp(argv[at], "--syntax") == 0) {
			options.syntax = true;
		} else if (strcmp(argv[at], "--dump") == 0) {
			options.dump = true;
		} else if (strcmp(argv[at], "--cpus") == 0) {
			options.facts = true;
			options.machine.cpus = (uint32_t)number(argv[++at]);
		} else if (strcmp(argv[at], "--memory") == 0) {
			options.facts = true;
			options.machine.memory_bytes = number(argv[++at]) * MIB;
		} else {
			usage();
		}
	}
	if (at >= argc) usage();
	for (; at < argc; at++) status |= check_one(argv[at], &options);
	return status;
}
