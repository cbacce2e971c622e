// SPDX-License-Identifier: Apache-2.0
// Cells into the VGA text buffer: the term cell has the hardware's own layout (character low, attribute high).
#include "drivers/host/vgatext.h"

#include "arch/x86/cpu/insn.h"
#include "arch/x86/cpu/mmio.h"

#define CRTC_INDEX_PORT 0x3d4u // colour CRT controller
#define CRTC_DATA_PORT 0x3d5u
#define CRTC_CURSOR_START 0x0au
#define CRTC_CURSOR_OFF 0x20u
#define ATTRIBUTE_BLINK 0x80u // what a bright background means to the hardware's default
#define VGA_REPLACEMENT 0xfeu // code page 437: a small block

static void vgatext_paint(void *ctx, unsigned column, unsigned row, term_cell_t cell, bool cursor) {
	uint8_t *buffer = ctx;
	uint8_t character = (uint8_t)cell, attribute = (uint8_t)(cell >> 8);
	if (character == TERM_REPLACEMENT) character = VGA_REPLACEMENT;
	attribute = (uint8_t)(attribute & ~ATTRIBUTE_BLINK);
	if (cursor)
		attribute = (uint8_t)((attribute & 0x08u) | (attribute & 0x07u) << 4 | (attribute >> 4 & 0x07u));
	mmio_write16(buffer + (row * VGATEXT_COLUMNS + column) * 2, (uint16_t)(attribute << 8 | character));
}

struct term_painter vgatext_painter(void *buffer) {
	out8(CRTC_INDEX_PORT, CRTC_CURSOR_START);
	out8(CRTC_DATA_PORT, CRTC_CURSOR_OFF);
	for (unsigned row = 0; row < VGATEXT_ROWS; row++)
		for (unsigned column = 0; column < VGATEXT_COLUMNS; column++)
			vgatext_paint(buffer, column, row, TERM_BLANK, false);
	return (struct term_painter){.paint = vgatext_paint, .ctx = buffer};
}
