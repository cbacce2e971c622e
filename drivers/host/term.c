// SPDX-License-Identifier: Apache-2.0
// The terminal's state machine (ECMA-48 control sequences, the DEC wrap rule) and the comparison of what should
// be on the screen with what the painter drew last.
#include "drivers/host/term.h"

#include "kernel/lib/bits.h"
#include "kernel/lib/fmt.h"
#include "kernel/lib/string.h"

#define ATTRIBUTE_DEFAULT 0x07u
#define TAB_STOP 8u
#define PARAM_LARGEST 9999u

enum parse { PARSE_TEXT, PARSE_ESCAPE, PARSE_CSI, PARSE_STRING, PARSE_STRING_ESCAPE, PARSE_CHARSET };

enum control {
	BEL = 0x07,
	BS = 0x08,
	HT = 0x09,
	LF = 0x0a,
	VT = 0x0b,
	FF = 0x0c,
	CR = 0x0d,
	CAN = 0x18,
	SUB = 0x1a,
	ESC = 0x1b
};

static term_cell_t blank(const struct term *t) {
	return (term_cell_t)((t->attribute & 0xf0u) << 8 | 0x0720u);
}

static void clear_cells(struct term *t, unsigned row, unsigned from, unsigned to) {
	for (unsigned c = from; c < to && c < t->columns; c++) t->cell[row][c] = blank(t);
	t->dirty[row] = true;
}

static void clear_rows(struct term *t, unsigned from, unsigned to) {
	for (unsigned r = from; r < to; r++) clear_cells(t, r, 0, t->columns);
}

// Rows from..last move by `by` rows up; what appears is blank.
static void scroll_up(struct term *t, unsigned from, unsigned by) {
	by = (unsigned)min_u64(by, t->rows - from);
	memmove(t->cell[from], t->cell[from + by], (t->rows - from - by) * sizeof t->cell[0]);
	for (unsigned r = from; r < t->rows; r++) t->dirty[r] = true;
	clear_rows(t, t->rows - by, t->rows);
}

static void scroll_down(struct term *t, unsigned from, unsigned by) {
	by = (unsigned)min_u64(by, t->rows - from);
	memmove(t->cell[from + by], t->cell[from], (t->rows - from - by) * sizeof t->cell[0]);
	for (unsigned r = from; r < t->rows; r++) t->dirty[r] = true;
	clear_rows(t, from, from + by);
}

static void line_feed(struct term *t) {
	if (t->row + 1 < t->rows)
		t->row++;
	else
		scroll_up(t, 0, 1);
}

static void put_character(struct term *t, uint8_t character) {
	if (t->column == t->columns) {
		t->column = 0;
		line_feed(t);
	}
	const uint8_t a = t->attribute;
	const uint8_t shown = t->reverse ? (uint8_t)((a & 0x08u) | (a >> 4 & 0x07u) | (a & 0x07u) << 4) : a;
	t->cell[t->row][t->column++] = (term_cell_t)(shown << 8 | character);
	t->dirty[t->row] = true;
}

static void move_to(struct term *t, unsigned column, unsigned row) {
	t->column = (unsigned)min_u64(column, t->columns - 1);
	t->row = (unsigned)min_u64(row, t->rows - 1);
}

static void reset_attributes(struct term *t) {
	t->attribute = ATTRIBUTE_DEFAULT;
	t->bright = t->reverse = false;
}

static void reset_all(struct term *t) {
	reset_attributes(t);
	clear_rows(t, 0, t->rows);
	t->column = t->row = t->saved_column = t->saved_row = 0;
	t->parse = PARSE_TEXT;
	t->reply_bytes = 0;
}

static void control(struct term *t, uint8_t byte) {
	switch (byte) {
	case BS:
		if (t->column == t->columns) t->column--;
		if (t->column > 0) t->column--;
		break;
	case HT: move_to(t, (t->column / TAB_STOP + 1) * TAB_STOP, t->row); break;
	case LF:
	case VT:
	case FF: line_feed(t); break;
	case CR: t->column = 0; break;
	default: break; // BEL and the rest make no mark
	}
}

// ---- control sequences -------------------------------------------------------------------------------------

