// SPDX-License-Identifier: Apache-2.0
// kernel/lib/fmt against libc's snprintf for everything both know, and by hand for the rest.
#include "tests/unit/support.h"

#include "kernel/lib/fmt.h"

#define CHECK(...)                                                                                           \
	do {                                                                                                     \
		char ours[128], theirs[128];                                                                         \
		size_t n = fmt_print(ours, sizeof ours, __VA_ARGS__);                                                \
		assert_int_equal(n, snprintf(theirs, sizeof theirs, __VA_ARGS__));                                   \
		assert_string_equal(ours, theirs);                                                                   \
	} while (0)

// Formats that the compiler would rightly refuse in a literal.
static size_t print_unchecked(char *dst, size_t size, const char *format, ...) {
	va_list args;

	va_start(args, format);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
	size_t n = fmt_vprint(dst, size, format, args);
#pragma GCC diagnostic pop
	va_end(args);
	return n;
}

static void print_integers_match_libc(void **state __unused_arg) {
	CHECK("%d %i %u", 0, -1, 4294967295u);
	CHECK("%d %d", INT_MIN, INT_MAX);
	CHECK("%ld %lld %zu %jd", LONG_MIN, LLONG_MAX, SIZE_MAX, INTMAX_MIN);
	CHECK("%hhd %hhu %hd %hu", 300, 300, 70000, 70000);
	CHECK("%x %X %lx %llX", 0xdeadbeefu, 0xdeadbeefu, UINT64_MAX, (unsigned long long)0xabc);
	CHECK("%5d|%-5d|%05d|%1d", 42, 42, 42, 12345);
	CHECK("%5d|%-5d|%05d", -42, -42, -42);
	CHECK("%*d|%-*d|%0*x", 6, 7, 6, 7, 8, 0x1fu);
	CHECK("%*d|", -6, 7);
	CHECK("%016lx", (unsigned long)0x1234);
	CHECK("%#X|%#010X", 0xabcu, 0xabcu);
	CHECK("%#x %#llx %#x|%#10x|%-#8x|", 0u, 0x1234ull, 0xabcu, 0x5u, 0x5u);
}

static void print_strings_match_libc(void **state __unused_arg) {
	CHECK("%s", "");
	CHECK("[%10s] [%-10s]", "abc", "abc");
	CHECK("[%.2s] [%.*s] [%.0s]", "abc", 1, "abc", "abc");
	CHECK("[%5.2s] [%.*s]", "abc", -1, "abc");
	CHECK("%c%c [%3c] [%-3c]", 'a', 'b', 'c', 'd');
	CHECK("100%%");
}

static void print_precision_bounds_reading(void **state __unused_arg) {
	char *unterminated = malloc(3); // ASan sees a read of the fourth byte
	char text[16];

	memcpy(unterminated, "abc", 3);
	assert_int_equal(fmt_print(text, sizeof text, "%.*s", 3, unterminated), 3);
	assert_string_equal(text, "abc");
	free(unterminated);
}

static void print_null_string_is_shown(void **state __unused_arg) {
	char text[16];

	print_unchecked(text, sizeof text, "%s", (char *)NULL);
	assert_string_equal(text, "(null)");
}

static void print_pointer_is_hex(void **state __unused_arg) {
	char text[32];

	fmt_print(text, sizeof text, "%p", (void *)(uintptr_t)0x1a2b);
	assert_string_equal(text, "0x1a2b");
}

static void print_short_buffer_truncates_and_counts(void **state __unused_arg) {
	char text[4] = {1, 1, 1, 1};

	assert_int_equal(fmt_print(text, 0, "hello"), 5);
	assert_int_equal(text[0], 1);
	assert_int_equal(fmt_print(text, 1, "hello"), 5);
	assert_int_equal(text[0], 0);
	assert_int_equal(fmt_print(text, sizeof text, "%d", 123456), 6);
	assert_string_equal(text, "123");
	assert_int_equal(fmt_print(NULL, 0, "%s", "abc"), 3);
}

static void print_unknown_conversion_is_shown(void **state __unused_arg) {
	char text[32];

	print_unchecked(text, sizeof text, "a %q %5y z");
	assert_string_equal(text, "a %q %5y z");
	print_unchecked(text, sizeof text, "end %");
	assert_string_equal(text, "end %");
	print_unchecked(text, sizeof text, "end %-05l");
	assert_string_equal(text, "end %-05l");
}

static void print_random_numbers_match_libc(void **state __unused_arg) {
	struct rng rng;

	rng_init(&rng, 1);
	for (int i = 0; i < 20000; i++) {
		uint64_t v = rng_next(&rng) >> rng_below(&rng, 64);
		int width = (int)rng_below(&rng, 30);

		CHECK("%lu %ld %lx %*d %0*lx", v, (long)v, v, width, (int)v, width, v);
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(print_integers_match_libc),
	    cmocka_unit_test(print_strings_match_libc),
	    cmocka_unit_test(print_precision_bounds_reading),
	    cmocka_unit_test(print_null_string_is_shown),
	    cmocka_unit_test(print_pointer_is_hex),
	    cmocka_unit_test(print_short_buffer_truncates_and_counts),
	    cmocka_unit_test(print_unknown_conversion_is_shown),
	    cmocka_unit_test(print_random_numbers_match_libc),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
