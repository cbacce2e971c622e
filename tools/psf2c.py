#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Convert an 8x16 console font (PSF version 1 or 2, gzipped or not) into the C source of drivers/host/font.h.

Usage: psf2c.py FONT.psf[.gz] OUT.c
The characters 0x20 to 0x7E are looked up by the font's own Unicode table where it has one, else by position;
0x7F becomes a framed box, shown for what the console cannot show.
"""
import gzip
import struct
import sys

FIRST, LAST, HEIGHT = 0x20, 0x7F, 16
PSF1_MAGIC, PSF2_MAGIC = b"\x36\x04", b"\x72\xb5\x4a\x86"
PSF1_512, PSF1_TABLES = 0x01, 0x06
PSF2_TABLE = 0x01
REPLACEMENT = bytes([0, 0, 0x7E] + [0x42] * 9 + [0x7E, 0, 0, 0])


def psf1(data):
    mode, size = data[2], data[3]
    count = 512 if mode & PSF1_512 else 256
    glyphs = [data[4 + i * size : 4 + (i + 1) * size] for i in range(count)]
    if not mode & PSF1_TABLES:
        return 8, size, glyphs, None
    table, glyph, in_sequence = {}, 0, False
    words = data[4 + count * size :]
    for (word,) in struct.iter_unpack("<H", words[: len(words) // 2 * 2]):
        if word == 0xFFFF:
            glyph, in_sequence = glyph + 1, False
        elif word == 0xFFFE:  # sequences of several characters follow
            in_sequence = True
        elif not in_sequence:
            table.setdefault(word, glyph)
    return 8, size, glyphs, table


def psf2(data):
    _, header, flags, count, size, height, width = struct.unpack_from("<7I", data, 4)
    glyphs = [data[header + i * size : header + (i + 1) * size] for i in range(count)]
    if not flags & PSF2_TABLE:
        return width, height, glyphs, None
    table = {}
    for glyph, entry in enumerate(data[header + count * size :].split(b"\xff")[:count]):
        for character in entry.split(b"\xfe")[0].decode("utf-8"):
            table.setdefault(ord(character), glyph)
    return width, height, glyphs, table


def load(path):
    with open(path, "rb") as file:
        data = file.read()
    if data[:2] == b"\x1f\x8b":
        data = gzip.decompress(data)
    if data[:2] == PSF1_MAGIC:
        width, height, glyphs, table = psf1(data)
    elif data[:4] == PSF2_MAGIC:
        width, height, glyphs, table = psf2(data)
    else:
        sys.exit(f"{path}: no PSF font")
    if (width, height) != (8, HEIGHT):
        sys.exit(f"{path}: glyphs are {width}x{height}, 8x{HEIGHT} is needed")
    chosen = []
    for code in range(FIRST, LAST):
        glyph = code if table is None else table.get(code)
        if glyph is None or glyph >= len(glyphs) or len(glyphs[glyph]) != HEIGHT:
            sys.exit(f"{path}: no glyph for character {code:#x}")
        chosen.append(glyphs[glyph])
    return chosen + [REPLACEMENT]


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    lines = [
        "// SPDX-License-Identifier: Apache-2.0",
        f"// Made by tools/psf2c.py from {sys.argv[1]}; the glyphs are under that font's own licence.",
        '#include "drivers/host/font.h"',
        "",
        "const uint8_t font_glyphs[FONT_LAST - FONT_FIRST + 1][16] = {",
    ]
    for code, glyph in enumerate(load(sys.argv[1]), FIRST):
        lines.append("\t{" + ", ".join(f"0x{byte:02x}" for byte in glyph) + f"}}, // 0x{code:02x}")
    lines += ["};", ""]
    with open(sys.argv[2], "w", encoding="ascii") as file:
        file.write("\n".join(lines))


if __name__ == "__main__":
    main()
