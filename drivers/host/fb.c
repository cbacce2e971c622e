// SPDX-License-Identifier: Apache-2.0
// Glyphs into a 32-bpp frame buffer. Only whole pixels are written, in address order line by line, which a
// write-combining mapping turns into bursts.
#include "drivers/host/fb.h"

#include "arch/x86/cpu/mmio.h"
#include "drivers/host/font.h"
#include "kernel/lib/bits.h"
#include "kernel/lib/err.h"
#include "kernel/lib/string.h"

#define PIXEL_BYTES 4u
#define COLUMN_LEAST 20u
#define ROW_LEAST 5u

// The 16 PC text colours, 0xRRGGBB.
static const uint32_t colours[16] = {0x000000, 0x0000aa, 0x00aa00, 0x00aaaa, 0xaa0000, 0xaa00aa,
                                     0xaa5500, 0xc0c0c0, 0x555555, 0x5555ff, 0x55ff55, 0x55ffff,
                                     0xff5555, 0xff55ff, 0xffff55, 0xffffff};

static uint32_t swap_red_blue(uint32_t rgb) {
	return (rgb & 0xff) << 16 | (rgb & 0xff00) | (rgb >> 16 & 0xff);
}

int fb_init(struct fb *fb, const struct boot_framebuffer *info, void *pixels) {
	*fb = (struct fb){.pixels = pixels, .pitch = info->pitch, .width = info->width, .height = info->height};
	if (info->format != BOOT_FB_XRGB8888 && info->format != BOOT_FB_XBGR8888) return -ERR_UNSUP;
	// 64-bit arithmetic: all factors have 32 bits. The last line may end at its last pixel.
	const uint64_t line = (uint64_t)info->width * PIXEL_BYTES;
	if (info->width == 0 || info->height == 0 || info->pitch < line ||
	    (uint64_t)(info->height - 1) * info->pitch + line > info->bytes)
		return -ERR_INVAL;
	unsigned scale = 1;
	while (scale < FB_SCALE_MAX && (info->width / (FB_GLYPH_WIDTH * scale) > TERM_COLUMN_MAX ||
	                                info->height / (FB_GLYPH_HEIGHT * scale) > TERM_ROW_MAX))
		scale++;
	fb->scale = scale;
	fb->columns = (unsigned)min_u64(info->width / (FB_GLYPH_WIDTH * scale), TERM_COLUMN_MAX);
	fb->rows = (unsigned)min_u64(info->height / (FB_GLYPH_HEIGHT * scale), TERM_ROW_MAX);
	if (fb->columns < COLUMN_LEAST || fb->rows < ROW_LEAST) return -ERR_INVAL;
	for (unsigned i = 0; i < 16; i++)
		fb->palette[i] = info->format == BOOT_FB_XRGB8888 ? colours[i] : swap_red_blue(colours[i]);
	return 0;
}

// Two pixels in one store; only where every line starts on 8 bytes.
static bool pairs_aligned(const struct fb *fb) {
	return is_aligned((uintptr_t)fb->pixels, 2 * PIXEL_BYTES) && is_aligned(fb->pitch, 2 * PIXEL_BYTES);
}

// The left pixel is at the lower address.
static uint64_t pair(uint32_t left, uint32_t right) { return (uint64_t)right << 32 | left; }

void fb_clear(const struct fb *fb) {
	const uint32_t paired = pairs_aligned(fb) ? fb->width & ~1u : 0;
	for (uint32_t y = 0; y < fb->height; y++) {
		uint8_t *line = fb->pixels + (uint64_t)y * fb->pitch;
		uint32_t x = 0;
		for (; x < paired; x += 2)
			mmio_write64(line + (uint64_t)x * PIXEL_BYTES, pair(fb->palette[0], fb->palette[0]));
		for (; x < fb->width; x++) mmio_write32(line + (uint64_t)x * PIXEL_BYTES, fb->palette[0]);
	}
}

// A glyph at scale 1, two dots at a time.
static void paint_pairs(const struct fb *fb, uint8_t *corner, const uint8_t *glyph, uint32_t ink,
                        uint32_t paper) {
	const uint64_t dots2[4] = {pair(paper, paper), pair(paper, ink), pair(ink, paper), pair(ink, ink)};
	for (unsigned y = 0; y < FB_GLYPH_HEIGHT; y++, corner += fb->pitch) {
		const uint8_t dots = glyph[y];
		mmio_write64(corner, dots2[dots >> 6]);
		mmio_write64(corner + 8, dots2[dots >> 4 & 3]);
		mmio_write64(corner + 16, dots2[dots >> 2 & 3]);
		mmio_write64(corner + 24, dots2[dots & 3]);
	}
}

static void paint_scaled(const struct fb *fb, uint8_t *corner, const uint8_t *glyph, uint32_t ink,
                         uint32_t paper) {
	for (unsigned y = 0; y < FB_GLYPH_HEIGHT * fb->scale; y++, corner += fb->pitch) {
		const uint8_t dots = glyph[y / fb->scale];
		uint8_t *pixel = corner;
		for (unsigned x = 0; x < FB_GLYPH_WIDTH; x++) {
			const uint32_t colour = dots & (0x80u >> x) ? ink : paper;
			for (unsigned k = 0; k < fb->scale; k++, pixel += PIXEL_BYTES) mmio_write32(pixel, colour);
		}
	}
}

static void fb_paint(void *ctx, unsigned column, unsigned row, term_cell_t cell, bool cursor) {
	const struct fb *fb = ctx;
	unsigned character = cell & 0xffu;
	if (character < FONT_FIRST || character > FONT_LAST) character = FONT_LAST;
	const uint8_t *glyph = font_glyphs[character - FONT_FIRST];
	uint32_t ink = fb->palette[cell >> 8 & 0xf], paper = fb->palette[cell >> 12];
	if (cursor) { // a block: inks swapped; never both the same
		const uint32_t swap = ink;
		ink = paper;
		paper = swap == ink ? fb->palette[7] : swap;
	}
	uint8_t *corner = fb->pixels + (uint64_t)row * FB_GLYPH_HEIGHT * fb->scale * fb->pitch +
	                  (uint64_t)column * FB_GLYPH_WIDTH * fb->scale * PIXEL_BYTES;
	if (fb->scale == 1 && pairs_aligned(fb))
		paint_pairs(fb, corner, glyph, ink, paper);
	else
		paint_scaled(fb, corner, glyph, ink, paper);
}

struct term_painter fb_painter(struct fb *fb) {
	return (struct term_painter){.paint = fb_paint, .ctx = fb};
}
