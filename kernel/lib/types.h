// SPDX-License-Identifier: Apache-2.0
// The freestanding basics that every file may use: fixed-width integers, bool, size_t, and the
// attributes the conventions ask for. Nothing here allocates or calls.
#pragma once

#include <limits.h>
#include <stdalign.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdnoreturn.h>

#undef __must_check
#define __must_check __attribute__((warn_unused_result))
#define __packed __attribute__((packed))
#define __aligned_to(n) __attribute__((aligned(n)))
#define __printf_like(fmt, args) __attribute__((format(printf, fmt, args)))
#define __unused_arg __attribute__((unused))
#define __cold __attribute__((cold))
// A step of the boot: tests/bench measures from one such function to the next.
#define __step __attribute__((noinline))

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define array_count(a) (sizeof(a) / sizeof((a)[0]))
#define container_of(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

#define KIB (UINT64_C(1) << 10)
#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)