// ECMA-48 orders colours red-green-blue from bit 0, the PC the other way round.
static uint8_t pc_colour(unsigned ansi) { return (uint8_t)((ansi & 1) << 2 | (ansi & 2) | (ansi & 4) >> 2); }

// The 256-colour and RGB forms (38;5;n, 38;2;r;g;b) are skipped as a whole; returns parameters to skip.
static unsigned extended_colour(const struct term *t, unsigned i) {
	if (i + 1 >= t->param_count) return 0;
	return t->param[i + 1] == 5 ? 2 : t->param[i + 1] == 2 ? 4 : 0;
}

static void set_foreground(struct term *t, uint8_t colour) {
	t->attribute = (uint8_t)((t->attribute & 0xf0u) | colour | (t->bright ? 8 : 0));
}

static uint8_t with_background(uint8_t attribute, unsigned colour) {
	return (uint8_t)((attribute & 0x0fu) | colour << 4);
}

static void select_graphic(struct term *t) {
	if (t->param_count == 0) reset_attributes(t);
	for (unsigned i = 0; i < t->param_count; i++) {
		const unsigned p = t->param[i];
		if (p == 0) {
			reset_attributes(t);
		} else if (p == 1 || p == 22) {
			t->bright = p == 1;
			set_foreground(t, t->attribute & 7);
		} else if (p == 7 || p == 27) {
			t->reverse = p == 7;
		} else if (p >= 30 && p <= 37) {
			set_foreground(t, pc_colour(p - 30));
		} else if (p >= 40 && p <= 47) {
			t->attribute = with_background(t->attribute, pc_colour(p - 40));
		} else if (p == 39) {
			set_foreground(t, ATTRIBUTE_DEFAULT);
		} else if (p == 49) {
			t->attribute &= 0x0fu;
		} else if (p >= 90 && p <= 97) {
			t->attribute = (uint8_t)((t->attribute & 0xf0u) | 8 | pc_colour(p - 90));
		} else if (p >= 100 && p <= 107) {
			t->attribute = with_background(t->attribute, 8u | pc_colour(p - 100));
		} else if (p == 38 || p == 48) {
			i += extended_colour(t, i);
		}
	}
}

static void erase_display(struct term *t, unsigned mode) {
	if (mode == 0) {
		clear_cells(t, t->row, t->column, t->columns);
		clear_rows(t, t->row + 1, t->rows);
	} else if (mode == 1) {
		clear_rows(t, 0, t->row);
		clear_cells(t, t->row, 0, t->column + 1);
	} else if (mode <= 3) {
		clear_rows(t, 0, t->rows);
	}
}

static void erase_line(struct term *t, unsigned mode) {
	if (mode == 0) clear_cells(t, t->row, t->column, t->columns);
	if (mode == 1) clear_cells(t, t->row, 0, t->column + 1);
	if (mode == 2) clear_cells(t, t->row, 0, t->columns);
}

// Characters from the cursor to the end of the line move by `by` columns; to the left when delete is true.
static void shift_line(struct term *t, unsigned by, bool delete) {
	if (t->column >= t->columns) return;
	const unsigned rest = t->columns - t->column;
	by = (unsigned)min_u64(by, rest);
	term_cell_t *at = &t->cell[t->row][t->column];
	if (delete) {
		memmove(at, at + by, (rest - by) * sizeof *at);
		clear_cells(t, t->row, t->columns - by, t->columns);
	} else {
		memmove(at + by, at, (rest - by) * sizeof *at);
		clear_cells(t, t->row, t->column, t->column + by);
	}
}

static void status_report(struct term *t, unsigned what) {
	if (what == 5) t->reply_bytes = (unsigned)fmt_print(t->reply, sizeof t->reply, "\x1b[0n");
	if (what == 6) {
		const unsigned column = (unsigned)min_u64(t->column, t->columns - 1);
		t->reply_bytes =
		    (unsigned)fmt_print(t->reply, sizeof t->reply, "\x1b[%u;%uR", t->row + 1, column + 1);
	}
}

static unsigned parameter(const struct term *t, unsigned i, unsigned otherwise) {
	return i < t->param_count && t->param[i] != 0 ? t->param[i] : otherwise;
}

