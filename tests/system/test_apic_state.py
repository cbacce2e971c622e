# SPDX-License-Identifier: Apache-2.0
"""A guest sees the same of its local APIC whoever serves it: the text of tests/guest/apic_state on emulated registers and
with each part of the hardware's on or off; and where hardware delivers the interrupts, they cost no exit."""
import re

import pytest

from emulators import PLATFORMS
from guests import GUESTS, Guest, boot, judge

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


# ---- exits ----------------------------------------------------------------------------------------------------------

ROUND = 20  # instructions of the guest's loop and handler, at most
EXIT = 150  # of an exit and what it asks for, at least: a hypercall, the cheapest, takes more (docs/BENCH.md)


@pytest.mark.parametrize("options, exits", [("", 0), ("off=virtual-interrupts", 2)], ids=["on", "off"])
def test_a_delivered_self_ipi_makes_no_exit(options, exits):
    """The TSC of Bochs counts instructions, ours too: there is no room for an exit in a round that has none."""
    guest, platform = Guest("bench", cmdline="delivery"), PLATFORMS["bochs-haswell"]
    outcome = boot(guest, platform, options=options)
    assert judge(guest, platform, outcome) is None
    rounds = dict(re.findall(r"^BENCH self_ipi_eoi_(\w+) ([\d.]+)$", outcome.serial, re.M))
    assert set(rounds) == {"xapic", "x2apic"}, outcome.serial[-2000:]
    for figure in map(float, rounds.values()):
        assert 4 < figure < ROUND if exits == 0 else figure > exits * EXIT, rounds
