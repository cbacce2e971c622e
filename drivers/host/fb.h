// SPDX-License-Identifier: Apache-2.0
// Painter of a text terminal on a linear 32-bpp frame buffer: 8x16 glyphs of the built-in font, scaled up on
// large screens, written only, never read. Facts of the record: kernel/abi/bootinfo.h.
#pragma once

#include "drivers/host/term.h"
#include "kernel/abi/bootinfo.h"

#define FB_GLYPH_WIDTH 8u
#define FB_GLYPH_HEIGHT 16u
#define FB_SCALE_MAX 8u

struct fb {
	uint8_t *pixels;        // mapped frame buffer
	uint32_t pitch;         // bytes per line
	uint32_t width, height; // pixels
	unsigned scale;         // pixels per glyph dot
	unsigned columns, rows;
	uint32_t palette[16]; // in the frame buffer's own order
};

// Checks the record (-ERR_INVAL: sizes that contradict each other, too small for 20 x 5 characters;
// -ERR_UNSUP: a format other than the two) and chooses the scale so that the text fits term's maxima.
// pixels: info->bytes mapped bytes at info->base.
__must_check int fb_init(struct fb *fb, const struct boot_framebuffer *info, void *pixels);
// Black, all of it that is visible.
void fb_clear(const struct fb *fb);
struct term_painter fb_painter(struct fb *fb);
