# SPDX-License-Identifier: Apache-2.0
"""What ran on which CPU, as one table: rows are the test guests and Linux, columns the emulated CPUs, cells ok, FAIL,
or skip with the number of a reason that stands below. Read from the JUnit files that pytest writes."""
import re
import xml.etree.ElementTree
from dataclasses import dataclass

CASE = re.compile(r"^(?:test_guest\[([^-\]]+)-|test_(linux)\w*\[)([\w-]+)\]$")
NOT_RUN = "."


@dataclass(frozen=True)
class Cell:
    state: str  # ok, FAIL or skip
    reason: str = ""


def read(paths):
    """({(row, column): Cell}, {name: values}) of JUnit files; the second are the properties that cases recorded."""
    cells, properties = {}, {}
    for path in paths:
        for case in xml.etree.ElementTree.parse(path).iter("testcase"):
            found = CASE.match(case.get("name", ""))
            if not found:
                continue
            skip = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                cell = Cell("FAIL")
            else:
                cell = Cell("ok") if skip is None else Cell("skip", skip.get("message", ""))
            cells[found[1] or "Linux", found[3]] = cell
            for item in case.iter("property"):
                properties.setdefault(item.get("name"), set()).add(item.get("value"))
    return cells, properties


def table(cells, groups, properties):
    """The text. `groups` is [(heading, [column, ...])] in order; what is in `cells` and in no group is an error, and a
    column of which nothing ran is left out."""
    groups = [(heading, [c for c in columns if any(key[1] == c for key in cells)]) for heading, columns in groups]
    groups = [(heading, columns) for heading, columns in groups if columns]
    shown = [c for _, columns in groups for c in columns]
    unknown = {column for _, column in cells} - set(shown)
    if unknown:
        raise ValueError(f"no column for {', '.join(sorted(unknown))}")
    rows = [row for row in dict.fromkeys(row for row, _ in cells) if row != "Linux"]
    rows += ["Linux"] if any(row == "Linux" for row, _ in cells) else []
    reasons = list(dict.fromkeys(c.reason for c in cells.values() if c.state == "skip"))

    def word(row, column):
        cell = cells.get((row, column))
        if cell is None:
            return NOT_RUN
        return f"skip {reasons.index(cell.reason) + 1}" if cell.state == "skip" else cell.state

    short = {c: c.split("-", 1)[1] for c in shown}
    width = {c: max([len(short[c]), *(len(word(row, c)) for row in rows)]) for c in shown}
    label = max(len(row) for row in [*rows, ""])

    def line(first, words):
        return "  ".join([first.ljust(label), *words]).rstrip()

    head = [heading.ljust(sum(width[c] + 2 for c in columns) - 2) for heading, columns in groups]
    lines = [line("", head), line("", [short[c].ljust(width[c]) for c in shown])]
    lines += [line(row, [word(row, c).ljust(width[c]) for c in shown]) for row in rows]
    lines += [f"skip {n}: {reason}" for n, reason in enumerate(reasons, 1)]
    if any(word(row, c) == NOT_RUN for row in rows for c in shown):
        lines.append(f"{NOT_RUN}: not run")
    lines += [f"{name}: {', '.join(sorted(values))}" for name, values in sorted(properties.items())]
    return "\n".join([*lines, ""])