static void sequence(struct term *t, uint8_t final) {
	const unsigned n = parameter(t, 0, 1), mode = parameter(t, 0, 0);
	if (t->private_marker) return; // modes of the terminal (cursor shape, mouse): nothing to do
	switch (final) {
	case '@': shift_line(t, n, false); break;
	case 'A': move_to(t, t->column, t->row - (unsigned)min_u64(n, t->row)); break;
	case 'B':
	case 'e': move_to(t, t->column, t->row + n); break;
	case 'C':
	case 'a': move_to(t, t->column + n, t->row); break;
	case 'D': move_to(t, t->column - (unsigned)min_u64(n, t->column), t->row); break;
	case 'E': move_to(t, 0, t->row + n); break;
	case 'F': move_to(t, 0, t->row - (unsigned)min_u64(n, t->row)); break;
	case 'G':
	case '`': move_to(t, n - 1, t->row); break;
	case 'H':
	case 'f': move_to(t, parameter(t, 1, 1) - 1, n - 1); break;
	case 'J': erase_display(t, mode); break;
	case 'K': erase_line(t, mode); break;
	case 'L': scroll_down(t, t->row, n); break;
	case 'M': scroll_up(t, t->row, n); break;
	case 'P': shift_line(t, n, true); break;
	case 'X': clear_cells(t, t->row, t->column, t->column + n); break;
	case 'S': scroll_up(t, 0, n); break;
	case 'T': scroll_down(t, 0, n); break;
	case 'c': t->reply_bytes = (unsigned)fmt_print(t->reply, sizeof t->reply, "\x1b[?6c"); break;
	case 'd': move_to(t, t->column, n - 1); break;
	case 'm': select_graphic(t); break;
	case 'n': status_report(t, mode); break;
	case 's': t->saved_column = t->column, t->saved_row = t->row; break;
	case 'u': move_to(t, t->saved_column, t->saved_row); break;
	default: break;
	}
}

static void csi_byte(struct term *t, uint8_t byte) {
	if (byte >= '0' && byte <= '9') {
		if (t->param_count == 0) t->param_count = 1;
		uint16_t *p = &t->param[t->param_count - 1];
		*p = (uint16_t)min_u64(*p * 10u + (byte - '0'), PARAM_LARGEST);
	} else if (byte == ';' || byte == ':') {
		if (t->param_count == 0) t->param_count = 1;
		if (t->param_count < TERM_PARAM_MAX) t->param[t->param_count++] = 0;
	} else if (byte >= 0x3c && byte <= 0x3f) {
		t->private_marker = true;
	} else if (byte >= 0x40 && byte <= 0x7e) {
		sequence(t, byte);
		t->parse = PARSE_TEXT;
	} else if (byte < 0x20 || byte > 0x2f) { // not an intermediate byte: the sequence is broken
		t->parse = PARSE_TEXT;
	}
}

static void escape_byte(struct term *t, uint8_t byte) {
	t->parse = PARSE_TEXT;
	switch (byte) {
	case '[':
		t->parse = PARSE_CSI;
		t->param_count = 0;
		t->private_marker = false;
		memset(t->param, 0, sizeof t->param);
		break;
	case ']':
	case 'P':
	case 'X':
	case '^':
	case '_': t->parse = PARSE_STRING; break;
	case '(':
	case ')':
	case '#':
	case '%': t->parse = PARSE_CHARSET; break;
	case 'c': reset_all(t); break;
	case 'D': line_feed(t); break;
	case 'E': t->column = 0, line_feed(t); break;
	case 'M':
		if (t->row > 0)
			t->row--;
		else
			scroll_down(t, 0, 1);
		break;
	case '7': t->saved_column = t->column, t->saved_row = t->row; break;
	case '8': move_to(t, t->saved_column, t->saved_row); break;
	default: break;
	}
}

static void text_byte(struct term *t, uint8_t byte) {
	if (byte >= 0x20 && byte <= 0x7e)
		put_character(t, byte);
	else if (byte < 0x20)
		control(t, byte);
	else if (byte != 0x7f &&
	         (byte & 0xc0) != 0x80) // one mark for a UTF-8 character, not for each of its bytes
		put_character(t, TERM_REPLACEMENT);
}

