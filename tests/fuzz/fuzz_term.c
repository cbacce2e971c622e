// SPDX-License-Identifier: Apache-2.0
// drivers/host/term on arbitrary guest output: the cursor and every painted cell stay on the screen, and
// painting ends with the screen showing the cells.
#include <stdlib.h>
#include <string.h>

#include "drivers/host/term.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct term term;
static term_cell_t shown[TERM_ROW_MAX][TERM_COLUMN_MAX];

static void paint(void *ctx, unsigned column, unsigned row, term_cell_t cell, bool cursor) {
	(void)ctx;
	(void)cursor;
	if (column >= term.columns || row >= term.rows || (cell & 0xff) < 0x20 || (cell & 0xff) > 0x7f) abort();
	shown[row][column] = cell;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
	const struct term_painter painter = {.paint = paint};
	if (size < 2) return 0;
	for (unsigned r = 0; r < TERM_ROW_MAX; r++)
		for (unsigned c = 0; c < TERM_COLUMN_MAX; c++) shown[r][c] = TERM_BLANK;
	term_init(&term, data[0], data[1] & 31, &painter);
	const size_t half = size / 2;
	term_write(&term, data + 2, half > 2 ? half - 2 : 0);
	(void)term_paint(&term, 50);
	term_write(&term, data + (half > 2 ? half : 2), size - (half > 2 ? half : 2));
	if (term.column > term.columns || term.row >= term.rows) abort();
	while (term_paint(&term, 1000)) {
	}
	for (unsigned r = 0; r < term.rows; r++) {
		if (memcmp(shown[r], term.cell[r], term.columns * sizeof term.cell[0][0]) != 0) abort();
	}
	uint8_t reply[32];
	if (term_reply(&term, reply, sizeof reply) >= sizeof term.reply) abort();
	return 0;
}
