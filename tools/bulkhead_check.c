// SPDX-License-Identifier: Apache-2.0
// bulkhead-check: judges configuration files on the host with the hypervisor's own code. Prints the error
// lines and exits 1 when there are any; otherwise exits 0. It can also print what was read as JSON, and the
// table of keys that docs/CONFIG.md shows.
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kernel/config.h"
#include "kernel/lib/err.h"
#include "kernel/lib/fmt.h"
#include "kernel/option.h"

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

// On error *why is the system's word for it.
static int host_open(const char *path, struct source *source, const char **why) {
	struct stat status;
	FILE *file = NULL;

	if (stat(path, &status) == 0) { // first, since opening a pipe would wait
		*why = S_ISDIR(status.st_mode) ? strerror(EISDIR) : "not a regular file";
		if (!S_ISREG(status.st_mode)) return -ERR_FORMAT;
		file = fopen(path, "rb");
	}
	*why = strerror(errno);
	if (file == NULL) return errno == ENOENT || errno == ENOTDIR ? -ERR_NOENT : -ERR_PERM;
	*source = (struct source){.read = host_read, .context = file, .bytes = (uint64_t)status.st_size};
	return 0;
}

static void host_close(const struct source *source) { fclose((FILE *)(uintptr_t)source->context); }

#define OPEN_MAX (2 * CONFIG_VM_MAX)
struct folder {
	const char *config; // its path, whose folder the names are relative to
	const char *files;  // another folder, for what is not there; or NULL
	struct source open[OPEN_MAX];
	unsigned count;
};

// "folder" + "/" + path, opened.
static int join_open(int folder_len, const char *folder, const char *path, struct source *file,
                     const char **why) {
	char full[PATH_MAX];

	*why = strerror(ENAMETOOLONG);
	if (fmt_print(full, sizeof full, "%.*s/%s", folder_len, folder, path) >= sizeof full) return -ERR_RANGE;
	return host_open(full, file, why);
}

