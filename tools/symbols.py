#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the symbol table of the kernel image as C: symbols.py NM_OUTPUT > symbols.c.

Input: `nm -n` of the image linked without a table (empty input gives an empty table). The table lies behind the
text, so adding it moves no function."""
import sys


def main() -> int:
    base = 0xFFFFFFFF80000000
    rows, names, offset = [], [], 0
    for line in open(sys.argv[1], encoding="ascii"):
        parts = line.split()
        if len(parts) != 3 or parts[1] not in "tT" or parts[2].startswith(("__text", "__image", ".")):
            continue
        rows.append((int(parts[0], 16) - base, offset))
        names.append(parts[2])
        offset += len(parts[2]) + 1
    out = ["// SPDX-License-Identifier: Apache-2.0", "// Made by tools/symbols.py.", "#include <stdint.h>",
           "struct symbol { uint32_t offset, name; };",
           "extern const struct symbol symbol_table[]; extern const uint32_t symbol_count;",
           "extern const char symbol_names[];"]
    out.append("const struct symbol symbol_table[] = {")
    out += [f"{{{a:#x}, {b}}}," for a, b in rows] or ["{0, 0},"]
    out.append("};")
    out.append(f"const uint32_t symbol_count = {len(rows)};")
    out.append("const char symbol_names[] =")
    out += [f'"{n}\\0"' for n in names] or ['""']
    out.append(";")
    print("\n".join(out))
    return 0


if __name__ == "__main__":
    sys.exit(main())
