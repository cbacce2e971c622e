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

size_t fmt_vprint(char *dst, size_t size, const char *format, va_list args) {
	struct out out = {dst, size, 0};

	for (const char *at = format; *at != 0; at++) {
		if (*at != '%') {
			out_char(&out, *at);
			continue;
		}
		const char *start = at++;
		struct spec spec = {.precision = SIZE_MAX};

		for (; *at == '0' || *at == '-' || *at == '#'; at++) {
			spec.prefix = spec.prefix || *at == '#';
			spec.zero = spec.zero || *at == '0';
			spec.left = spec.left || *at == '-';
		}
		at = parse_width(at, &spec, *at == '*' ? va_arg(args, int) : 0);
		if (*at == '.') {
			at++;
			if (*at == '*') {
				int star = va_arg(args, int);

				spec.precision = star < 0 ? SIZE_MAX : (size_t)star;
				at++;
			} else {
				at = parse_number(at, &spec.precision);
			}
		}
		at = parse_length(at, &spec);

		switch (*at) {
		case 'd':
		case 'i': {
			uint64_t raw = spec.bytes == 8 ? va_arg(args, uint64_t) : va_arg(args, unsigned);
			int64_t value = sign_extend(raw, spec.bytes);

			out_number(&out, &spec, value < 0 ? "-" : "", value < 0 ? 0 - (uint64_t)value : (uint64_t)value,
			           10, false);
			break;
		}
		case 'u':
		case 'x':
		case 'X': {
			uint64_t raw = spec.bytes == 8 ? va_arg(args, uint64_t) : va_arg(args, unsigned);

			const char *prefix = spec.prefix && *at != 'u' && zero_extend(raw, spec.bytes) != 0 ? "0x" : "";
			out_number(&out, &spec, prefix, zero_extend(raw, spec.bytes), *at == 'u' ? 10 : 16, *at == 'X');
			break;
		}
		case 'p': out_number(&out, &spec, "0x", (uint64_t)(uintptr_t)va_arg(args, void *), 16, false); break;
		case 'c': {
			char c = (char)va_arg(args, int);

			spec.zero = false;
			out_text(&out, &spec, "", &c, 1);
			break;
		}
		case 's': out_string(&out, &spec, va_arg(args, const char *)); break;
		case '%': out_char(&out, '%'); break;
		default: // not ours: shown as it stands
			for (; start < at; start++) out_char(&out, *start);
			if (*at == 0)
				at--; // the loop's at++ must find the end again
			else
				out_char(&out, *at);
		}
	}
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
