// SPDX-License-Identifier: Apache-2.0
// printf-style formatting into a bounded buffer: %d %i %u %x %X %c %s %p %% with the flags 0, - and # (0x
// before a hexadecimal number that is not 0), width (also *), .precision for %s (also .*), and the lengths
// hh h l ll z j. Nothing else; an unknown conversion is printed as it stands, so a mistake is seen. No
// floating point.
#pragma once

#include "kernel/lib/types.h"

// Both write at most size bytes including the terminating 0 (nothing when size is 0) and return the
// length the whole text has, like C's snprintf.
size_t fmt_vprint(char *dst, size_t size, const char *format, va_list args) __printf_like(3, 0);
size_t fmt_print(char *dst, size_t size, const char *format, ...) __printf_like(3, 4);
