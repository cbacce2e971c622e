// SPDX-License-Identifier: Apache-2.0
// Printing and results of test guests, over COM1 by polling and the debug-exit port.
#include <stdarg.h>
#include <stddef.h>

#include "tests/guest/lib/insn.h"
#include "tests/guest/lib/report.h"

#define COM1 0x3F8
#define UART_LSR (COM1 + 5)
#define UART_LSR_THRE BIT(5)
#define UART_LSR_TEMT BIT(6)
#define DEBUG_EXIT 0xF4
#define UART_SPINS 1000000

static unsigned checks, failed;
static const char *first_file, *first_what;
static int first_line;

static void uart_wait(uint8_t bit) {
	for (unsigned i = 0; i < UART_SPINS && !(in8(UART_LSR) & bit); i++) pause();
}

static void put(char c) {
	if (c == '\n') put('\r');
	uart_wait(UART_LSR_THRE);
	out8(COM1, (uint8_t)c);
}

void report_init(void) {
	out8(COM1 + 1, 0);
	out8(COM1 + 3, 0x83); // 8N1, divisor 1: 115200
	out8(COM1, 1);
	out8(COM1 + 1, 0);
	out8(COM1 + 3, 3);
	out8(COM1 + 2, 7);
	out8(COM1 + 4, 3);
}

// v / base in *v, the remainder returned: a 32-bit guest has no 64-bit division.
static unsigned divide(uint64_t *v, unsigned base) {
	uint64_t quotient = 0;
	unsigned remainder = 0;
	for (int bit = 63; bit >= 0; bit--) {
		remainder = remainder << 1 | (unsigned)(*v >> bit & 1);
		quotient <<= 1;
		if (remainder >= base) {
			remainder -= base;
			quotient |= 1;
		}
	}
	*v = quotient;
	return remainder;
}

static void put_number(uint64_t v, unsigned base, unsigned width, char pad, bool negative) {
	char digits[24];
	unsigned n = 0;
	do {
		digits[n++] = "0123456789abcdef"[divide(&v, base)];
	} while (v);
	if (negative) digits[n++] = '-';
	for (unsigned i = n; i < width; i++) put(pad);
	while (n) put(digits[--n]);
}

static uint64_t argument(va_list *args, unsigned longs, bool is_signed) {
	if (longs >= 2) return va_arg(*args, uint64_t);
	if (longs == 1) return is_signed ? (uint64_t)va_arg(*args, long) : va_arg(*args, unsigned long);
	return is_signed ? (uint64_t)va_arg(*args, int) : va_arg(*args, unsigned);
}

static void vprint(const char *f, va_list *args) {
	for (; *f; f++) {
		if (*f != '%') {
			put(*f);
			continue;
		}
		unsigned width = 0, longs = 0;
		char pad = ' ';
		if (*++f == '0') pad = '0';
		for (; *f >= '0' && *f <= '9'; f++) width = width * 10 + (unsigned)(*f - '0');
		for (; *f == 'l'; f++) longs++;
		switch (*f) {
		case 'd': {
			int64_t v = (int64_t)argument(args, longs, true);
			put_number(v < 0 ? -(uint64_t)v : (uint64_t)v, 10, width, pad, v < 0);
			break;
		}
		case 'u': put_number(argument(args, longs, false), 10, width, pad, false); break;
		case 'x': put_number(argument(args, longs, false), 16, width, pad, false); break;
		case 'c': put((char)va_arg(*args, int)); break;
		case 's':
			for (const char *s = va_arg(*args, const char *); *s; s++) put(*s);
			break;
		case 0: return;
		default: put(*f);
		}
	}
}

void print(const char *format, ...) {
	va_list args;
	va_start(args, format);
	vprint(format, &args);
	va_end(args);
}

static noreturn void end(enum result code) {
	put('\n');
	uart_wait(UART_LSR_TEMT);
	out8(DEBUG_EXIT, (uint8_t)code);
	for (;;) asm volatile("cli; hlt");
}

#define DEFINE_RESULT(name, word, code)                                                                      \
	noreturn void name(const char *format, ...) {                                                            \
		va_list args;                                                                                        \
		va_start(args, format);                                                                              \
		print(word " ");                                                                                     \
		vprint(format, &args);                                                                               \
		va_end(args);                                                                                        \
		end(code);                                                                                           \
	}
DEFINE_RESULT(result_skip, "SKIP", RESULT_SKIP)
DEFINE_RESULT(result_error, "ERROR", RESULT_ERROR)
DEFINE_RESULT(result_failure, "FAILURE", RESULT_FAILURE)

noreturn void finish(void) {
	if (failed)
		result_failure("%u of %u checks, the first at %s:%d: %s", failed, checks, first_file, first_line,
		               first_what);
	if (!checks) result_error("nothing was checked");
	print("%u checks\nSUCCESS", checks);
	end(RESULT_SUCCESS);
}

void subtest(const char *name) { print("- %s\n", name); }

static void broken(const char *file, int line, const char *what) {
	if (failed++ == 0) {
		first_file = file;
		first_line = line;
		first_what = what;
	}
}

bool check_report(bool ok, const char *file, int line, const char *what, const char *format, ...) {
	checks++;
	if (ok) return true;
	va_list args;
	va_start(args, format);
	print("  %s:%d: not so: %s: ", file, line, what);
	vprint(format, &args);
	print("\n");
	va_end(args);
	broken(file, line, what);
	return false;
}

bool check_equal(uint64_t a, uint64_t b, const char *file, int line, const char *what) {
	return check_report(a == b, file, line, what, "%llx and %llx", (unsigned long long)a,
	                    (unsigned long long)b);
}

bool check_unless(bool known, bool ok, const char *file, int line, const char *what, const char *format,
                  ...) {
	checks++;
	if (ok) return true;
	va_list args;
	va_start(args, format);
	print("  %s:%d: %s: %s: ", file, line, known ? "NOTE, not so on this emulator" : "not so", what);
	vprint(format, &args);
	print("\n");
	va_end(args);
	if (!known) broken(file, line, what);
	return false;
}