static int folder_find(void *context, const char *path, struct source *file, const char **why) {
	struct folder *folder = context;
	const char *slash = strrchr(folder->config, '/');

	*why = strerror(EMFILE);
	if (folder->count == OPEN_MAX) return -ERR_NOMEM;
	int rc = slash == NULL ? host_open(path, file, why)
	                       : join_open((int)(slash - folder->config), folder->config, path, file, why);
	if (rc == -ERR_NOENT && folder->files != NULL)
		rc = join_open((int)strlen(folder->files), folder->files, path, file, why);
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
	printf("], \"cpu\": [");
	for (uint32_t i = 0; i < config->cpu_count; i++) {
		printf("%s", i == 0 ? "" : ", ");
		json_record(&config_tables[2], &config->cpu[i]);
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
	const char *files, *words;
	struct config_facts machine;
};

// The file's bytes, at most `room` of them; false after a message.
static bool text_read(const char *path, char *text, size_t room, size_t *len) {
	struct source source;
	const char *why;
	int rc = host_open(path, &source, &why);

	if (rc == 0) {
		*len = source.bytes < room ? (size_t)source.bytes : room;
		rc = source_read(&source, 0, text, *len);
		why = strerror(EIO);
		host_close(&source);
	}
	if (rc != 0) printf("%s: cannot be read: %s\n", path, why);
	return rc == 0;
}

// The hypervisor's options: those of the command line, else those of the file beside the configuration.
static bool words_valid(const char *path, const struct options *options) {
	const char *slash = strrchr(path, '/');
	int folder = slash == NULL ? 0 : (int)(slash + 1 - path);
	char name[PATH_MAX], text[OPTION_FILE_BYTES + 1];
	struct option_why why;
	struct option option;
	size_t len;

	if (options->words != NULL) {
		if (option_parse(&option, NULL, options->words, strlen(options->words), &why) == 0) return true;
		printf("%s\n", why.text);
		return false;
	}
	(void)fmt_print(name, sizeof name, "%.*s%s", folder, path, OPTION_FILE);
	if (access(name, F_OK) != 0) return true; // most have none
	if (!text_read(name, text, sizeof text, &len)) return false;
	if (len > OPTION_FILE_BYTES)
		printf("%s: is too long: at most %u bytes are allowed\n", name, OPTION_FILE_BYTES);
	else if (option_parse(&option, OPTION_FILE, text, len, &why) != 0)
		printf("%.*s%s\n", folder, path, why.text);
	else
		return true;
	return false;
}

static int check_one(const char *path, const struct options *options) {
	static struct config config;
	static char text[CONFIG_FILE_BYTES + 1]; // one byte more shows a file that is too long
	struct toml_report report = {.line = print_line};
	struct folder folder = {.config = path, .files = options->files};
	size_t len;

	if (!text_read(path, text, sizeof text, &len)) return 1;
	int rc = config_parse(&config, path, text, len, &report);
	if (rc == 0 && options->dump) json_config(&config);
	if (rc == 0 && !options->syntax && !options->dump) {
		const struct config_files files = {.find = folder_find, .context = &folder};

		rc = config_check_version(&config, &report);
		if (rc == 0) rc = config_check_files(&config, &files, &report);
		for (unsigned i = 0; i < folder.count; i++) host_close(&folder.open[i]);
	}
	if (rc == 0 && options->facts) rc = config_check_machine(&config, &options->machine, &report);
	if (!options->dump && !words_valid(path, options)) rc = -ERR_INVAL;
	return rc == 0 ? 0 : 1;
}

#define STATUS_USAGE 2

static const char usage[] =
    "usage: bulkhead-check [--syntax | --dump] [--files DIR] [--options WORDS]\n"
    "                      [--cpus N] [--memory MIB] FILE...\n"
    "       bulkhead-check --keys\n"
    "Judges configurations as the hypervisor does: prints one line an error, and nothing when all is well.\n"
    "  --syntax         do not look at the files that FILE names\n"
    "  --dump           print what was read as JSON, likewise\n"
    "  --files DIR      where to look for files that do not stand beside FILE\n"
    "  --options WORDS  the hypervisor's own options, instead of those in options.txt beside FILE\n"
    "  --cpus N         also check against a machine with N CPUs\n"
    "  --memory MIB     also check against a machine with that memory for VMs\n"
    "  --keys           print the table of keys\n"
    "  --help           print this\n"
    "The exit status is 0 when every FILE is good, 1 when one is not, 2 for wrong arguments.\n";

static noreturn void misused(const char *option, const char *fault) {
	fprintf(stderr, "bulkhead-check: %s %s\n%s", option, fault, usage);
	exit(STATUS_USAGE);
}

// The argument of the option at argv[*at], which is left there.
static const char *argument(char **argv, int *at) {
	if (argv[*at + 1] == NULL) misused(argv[*at], "needs a value");
	return argv[++*at];
}

static uint64_t number(char **argv, int *at) {
	const char *option = argv[*at], *text = argument(argv, at);
	char *end;
	unsigned long long value = strtoull(text, &end, 10);

	if (*text < '0' || *text > '9' || *end != 0 || value == 0 || value > UINT32_MAX)
		misused(option, "needs a number, 1 or more");
	return value;
}

// Takes the option at argv[*at].
static void option_take(struct options *options, char **argv, int *at) {
	const char *option = argv[*at];

	if (strcmp(option, "--syntax") == 0) {
		options->syntax = true;
	} else if (strcmp(option, "--dump") == 0) {
		options->dump = true;
	} else if (strcmp(option, "--files") == 0) {
		options->files = argument(argv, at);
	} else if (strcmp(option, "--options") == 0) {
		options->words = argument(argv, at);
	} else if (strcmp(option, "--cpus") == 0) {
		options->facts = true;
		options->machine.cpus = (uint32_t)number(argv, at);
	} else if (strcmp(option, "--memory") == 0) {
		options->facts = true;
		options->machine.memory_bytes = number(argv, at) * MIB;
	} else {
		misused(option, "is no option");
	}
}

int main(int argc, char **argv) {
	struct options options = {.machine = {.cpus = CONFIG_CPU_MAX, .memory_bytes = UINT64_MAX}};
	int at = 1, status = 0;

	for (; at < argc && argv[at][0] == '-'; at++) {
		if (strcmp(argv[at], "--keys") == 0) {
			print_keys();
			return 0;
		}
		if (strcmp(argv[at], "--help") == 0 || strcmp(argv[at], "-h") == 0) {
			fputs(usage, stdout);
			return 0;
		}
		if (strcmp(argv[at], "--") == 0) {
			at++;
			break;
		}
		option_take(&options, argv, &at);
	}
	if (at >= argc) misused("FILE", "is missing");
	for (; at < argc; at++) status |= check_one(argv[at], &options);
	return status;
}
