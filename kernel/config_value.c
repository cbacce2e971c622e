// SPDX-License-Identifier: Apache-2.0
// The types of configuration values. Every message names the key and what is allowed.
#include "kernel/config_value.h"

#include "kernel/lib/err.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/string.h"

#define ALLOWED_BYTES 160u

static const char *const type_names[] = {
    [TOML_NONE] = "nothing",      [TOML_STRING] = "a string", [TOML_INTEGER] = "a number",
    [TOML_BOOLEAN] = "a boolean", [TOML_LIST] = "a list",
};

#define wrong(toml, at, ...) toml_error((toml)->file, (toml)->report, at, __VA_ARGS__)

static void *field(const struct config_key *key, void *record) { return (char *)record + key->offset; }

static void store(const struct config_key *key, void *record, uint64_t value) {
	memcpy(field(key, record), &value, key->store_bytes); // little-endian: the low bytes are the low part
}

static void choices_text(const struct config_key *key, char *text, size_t size) {
	size_t used = 0;

	text[0] = 0;
	for (unsigned i = 0; key->choices[i] != NULL && used < size; i++)
		used += fmt_print(text + used, size - used, "%s\"%s\"", i == 0 ? "" : ", ", key->choices[i]);
}

static void size_text(uint64_t bytes, char *text, size_t size) {
	if (bytes % GIB == 0)
		fmt_print(text, size, "%luG", bytes / GIB);
	else if (bytes % MIB == 0)
		fmt_print(text, size, "%luM", bytes / MIB);
	else
		fmt_print(text, size, "%luK", bytes / KIB);
}

static void size_limits_text(const struct config_key *key, char *text, size_t size) {
	char low[24], high[24], step[24];

	size_text((uint64_t)key->min, low, sizeof low);
	size_text((uint64_t)key->max, high, sizeof high);
	size_text(key->multiple, step, sizeof step);
	fmt_print(text, size, "%s to %s in steps of %s", low, high, step);
}

void config_type_text(const struct config_key *key, char *text, size_t size) {
	char part[ALLOWED_BYTES] = "";

	if (key->choices != NULL) choices_text(key, part, sizeof part);
	switch (key->type) {
	case CONFIG_TYPE_CHOICE: fmt_print(text, size, "one of %s", part); return;
	case CONFIG_TYPE_CHOICES: fmt_print(text, size, "a list of %s", part); return;
	case CONFIG_TYPE_INTEGER: fmt_print(text, size, "a number, %ld to %ld", key->min, key->max); return;
	case CONFIG_TYPE_SIZE:
		size_limits_text(key, part, sizeof part);
		fmt_print(text, size, "a size such as \"256M\", %s", part);
		return;
	case CONFIG_TYPE_CPUS:
		fmt_print(text, size, "a list of CPU numbers, %ld to %ld", key->min, key->max);
		return;
	case CONFIG_TYPE_NAME:
		fmt_print(text, size, "a string of %ld to %ld letters, digits, '.', '_' and '-'", key->min, key->max);
		return;
	case CONFIG_TYPE_PATH:
		fmt_print(text, size, "a path relative to this file, at most %ld bytes", key->max);
		return;
	case CONFIG_TYPE_TEXT: fmt_print(text, size, "a string of at most %ld bytes", key->max); return;
	}
}

static void wrong_type(struct toml *toml, const struct config_key *key, const struct toml_value *value,
                       bool element) {
	char expected[ALLOWED_BYTES + 64];

	config_type_text(key, expected, sizeof expected);
	wrong(toml, value->at, "\"%s\" must be %s, not %s%s", key->name, expected, element ? "a list with " : "",
	      type_names[value->type]);
}

static bool name_char(char c) {
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
	       c == '_' || c == '-';
}

static bool has_control(const char *text) {
	for (; *text != 0; text++)
		if ((uint8_t)*text < 0x20 || *text == 0x7f) return true;
	return false;
}

