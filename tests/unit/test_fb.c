// SPDX-License-Identifier: Apache-2.0
// drivers/host/fb: glyph pixels, colours, pitch, scale and bounds, drawn into plain memory of exactly the size
// the record names, so that a pixel outside is found by ASan.
#include "tests/unit/support.h"

#include "drivers/host/fb.h"
#include "drivers/host/font.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"

#define PAPER 0x00000000u
#define INK 0x00c0c0c0u

static struct fb fb;
static struct term term;
static uint8_t *memory;
static struct boot_framebuffer info;

static void begin(uint32_t width, uint32_t height, uint32_t pitch, uint32_t format) {
	info = (struct boot_framebuffer){.bytes = (uint64_t)(height - 1) * pitch + width * 4u,
	                                 .width = width,
	                                 .height = height,
	                                 .pitch = pitch,
	                                 .format = format};
	free(memory);
	memory = malloc(info.bytes);
	memset(memory, 0x5a, info.bytes);
	assert_int_equal(fb_init(&fb, &info, memory), 0);
	fb_clear(&fb);
	const struct term_painter painter = fb_painter(&fb);
	term_init(&term, fb.columns, fb.rows, &painter);
}

static void type(const char *text) {
	term_write(&term, (const uint8_t *)text, strlen(text));
	while (term_paint(&term, 1000)) {
	}
}

static uint32_t pixel(uint32_t x, uint32_t y) { return le32(memory + (uint64_t)y * info.pitch + x * 4); }

static void assert_glyph(unsigned column, unsigned row, char character, uint32_t ink, uint32_t paper) {
	const uint8_t *glyph = font_glyphs[(uint8_t)character - FONT_FIRST];
	for (unsigned y = 0; y < 16 * fb.scale; y++) {
		for (unsigned x = 0; x < 8 * fb.scale; x++) {
			const bool dot = glyph[y / fb.scale] >> (7 - x / fb.scale) & 1;
			assert_int_equal(pixel(column * 8 * fb.scale + x, row * 16 * fb.scale + y), dot ? ink : paper);
		}
	}
}

static int teardown(void **state) {
	(void)state;
	free(memory);
	memory = NULL;
	return 0;
}

static void paint_glyphs_have_the_fonts_dots(void **state) {
	(void)state;
	begin(640, 480, 640 * 4, BOOT_FB_XRGB8888);
	assert_int_equal(fb.columns, 80);
	assert_int_equal(fb.rows, 30);
	type("Ag\r\n~\xff");
	assert_glyph(0, 0, 'A', INK, PAPER);
	assert_glyph(1, 0, 'g', INK, PAPER);
	assert_glyph(2, 0, ' ', INK, PAPER);
	assert_glyph(0, 1, '~', INK, PAPER);
	assert_glyph(1, 1, 0x7f, INK, PAPER);
	assert_glyph(2, 1, ' ', PAPER, INK); // the cursor
	assert_glyph(79, 29, ' ', INK, PAPER);
}

static void font_is_readable(void **state) {
	(void)state;
	for (unsigned c = FONT_FIRST; c <= FONT_LAST; c++) {
		unsigned dots = 0;
		for (unsigned y = 0; y < 16; y++)
			dots += (unsigned)__builtin_popcount(font_glyphs[c - FONT_FIRST][y]);
		if (c == ' ')
			assert_int_equal(dots, 0);
		else
			assert_true(dots >= 2 && dots < 100);
		for (unsigned d = FONT_FIRST; d < c; d++)
			assert_memory_not_equal(font_glyphs[c - FONT_FIRST], font_glyphs[d - FONT_FIRST], 16);
	}
}

static void paint_colours_follow_the_format(void **state) {
	(void)state;
	begin(640, 480, 640 * 4, BOOT_FB_XRGB8888);
	type("\033[31;44mR");
	assert_glyph(0, 0, 'R', 0xaa0000, 0x0000aa);
	begin(640, 480, 640 * 4, BOOT_FB_XBGR8888);
	type("\033[31;44mR");
	assert_glyph(0, 0, 'R', 0x0000aa, 0xaa0000);
}

