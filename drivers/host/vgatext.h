// SPDX-License-Identifier: Apache-2.0
// Painter of a text terminal on the VGA text buffer (80x25, colour, 0xB8000), for machines booted by BIOS
// without a linear frame buffer.
#pragma once

#include "drivers/host/term.h"
#include "mm/addr.h"

#define VGATEXT_BASE 0xb8000u
#define VGATEXT_BYTES 0x1000u
#define VGATEXT_COLUMNS 80u
#define VGATEXT_ROWS 25u

// buffer: the mapped VGATEXT_BYTES at VGATEXT_BASE. Clears it and hides the hardware cursor.
struct term_painter vgatext_painter(void *buffer);