// The boot loaders hand files over under these very bytes: relative, / separators, no empty, . or .. part, no
// space, nothing that a shell (GRUB's) or a file system takes apart, and no character that UCS-2 lacks.
static bool path_char(char c) {
	return (uint8_t)c > ' ' && c != 0x7f && (uint8_t)c < 0xf0 && strchr("\\*?\"'[]{}$:<>|;", c) == NULL;
}

static bool path_valid(const char *path) {
	for (const char *part = path;;) {
		size_t len = 0;

		for (; part[len] != 0 && part[len] != '/'; len++)
			if (!path_char(part[len])) return false;
		if (len == 0 || (len == 1 && part[0] == '.') || (len == 2 && part[0] == '.' && part[1] == '.'))
			return false;
		if (part[len] == 0) return true;
		part += len + 1;
	}
}

static bool string_valid(struct toml *toml, const struct config_key *key, const struct toml_value *value) {
	if (value->length < (uint64_t)key->min || value->length > (uint64_t)key->max) {
		wrong(toml, value->at, "\"%s\" is %zu bytes long: %ld to %ld are allowed", key->name, value->length,
		      key->min, key->max);
		return false;
	}
	if (has_control(value->string)) {
		wrong(toml, value->at, "\"%s\" contains a control character", key->name);
		return false;
	}
	for (const char *c = value->string; key->type == CONFIG_TYPE_NAME && *c != 0; c++) {
		if (name_char(*c)) continue;
		wrong(toml, value->at, "\"%s\" may have letters, digits, '.', '_' and '-' only", key->name);
		return false;
	}
	if (key->type == CONFIG_TYPE_PATH && (value->escaped || !path_valid(value->string))) {
		wrong(toml, value->at,
		      "\"%s\" must be a path relative to this file, with / between names, without . and .. and "
		      "without spaces, "
		      "quotes, and \\ * ? [ ] { } $ : < > | ;",
		      key->name);
		return false;
	}
	return true;
}

static int choice_index(const struct config_key *key, const char *text) {
	for (int i = 0; key->choices[i] != NULL; i++)
		if (strcmp(key->choices[i], text) == 0) return i;
	return -1;
}

static int choice_read(struct toml *toml, const struct config_key *key, const struct toml_value *value) {
	int index = choice_index(key, value->string);

	if (index < 0) {
		char allowed[ALLOWED_BYTES];

		choices_text(key, allowed, sizeof allowed);
		wrong(toml, value->at, "\"%s\" has no value \"%.40s\": %s are allowed", key->name,
		      has_control(value->string) ? "?" : value->string, allowed);
	}
	return index;
}

// Digits and one of K, M, G; false for anything else. *bytes is UINT64_MAX when it would not fit.
static bool size_bytes(const char *text, uint64_t *bytes) {
	uint64_t value = 0;
	bool huge = false;

	if (*text < '0' || *text > '9') return false;
	for (; *text >= '0' && *text <= '9'; text++) {
		if (value > UINT64_MAX / 16)
			huge = true;
		else
			value = value * 10 + (uint64_t)(*text - '0');
	}
	unsigned shift = *text == 'K' ? 10 : *text == 'M' ? 20 : *text == 'G' ? 30 : 0;

	if (shift == 0 || text[1] != 0) return false;
	*bytes = huge || value > UINT64_MAX >> shift ? UINT64_MAX : value << shift;
	return true;
}

static void size_read(struct toml *toml, const struct config_key *key, const struct toml_value *value,
                      void *record) {
	char limits[ALLOWED_BYTES];
	uint64_t bytes;

	if (!size_bytes(value->string, &bytes)) {
		wrong(toml, value->at, "\"%s\" must be digits and one of K, M, G, such as \"256M\"", key->name);
		return;
	}
	if (bytes < (uint64_t)key->min || bytes > (uint64_t)key->max || bytes % key->multiple != 0) {
		size_limits_text(key, limits, sizeof limits);
		wrong(toml, value->at, "\"%s\" must be %s", key->name, limits);
		return;
	}
	store(key, record, bytes);
}