static void paint_scrolls_without_reading(void **state) {
	(void)state;
	begin(320, 96, 320 * 4 + 52, BOOT_FB_XRGB8888); // odd pitch
	assert_int_equal(fb.rows, 6);
	type("0\r\n1\r\n2\r\n3\r\n4\r\n5\r\n6\r\n7");
	for (unsigned r = 0; r < 6; r++) assert_glyph(0, r, (char)('2' + r), INK, PAPER);
	for (unsigned y = 0; y + 1 < 96; y++) // the gap behind each line is nobody's
		for (unsigned k = 0; k < 52; k++) assert_int_equal(memory[y * info.pitch + 320 * 4 + k], 0x5a);
}

static void paint_odd_sizes_stay_inside(void **state) {
	(void)state;
	static const uint32_t sizes[][2] = {{163, 83},   {800, 600},   {1366, 768},
	                                    {641, 1023}, {2560, 1440}, {3840, 2160}};
	for (unsigned i = 0; i < array_count(sizes); i++) {
		begin(sizes[i][0], sizes[i][1], sizes[i][0] * 4 + 4 * (i % 3), BOOT_FB_XRGB8888);
		assert_true(fb.columns <= TERM_COLUMN_MAX && fb.rows <= TERM_ROW_MAX);
		assert_true(fb.columns * 8 * fb.scale <= sizes[i][0] && fb.rows * 16 * fb.scale <= sizes[i][1]);
		for (unsigned r = 0; r < fb.rows + 3; r++) type("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ\r\n");
		type("\033[999;999HX");
		assert_glyph(fb.columns - 1, fb.rows - 1, 'X', PAPER, INK);
	}
	assert_int_equal(fb.scale, 2); // 3840 x 2160
}

static void init_refuses_contradictions(void **state) {
	(void)state;
	static const struct {
		struct boot_framebuffer info;
		int err;
	} bad[] = {
	    {{.bytes = 640 * 480 * 4 - 1, .width = 640, .height = 480, .pitch = 2560, .format = 1}, -ERR_INVAL},
	    {{.bytes = 640 * 480 * 4, .width = 640, .height = 480, .pitch = 2559, .format = 1}, -ERR_INVAL},
	    {{.bytes = 640 * 480 * 4, .width = 640, .height = 481, .pitch = 2560, .format = 1}, -ERR_INVAL},
	    {{.bytes = UINT64_MAX, .width = 0, .height = 480, .pitch = 2560, .format = 1}, -ERR_INVAL},
	    {{.bytes = UINT64_MAX, .width = 640, .height = 0, .pitch = 2560, .format = 1}, -ERR_INVAL},
	    {{.bytes = 1 << 20, .width = UINT32_MAX, .height = UINT32_MAX, .pitch = UINT32_MAX, .format = 1},
	     -ERR_INVAL},
	    {{.bytes = 1 << 20, .width = 159, .height = 80, .pitch = 640, .format = 1}, -ERR_INVAL},
	    {{.bytes = 640 * 480 * 4, .width = 640, .height = 480, .pitch = 2560, .format = 0}, -ERR_UNSUP},
	    {{.bytes = 640 * 480 * 4, .width = 640, .height = 480, .pitch = 2560, .format = 3}, -ERR_UNSUP},
	};
	uint8_t none[1];
	for (unsigned i = 0; i < array_count(bad); i++)
		assert_int_equal(fb_init(&fb, &bad[i].info, none), bad[i].err);
}

int main(void) {
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_teardown(paint_glyphs_have_the_fonts_dots, teardown),
	    cmocka_unit_test(font_is_readable),
	    cmocka_unit_test_teardown(paint_colours_follow_the_format, teardown),
	    cmocka_unit_test_teardown(paint_scrolls_without_reading, teardown),
	    cmocka_unit_test_teardown(paint_odd_sizes_stay_inside, teardown),
	    cmocka_unit_test(init_refuses_contradictions),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
