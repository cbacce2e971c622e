// SPDX-License-Identifier: Apache-2.0
// The formatter behind the log and every message text. One pass over the format string, each
// conversion parsed into a struct spec and then emitted; the output cursor counts what the whole text
// would need and stores what fits. Never reads beyond a %.*s limit, never allocates.
#include "kernel/lib/fmt.h"

struct out {
	char *dst;
	size_t size;
	size_t len; // of the whole text, stored or not
};

struct spec {
	bool zero, left, prefix;
	size_t width;
	size_t precision; // SIZE_MAX: none given
	unsigned bytes;   // of the integer argument: 1, 2, 4 or 8
};

static void out_char(struct out *out, char c) {
	if (out->len + 1 < out->size) out->dst[out->len] = c;
	out->len++;
}

static void out_pad(struct out *out, char c, size_t used, size_t width) {
	for (; used < width; used++) out_char(out, c);
}

// prefix ("-", "0x" or "") goes before zero padding and after space padding.
static void out_text(struct out *out, const struct spec *spec, const char *prefix, const char *text,
                     size_t len) {
	size_t prefix_len = 0;

	while (prefix[prefix_len] != 0) prefix_len++;
	size_t used = prefix_len + len;
	bool zero = spec->zero && !spec->left;

	if (!zero && !spec->left) out_pad(out, ' ', used, spec->width);
	for (size_t i = 0; i < prefix_len; i++) out_char(out, prefix[i]);
	if (zero) out_pad(out, '0', used, spec->width);
	for (size_t i = 0; i < len; i++) out_char(out, text[i]);
	if (spec->left) out_pad(out, ' ', used, spec->width);
}

static void out_number(struct out *out, const struct spec *spec, const char *prefix, uint64_t value,
                       unsigned base, bool upper) {
	const char *digits = upper ? "0123456789ABCDEF" : "0123456789abcdef";
	char text[20]; // UINT64_MAX has 20 decimal digits
	size_t at = sizeof text;

	do {
		text[--at] = digits[value % base];
		value /= base;
	} while (value != 0);
	out_text(out, spec, prefix, text + at, sizeof text - at);
}

static void out_string(struct out *out, const struct spec *spec, const char *text) {
	struct spec plain = *spec;
	size_t len = 0;

	plain.zero = false;
	if (text == NULL) text = "(null)";
	while (len < spec->precision && text[len] != 0) len++;
	out_text(out, &plain, "", text, len);
}

static const char *parse_number(const char *at, size_t *value) {
	*value = 0;
	for (; *at >= '0' && *at <= '9'; at++)
		if (*value < 10000) *value = *value * 10 + (size_t)(*at - '0');
	return at;
}

// A negative `*` width means left-adjusted, a negative precision none (C11 7.21.6.1).
static const char *parse_width(const char *at, struct spec *spec, int star) {
	if (*at != '*') return parse_number(at, &spec->width);
	spec->left = spec->left || star < 0;
	spec->width = star < 0 ? (size_t)0 - (size_t)star : (size_t)star;
	return at + 1;
}

static const char *parse_length(const char *at, struct spec *spec) {
	spec->bytes = sizeof(int);
	if (*at == 'h') {
		spec->bytes = at[1] == 'h' ? 1 : 2;
		return at + (at[1] == 'h' ? 2 : 1);
	}
	if (*at == 'l' || *at == 'z' || *at == 'j') {
		spec->bytes = 8;
		return at + (at[0] == 'l' && at[1] == 'l' ? 2 : 1);
	}
	return at;
}

static int64_t sign_extend(uint64_t value, unsigned bytes) {
	unsigned shift = 64 - 8 * bytes;

	return (int64_t)(value << shift) >> shift;
}

static uint64_t zero_extend(uint64_t value, unsigned bytes) {
	unsigned shift = 64 - 8 * bytes;

	return value << shift >> shift;
}

// A va_list passed on by value may or may not advance in the caller (C11 7.16); inside a struct it does.
struct args {
	va_list list;
};

static const char *parse_spec(const char *at, struct spec *spec, struct args *args) {
	*spec = (struct spec){.precision = SIZE_MAX};
	for (; *at == '0' || *at == '-' || *at == '#'; at++) {
		spec->prefix = spec->prefix || *at == '#';
		spec->zero = spec->zero || *at == '0';
		spec->left = spec->left || *at == '-';
	}
	at = parse_width(at, spec, *at == '*' ? va_arg(args->list, int) : 0);
	if (*at == '.' && at[1] == '*') {
		int star = va_arg(args->list, int);

		spec->precision = star < 0 ? SIZE_MAX : (size_t)star;
		at += 2;
	} else if (*at == '.') {
		at = parse_number(at + 1, &spec->precision);
	}
	return parse_length(at, spec);
}

static uint64_t integer_arg(const struct spec *spec, struct args *args) {
	return spec->bytes == 8 ? va_arg(args->list, uint64_t) : va_arg(args->list, unsigned);
}

// False for a conversion that is not ours.
static bool convert(struct out *out, struct spec *spec, char conversion, struct args *args) {
	switch (conversion) {
	case 'd':
	case 'i': {
		int64_t value = sign_extend(integer_arg(spec, args), spec->bytes);
		uint64_t size = value < 0 ? 0 - (uint64_t)value : (uint64_t)value;

		out_number(out, spec, value < 0 ? "-" : "", size, 10, false);
		return true;
	}
	case 'u':
	case 'x':
	case 'X': {
		uint64_t value = zero_extend(integer_arg(spec, args), spec->bytes);
		const char *prefix = !spec->prefix || value == 0 ? "" : conversion == 'x' ? "0x" : "0X";

		out_number(out, spec, conversion == 'u' ? "" : prefix, value, conversion == 'u' ? 10 : 16,
		           conversion == 'X');
		return true;
	}
	case 'p':
		out_number(out, spec, "0x", (uint64_t)(uintptr_t)va_arg(args->list, void *), 16, false);
		return true;
	case 'c': {
		char c = (char)va_arg(args->list, int);

		spec->zero = false;
		out_text(out, spec, "", &c, 1);
		return true;
	}
	case 's': out_string(out, spec, va_arg(args->list, const char *)); return true;
	case '%': out_char(out, '%'); return true;
	default: return false;
	}
}

size_t fmt_vprint(char *dst, size_t size, const char *format, va_list list) {
	struct out out = {dst, size, 0};
	struct args args;

	va_copy(args.list, list);
	for (const char *at = format; *at != 0;) {
		const char *start = at;
		struct spec spec;

		if (*at == '%') {
			at = parse_spec(at + 1, &spec, &args);
			if (*at != 0 && convert(&out, &spec, *at, &args)) {
				at++;
				continue;
			}
		}
		if (*at != 0) at++;
		for (; start < at; start++) // text, or a conversion shown as it stands
			out_char(&out, *start);
	}
	va_end(args.list);
	if (size != 0) dst[out.len < size ? out.len : size - 1] = 0;
	return out.len;
}

size_t fmt_print(char *dst, size_t size, const char *format, ...) {
	va_list args;

	va_start(args, format);
	size_t len = fmt_vprint(dst, size, format, args);
	va_end(args);
	return len;
}
