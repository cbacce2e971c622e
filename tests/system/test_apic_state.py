# SPDX-License-Identifier: Apache-2.0
"""A guest sees the same of its local APIC whoever serves it: the text of tests/guest/apic_state on emulated registers and
with each part of the hardware's on or off."""
import re

import pytest

from emulators import PLATFORMS
from guests import GUESTS, boot, judge

# On Haswell without these features: what a self-IPI does with the TMR bit of its vector, by MMIO and by MSR. Hardware that
# delivers it keeps the bit (docs/IRQ.md); where an exit stands before that, we do it, and clear it.
WITHOUT = {
    "": ["keeps", "keeps"],
    "apic-registers": ["keeps", "keeps"],
    "apic-access": ["clears", "keeps"],
    "x2apic-virtual": ["keeps", "clears"],
    "virtual-interrupts": ["clears", "clears"],
    "tpr-shadow": ["clears", "clears"],
}


def states(platform, options=""):
    """([line of a state], [what became of TMR's bit])."""
    guest = next(g for g in GUESTS if g.name == "apic_state")
    outcome = boot(guest, PLATFORMS[platform], options=options)
    assert judge(guest, PLATFORMS[platform], outcome) is None, outcome.serial[-3000:]
    return (re.findall(r"^  .*: irr .*$", outcome.serial, re.M),
            re.findall(r"NOTE a self-IPI of a level's vector (\w+) its TMR bit", outcome.serial))


@pytest.fixture(scope="module")
def emulated():
    lines, tmr = states("qemu-epyc")
    assert len(lines) > 60 and tmr == ["clears", "clears"]
    return lines


def test_on_ryzen(emulated):
    assert states("bochs-ryzen") == (emulated, ["clears"] * 2)


@pytest.mark.parametrize("features", WITHOUT, ids=lambda f: f or "all")
def test_on_haswell_without(emulated, features):
    assert states("bochs-haswell", f"off={features}" if features else "") == (emulated, WITHOUT[features])
