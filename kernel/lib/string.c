// SPDX-License-Identifier: Apache-2.0
// String functions. The block functions use REP, which current CPUs run at cache speed (ERMS) and
// which keeps them free of vector registers. The host build takes libc's and only str_copy from here.
#include "kernel/lib/string.h"

#if STRING_OURS
void *memcpy(void *restrict dst, const void *restrict src, size_t len) {
	void *to = dst;
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(src), "+c"(len) : : "memory");
	return dst;
}

void *memmove(void *dst, const void *src, size_t len) {
	if ((uintptr_t)dst - (uintptr_t)src >= len) return memcpy(dst, src, len);
	unsigned char *to = (unsigned char *)dst;
	const unsigned char *from = src;
	while (len-- > 0) to[len] = from[len];
	return dst;
}

void *memset(void *dst, int byte, size_t len) {
	void *to = dst;
	__asm__ volatile("rep stosb" : "+D"(to), "+c"(len) : "a"(byte) : "memory");
	return dst;
}

int memcmp(const void *a, const void *b, size_t len) {
	const unsigned char *x = a, *y = b;
	for (size_t i = 0; i < len; i++)
		if (x[i] != y[i]) return x[i] < y[i] ? -1 : 1;
	return 0;
}

size_t strlen(const char *s) {
	size_t n = 0;
	while (s[n] != '\0') n++;
	return n;
}

size_t strnlen(const char *s, size_t max) {
	size_t n = 0;
	while (n < max && s[n] != '\0') n++;
	return n;
}

int strncmp(const char *a, const char *b, size_t max) {
	for (size_t i = 0; i < max; i++) {
		unsigned char x = (unsigned char)a[i], y = (unsigned char)b[i];
		if (x != y) return x < y ? -1 : 1;
		if (x == '\0') break;
	}
	return 0;
}

int strcmp(const char *a, const char *b) { return strncmp(a, b, SIZE_MAX); }

char *strchr(const char *s, int c) {
	for (;; s++) {
		if (*s == (char)c) return (char *)(uintptr_t)s;
		if (*s == '\0') return NULL;
	}
}
#endif

bool str_copy(char *dst, size_t size, const char *src) {
	size_t len = strlen(src);
	bool fits = len < size;
	if (!fits) len = size - 1;
	memcpy(dst, src, len);
	dst[len] = '\0';
	return fits;
}
