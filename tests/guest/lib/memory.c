// SPDX-License-Identifier: Apache-2.0
// The functions that the compiler calls by itself in freestanding code.
#include <stddef.h>

void *memcpy(void *restrict to, const void *restrict from, size_t n);
void *memset(void *to, int c, size_t n);
void *memmove(void *to, const void *from, size_t n);
int memcmp(const void *a, const void *b, size_t n);

void *memcpy(void *restrict to, const void *restrict from, size_t n) {
	void *result = to;
	asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
	return result;
}

void *memset(void *to, int c, size_t n) {
	void *result = to;
	asm volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(c) : "memory");
	return result;
}

void *memmove(void *to, const void *from, size_t n) {
	char *t = to;
	const char *f = from;
	if (t < f) return memcpy(to, from, n);
	while (n--) t[n] = f[n];
	return to;
}

int memcmp(const void *a, const void *b, size_t n) {
	const unsigned char *x = a, *y = b;
	for (; n; n--, x++, y++)
		if (*x != *y) return *x - *y;
	return 0;
}
