// SPDX-License-Identifier: Apache-2.0
// assert() means our own bug; it stays on in every build and never judges guest, config or firmware
// data. assert_fail is provided by the kernel (panic) and by the unit tests (abort).
#pragma once

#include "kernel/lib/types.h"

__cold noreturn void assert_fail(const char *expr, const char *file, int line);

#undef assert
#define assert(expr) ((expr) ? (void)0 : assert_fail(#expr, __FILE__, __LINE__))
