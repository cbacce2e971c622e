// SPDX-License-Identifier: Apache-2.0
// A text terminal in RAM: cells, a cursor, the control characters and the subset of ECMA-48 escape sequences
// that shells and boot logs use. A painter (fb, vgatext) draws the cells that changed, in bounded pieces, so
// no frame buffer is ever read. Bytes above 0x7E show as a replacement glyph. The caller serialises.
#pragma once

#include "kernel/lib/types.h"

#define TERM_COLUMN_MAX 240u
#define TERM_ROW_MAX 75u

// Low byte: character 0x20 to 0x7F (0x7F: replacement glyph). High byte: colours, background << 4 | foreground,
// PC text-mode numbering (bit 0 blue, 1 green, 2 red, 3 bright).
typedef uint16_t term_cell_t;
#define TERM_BLANK ((term_cell_t)0x0720)
#define TERM_REPLACEMENT 0x7fu

struct term_painter {
	// Draws one cell; column and row are inside the size given to term_init.
	void (*paint)(void *ctx, unsigned column, unsigned row, term_cell_t cell, bool cursor);
	void *ctx;
};

#define TERM_PARAM_MAX 8u

struct term {
	struct term_painter painter;
	unsigned columns, rows;
	unsigned column, row; // cursor; column == columns: a wrap is due before the next character
	unsigned saved_column, saved_row;
	uint8_t attribute;
	bool bright, reverse;
	uint8_t parse; // enum in term.c
	bool private_marker;
	unsigned param_count;
	uint16_t param[TERM_PARAM_MAX];
	unsigned paint_row;               // where the next piece of painting starts
	unsigned shown_column, shown_row; // where the painted cursor is
	bool cursor_shown;
	bool dirty[TERM_ROW_MAX];
	char reply[16]; // answer to a cursor or status query, for term_reply
	unsigned reply_bytes;
	term_cell_t cell[TERM_ROW_MAX][TERM_COLUMN_MAX];
	term_cell_t shown[TERM_ROW_MAX][TERM_COLUMN_MAX]; // what the painter drew last
};

// columns and rows are cut to the maxima. The screen must show nothing but blanks (TERM_BLANK).
void term_init(struct term *term, unsigned columns, unsigned rows, const struct term_painter *painter);
void term_write(struct term *term, const uint8_t *bytes, size_t count);
// Draws at most max_cells changed cells; true when more remain.
bool term_paint(struct term *term, unsigned max_cells);
// Takes the pending answer to a query (ESC [ 6 n, ESC [ c), what a real terminal would send as input.
size_t term_reply(struct term *term, uint8_t *bytes, size_t count);
