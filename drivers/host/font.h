// SPDX-License-Identifier: Apache-2.0
// The built-in font, made by tools/psf2c.py at build time from a Debian package: 8x16 dots, one byte a line,
// the leftmost dot in bit 7, for the characters FONT_FIRST to FONT_LAST; the last one is the replacement.
#pragma once

#include "kernel/lib/types.h"

#define FONT_FIRST 0x20u
#define FONT_LAST 0x7fu

extern const uint8_t font_glyphs[FONT_LAST - FONT_FIRST + 1][16];