static void scalar_read(struct toml *toml, const struct config_key *key, const struct toml_value *value,
                        void *record) {
	enum toml_type needed = key->type == CONFIG_TYPE_INTEGER ? TOML_INTEGER : TOML_STRING;

	if (value->type != needed) {
		wrong_type(toml, key, value, false);
		return;
	}
	if (key->type == CONFIG_TYPE_INTEGER) {
		if (value->integer >= key->min && value->integer <= key->max)
			store(key, record, (uint64_t)value->integer);
		else
			wrong(toml, value->at, "\"%s\" is %ld: %ld to %ld are allowed", key->name, value->integer,
			      key->min, key->max);
	} else if (key->type == CONFIG_TYPE_SIZE) {
		size_read(toml, key, value, record);
	} else if (key->type == CONFIG_TYPE_CHOICE) {
		int index = choice_read(toml, key, value);

		if (index >= 0) store(key, record, (uint64_t)index);
	} else if (string_valid(toml, key, value)) {
		store(key, record, (uint64_t)(uintptr_t)value->string);
	}
}

// Bit of one list element, or -1 after a report.
static int element_bit(struct toml *toml, const struct config_key *key, const struct toml_value *value) {
	bool cpus = key->type == CONFIG_TYPE_CPUS;

	if (value->type != (cpus ? TOML_INTEGER : TOML_STRING)) {
		wrong_type(toml, key, value, true);
		return -1;
	}
	if (!cpus) return choice_read(toml, key, value);
	if (value->integer >= key->min && value->integer <= key->max) return (int)value->integer;
	wrong(toml, value->at, "\"%s\" has CPU %ld: %ld to %ld are allowed", key->name, value->integer, key->min,
	      key->max);
	return -1;
}

static int list_read(struct toml *toml, const struct config_key *key, struct toml_at at, void *record) {
	uint64_t bits[BITMAP_WORDS(CONFIG_CPU_MAX)] = {0};
	unsigned elements = 0;

	for (;;) {
		struct toml_value value;
		int rc = toml_element(toml, &value);

		if (rc != 0) return rc;
		if (value.type == TOML_NONE) break;
		elements++;
		int bit = element_bit(toml, key, &value);

		if (bit < 0) continue;
		if (bitmap_test(bits, (size_t)bit)) {
			if (key->type == CONFIG_TYPE_CPUS)
				wrong(toml, value.at, "CPU %d is in the list twice", bit);
			else
				wrong(toml, value.at, "\"%s\" is in the list twice", value.string);
		}
		bitmap_set(bits, (size_t)bit);
	}
	if (elements == 0) wrong(toml, at, "\"%s\" is an empty list", key->name);
	if (key->type == CONFIG_TYPE_CPUS)
		memcpy(field(key, record), bits, sizeof bits);
	else
		store(key, record, bits[0]);
	return 0;
}

int config_value_read(struct toml *toml, const struct config_key *key, void *record, struct toml_at *at) {
	bool list = key->type == CONFIG_TYPE_CHOICES || key->type == CONFIG_TYPE_CPUS;
	struct toml_value value;
	int rc = toml_value(toml, &value);

	if (rc != 0) return rc;
	*at = value.at;
	if (value.type == TOML_LIST && list) return list_read(toml, key, value.at, record);
	if (value.type == TOML_LIST || list)
		wrong_type(toml, key, &value, false);
	else
		scalar_read(toml, key, &value, record);
	return value.type != TOML_LIST ? 0 : config_value_skip(toml);
}

// Called before the value, or inside a list whose opening bracket has been read.
int config_value_skip(struct toml *toml) {
	struct toml_value value;
	int rc = 0;

	if (!toml->in_list) rc = toml_value(toml, &value);
	while (rc == 0 && toml->in_list) rc = toml_element(toml, &value);
	return rc;
}
