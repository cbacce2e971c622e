// SPDX-License-Identifier: Apache-2.0
// The C string functions the hypervisor uses. Freestanding builds get ours, hosted builds libc's (a
// test may ask for ours by defining STRING_OURS).
#pragma once

#include "kernel/lib/types.h"

#if !__STDC_HOSTED__
#define STRING_OURS 1
#endif

#if !defined(STRING_OURS)
#define STRING_OURS 0
#include <string.h>
#else
void *memcpy(void *restrict dst, const void *restrict src, size_t len);
void *memmove(void *dst, const void *src, size_t len);
void *memset(void *dst, int byte, size_t len);
int memcmp(const void *a, const void *b, size_t len);
size_t strlen(const char *s);
size_t strnlen(const char *s, size_t max);
int strcmp(const char *a, const char *b);
int strncmp(const char *a, const char *b, size_t max);
char *strchr(const char *s, int c);
#endif

// Copies src into dst of `size` bytes, always terminated; false when it had to be cut. size > 0.
bool str_copy(char *dst, size_t size, const char *src);