static void byte_in(struct term *t, uint8_t byte) {
	if (byte == CAN || byte == SUB) {
		t->parse = PARSE_TEXT;
		return;
	}
	switch ((enum parse)t->parse) {
	case PARSE_STRING: // titles and the like: skipped to their end, BEL or ESC backslash
		if (byte == BEL) t->parse = PARSE_TEXT;
		if (byte == ESC) t->parse = PARSE_STRING_ESCAPE;
		return;
	case PARSE_STRING_ESCAPE:
		t->parse = PARSE_TEXT;
		if (byte != '\\') escape_byte(t, byte);
		return;
	case PARSE_TEXT:
	case PARSE_ESCAPE:
	case PARSE_CSI:
	case PARSE_CHARSET: break;
	}
	if (byte == ESC)
		t->parse = PARSE_ESCAPE;
	else if (byte < 0x20 && t->parse != PARSE_CHARSET)
		control(t, byte); // works inside a sequence as well
	else if (t->parse == PARSE_ESCAPE)
		escape_byte(t, byte);
	else if (t->parse == PARSE_CSI)
		csi_byte(t, byte);
	else if (t->parse == PARSE_CHARSET)
		t->parse = PARSE_TEXT;
	else
		text_byte(t, byte);
}

// ---- interface ---------------------------------------------------------------------------------------------

void term_init(struct term *term, unsigned columns, unsigned rows, const struct term_painter *painter) {
	memset(term, 0, sizeof *term);
	for (unsigned r = 0; r < TERM_ROW_MAX; r++)
		for (unsigned c = 0; c < TERM_COLUMN_MAX; c++) term->shown[r][c] = TERM_BLANK;
	term->painter = *painter;
	term->columns = (unsigned)min_u64(max_u64(columns, 1), TERM_COLUMN_MAX);
	term->rows = (unsigned)min_u64(max_u64(rows, 1), TERM_ROW_MAX);
	reset_all(term);
}

void term_write(struct term *term, const uint8_t *bytes, size_t count) {
	for (size_t i = 0; i < count; i++) byte_in(term, bytes[i]);
}

// Draws the changed cells of one row, at most `most`; returns how many, and clears the row's mark when done.
static unsigned paint_row(struct term *t, unsigned row, unsigned most) {
	unsigned painted = 0;
	for (unsigned c = 0; c < t->columns; c++) {
		if (t->cell[row][c] == t->shown[row][c]) continue;
		if (painted == most) return painted;
		t->painter.paint(t->painter.ctx, c, row, t->cell[row][c], false);
		t->shown[row][c] = t->cell[row][c];
		painted++;
	}
	t->dirty[row] = false;
	return painted;
}

static bool any_dirty(const struct term *t) {
	for (unsigned r = 0; r < t->rows; r++) {
		if (t->dirty[r]) return true;
	}
	return false;
}

static void paint_cursor(struct term *t) {
	const unsigned column = (unsigned)min_u64(t->column, t->columns - 1);
	if (t->cursor_shown && (t->shown_column != column || t->shown_row != t->row))
		t->painter.paint(t->painter.ctx, t->shown_column, t->shown_row,
		                 t->shown[t->shown_row][t->shown_column], false);
	t->painter.paint(t->painter.ctx, column, t->row, t->shown[t->row][column], true);
	t->cursor_shown = true;
	t->shown_column = column;
	t->shown_row = t->row;
}

bool term_paint(struct term *term, unsigned max_cells) {
	const bool was_dirty = any_dirty(term);
	unsigned left = max_cells;
	for (unsigned i = 0; i < term->rows && left != 0; i++) {
		if (term->paint_row >= term->rows) term->paint_row = 0;
		if (term->dirty[term->paint_row]) left -= paint_row(term, term->paint_row, left);
		if (term->dirty[term->paint_row]) return true;
		term->paint_row++;
	}
	if (any_dirty(term)) return true;
	const bool moved = term->column != term->shown_column || term->row != term->shown_row;
	if (was_dirty || moved || !term->cursor_shown) paint_cursor(term);
	return false;
}

size_t term_reply(struct term *term, uint8_t *bytes, size_t count) {
	if (term->reply_bytes == 0 || count < term->reply_bytes) return 0;
	const size_t taken = term->reply_bytes;
	memcpy(bytes, term->reply, taken);
	term->reply_bytes = 0;
	return taken;
}
