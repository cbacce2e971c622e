// SPDX-License-Identifier: Apache-2.0
// drivers/host/term: control characters, escape sequences, scrolling, and that painting makes the screen equal
// to the cells with no more drawing than changed.
#include "tests/unit/support.h"

#include "drivers/host/term.h"

static struct term term;
static term_cell_t screen[TERM_ROW_MAX][TERM_COLUMN_MAX];
static unsigned paints, cursor_column, cursor_row;

static void paint(void *ctx, unsigned column, unsigned row, term_cell_t cell, bool cursor) {
	(void)ctx;
	assert_true(column < term.columns && row < term.rows);
	screen[row][column] = cell;
	paints++;
	if (cursor) cursor_column = column, cursor_row = row;
}

static void begin(unsigned columns, unsigned rows) {
	const struct term_painter painter = {.paint = paint};
	for (unsigned r = 0; r < TERM_ROW_MAX; r++)
		for (unsigned c = 0; c < TERM_COLUMN_MAX; c++) screen[r][c] = TERM_BLANK;
	term_init(&term, columns, rows, &painter);
}

static void type(const char *text) { term_write(&term, (const uint8_t *)text, strlen(text)); }

static void paint_all(void) {
	while (term_paint(&term, 7)) {
	}
}

static void assert_row(unsigned row, const char *text) {
	paint_all();
	char shown[TERM_COLUMN_MAX + 1];
	for (unsigned c = 0; c < term.columns; c++) shown[c] = (char)(screen[row][c] & 0xff);
	shown[term.columns] = 0;
	for (unsigned c = term.columns; c > 0 && shown[c - 1] == ' '; c--) shown[c - 1] = 0;
	assert_string_equal(shown, text);
}

static void write_lines_and_controls(void **state) {
	(void)state;
	begin(20, 4);
	type("one\r\ntwo\b\bX\tY\rZ");
	assert_row(0, "one");
	assert_row(1, "ZXo     Y");
	assert_int_equal(cursor_column, 1);
	assert_int_equal(cursor_row, 1);
}

static void write_wraps_only_when_needed(void **state) {
	(void)state;
	begin(5, 3);
	type("12345");
	assert_int_equal(term.row, 0);
	type("\r\nab");
	assert_row(0, "12345");
	assert_row(1, "ab");
	type("cdef");
	assert_row(1, "abcde");
	assert_row(2, "f");
}

static void write_scrolls(void **state) {
	(void)state;
	begin(10, 3);
	type("1\r\n2\r\n3\r\n4");
	assert_row(0, "2");
	assert_row(2, "4");
	type("\033[H\033M"); // reverse index at the top
	assert_row(0, "");
	assert_row(1, "2");
	type("\033[2;1H\033[M"); // delete line
	assert_row(1, "3");
	assert_row(2, "");
	type("\033[1;1H\033[2L");
	assert_row(2, "");
}

static void write_cursor_and_erase(void **state) {
	(void)state;
	begin(10, 4);
	type("0123456789\033[1;4HX\033[2CY\033[KZ");
	assert_row(0, "012X45YZ");
	type("\033[1;3H\033[2P");
	assert_row(0, "0145YZ");
	type("\033[3@");
	assert_row(0, "01   45YZ");
	type("\033[1K*");
	assert_row(0, "  *  45YZ");
	type("\033[4;10Hq\033[2Jr");
	assert_row(3, "r"); // the wrap was due: it scrolled
	type("\033[99;99H!\033[1;1H\033[s\033[3;3H\033[u@");
	assert_row(3, "r        !");
	assert_row(0, "@");
}

static void write_colours(void **state) {
	(void)state;
	begin(20, 2);
	type("a\033[31mb\033[1mc\033[44;32md\033[0me\033[7mf\033[27m\033[38;5;196mg\033[97mh\033[m");
	paint_all();
	assert_int_equal(screen[0][0], 0x0700 | 'a');
	assert_int_equal(screen[0][1], 0x0400 | 'b'); // red is 4 on a PC
	assert_int_equal(screen[0][2], 0x0c00 | 'c');
	assert_int_equal(screen[0][3], 0x1a00 | 'd');
	assert_int_equal(screen[0][4], 0x0700 | 'e');
	assert_int_equal(screen[0][5], 0x7000 | 'f');
	assert_int_equal(screen[0][6], 0x0700 | 'g'); // 256 colours: skipped whole
	assert_int_equal(screen[0][7], 0x0f00 | 'h');
}

