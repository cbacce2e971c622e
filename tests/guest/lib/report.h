// SPDX-License-Identifier: Apache-2.0
// What a guest test tells its judge: lines on COM1, of which the last one is SUCCESS, SKIP, ERROR (the test
// is broken) or FAILURE (the subject is broken), and the matching code to the debug-exit port.
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdnoreturn.h>

enum result { RESULT_SUCCESS = 0, RESULT_FAILURE = 1, RESULT_SKIP = 2, RESULT_ERROR = 3 };

void report_init(void);

// Conversions: %d %u %x %s %c and %% with l (machine word) or ll (64 bits), width, and 0 padding.
void print(const char *format, ...) __attribute__((format(printf, 1, 2)));

// Ends the test at once, with a text after the word.
noreturn void result_skip(const char *format, ...) __attribute__((format(printf, 1, 2)));
noreturn void result_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
noreturn void result_failure(const char *format, ...) __attribute__((format(printf, 1, 2)));
// Ends the test: SUCCESS when every CHECK held, else FAILURE with the count and the first.
noreturn void finish(void);

// Names the part that now begins; a hang is then found in the log.
void subtest(const char *name);

// Records one expectation; a broken one is printed with its place and the test goes on.
#define CHECK(condition, ...) check_report((condition), __FILE__, __LINE__, #condition, __VA_ARGS__)
#define CHECK_EQ(a, b) check_equal((uint64_t)(a), (uint64_t)(b), __FILE__, __LINE__, #a " == " #b)
bool check_report(bool ok, const char *file, int line, const char *what, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
bool check_equal(uint64_t a, uint64_t b, const char *file, int line, const char *what);

// The same, but where `known` says that this emulator is at fault a broken one is only noted.
#define CHECK_UNLESS(known, condition, ...)                                                                  \
	check_unless((known), (condition), __FILE__, __LINE__, #condition, __VA_ARGS__)
bool check_unless(bool known, bool ok, const char *file, int line, const char *what, const char *format, ...)
    __attribute__((format(printf, 6, 7)));
