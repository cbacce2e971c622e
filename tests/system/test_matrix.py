# SPDX-License-Identifier: Apache-2.0
"""tests/matrix.py: the closing table of `make test`, from JUnit files written here."""
import sys

import pytest

from emulators import BUILD, ROOT

sys.path.insert(0, str(ROOT / "tests"))
import matrix  # noqa: E402

WORK = BUILD / "matrix-test"
GROUPS = [("QEMU, SVM", ["qemu-epyc", "qemu-max"]), ("Bochs, VMX", ["bochs-haswell", "bochs-haswell-off"])]
FIRST = """<testsuites><testsuite>
<testcase name="test_guest[cpuid-qemu-epyc]"/>
<testcase name="test_guest[cpuid-bochs-haswell]"><failure message="no"/></testcase>
<testcase name="test_guest[nmi-qemu-epyc]"><skipped message="why not"/></testcase>
<testcase name="test_guest[nmi-bochs-haswell]"><error message="no"/></testcase>
<testcase name="test_of_something_else[cpuid-qemu-epyc]"/>
</testsuite></testsuites>"""
SECOND = """<testsuites><testsuite>
<testcase name="test_linux_from_the_same_image[qemu-epyc]"><properties><property name="sum" value="1"/></properties></testcase>
<testcase name="test_linux[bochs-haswell-off]"><properties><property name="sum" value="1"/></properties></testcase>
<testcase name="test_guest[nmi-bochs-haswell-off]"><skipped message="why not"/></testcase>
</testsuite></testsuites>"""
TABLE = """\
       QEMU, SVM  Bochs, VMX
       epyc       haswell  haswell-off
cpuid  ok         FAIL     .
nmi    skip 1     FAIL     skip 1
Linux  ok         .        ok
skip 1: why not
.: not run
sum: 1
"""


def read(*texts):
    WORK.mkdir(parents=True, exist_ok=True)
    paths = [WORK / f"{n}.xml" for n in range(len(texts))]
    for path, text in zip(paths, texts):
        path.write_text(text)
    return matrix.read(paths)


def squeezed(text):
    return [line.split() for line in text.splitlines()]


def test_table_has_every_cell_and_reason():
    cells, properties = read(FIRST, SECOND)
    text = matrix.table(cells, GROUPS, properties)
    assert squeezed(text) == squeezed(TABLE)
    columns = [line.index(word) for line, word in zip(text.splitlines()[1:5], ("haswell", "FAIL", "FAIL", "."))]
    assert len(set(columns)) == 1, text


def test_table_without_skips_has_no_reasons():
    cells, properties = read(SECOND.replace('<skipped message="why not"/>', ""))
    assert "skip" not in matrix.table(cells, GROUPS, properties)


def test_column_that_nobody_knows_is_an_error():
    cells, properties = read(FIRST.replace("qemu-epyc", "qemu-other"))
    with pytest.raises(ValueError, match="qemu-other"):
        matrix.table(cells, GROUPS, properties)