static void write_strange_bytes_show_one_mark(void **state) {
	(void)state;
	begin(20, 2);
	type("a\xc3\xa4z\x7f\033]0;title\007b\033(B\033[?25lc\033[12\030d");
	assert_row(0, "a\x7fzbcd");
}

static void reply_answers_queries(void **state) {
	(void)state;
	uint8_t bytes[32];
	begin(80, 25);
	assert_int_equal(term_reply(&term, bytes, sizeof bytes), 0);
	type("\033[12;34H\033[6n");
	assert_int_equal(term_reply(&term, bytes, 3), 0); // too small: kept
	assert_int_equal(term_reply(&term, bytes, sizeof bytes), 8);
	assert_memory_equal(bytes, "\033[12;34R", 8);
	assert_int_equal(term_reply(&term, bytes, sizeof bytes), 0);
}

static void paint_draws_only_changes(void **state) {
	(void)state;
	begin(80, 25);
	paint_all();
	paints = 0;
	type("x");
	paint_all();
	assert_true(paints <= 3); // the cell, and the cursor's old and new place
	paints = 0;
	paint_all();
	assert_int_equal(paints, 0);
	type("\rx");
	paint_all();
	assert_true(paints <= 1);
}

static void paint_is_bounded(void **state) {
	(void)state;
	begin(240, 75);
	for (unsigned i = 0; i < 500; i++) type("x");
	paints = 0;
	assert_true(term_paint(&term, 100));
	assert_int_equal(paints, 100);
}

static void init_cuts_the_size(void **state) {
	(void)state;
	begin(1000, 1000);
	assert_int_equal(term.columns, TERM_COLUMN_MAX);
	assert_int_equal(term.rows, TERM_ROW_MAX);
	begin(0, 0);
	assert_int_equal(term.columns, 1);
	type("ab\r\n\t\033[5;5H\033[9P\033[9@\033[9L\033[9M\033[9S\033[9T\033[9Xc");
	paint_all();
}

static void write_random_bytes_stay_in_bounds(void **state) {
	(void)state;
	static const char likely_bytes[] = "\033[;0123456789ABCDHJKLMPSTXmnsu\r\n\t\b ?";
	struct rng rng;
	rng_init(&rng, 31);
	for (unsigned round = 0; round < 60; round++) {
		begin(1 + (unsigned)rng_below(&rng, TERM_COLUMN_MAX), 1 + (unsigned)rng_below(&rng, TERM_ROW_MAX));
		for (unsigned i = 0; i < 5000; i++) {
			const uint8_t byte = rng_below(&rng, 4)
			                         ? (uint8_t)likely_bytes[rng_below(&rng, sizeof likely_bytes - 1)]
			                         : (uint8_t)rng_next(&rng);
			term_write(&term, &byte, 1);
			assert_true(term.column <= term.columns && term.row < term.rows);
			if (rng_below(&rng, 50) == 0) (void)term_paint(&term, (unsigned)rng_below(&rng, 300) + 1);
		}
		paint_all();
		for (unsigned r = 0; r < term.rows; r++)
			assert_memory_equal(screen[r], term.cell[r], term.columns * sizeof(term_cell_t));
	}
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(write_lines_and_controls),
	    cmocka_unit_test(write_wraps_only_when_needed),
	    cmocka_unit_test(write_scrolls),
	    cmocka_unit_test(write_cursor_and_erase),
	    cmocka_unit_test(write_colours),
	    cmocka_unit_test(write_strange_bytes_show_one_mark),
	    cmocka_unit_test(reply_answers_queries),
	    cmocka_unit_test(paint_draws_only_changes),
	    cmocka_unit_test(paint_is_bounded),
	    cmocka_unit_test(init_cuts_the_size),
	    cmocka_unit_test(write_random_bytes_stay_in_bounds),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
