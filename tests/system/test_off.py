# SPDX-License-Identifier: Apache-2.0
"""Optional features turned off by the option off= (arch/x86/guest/feature.h): the boot says so, and a guest that uses
what they serve runs as before on the way that is left."""
import re
from dataclasses import replace

import pytest

from emulators import PLATFORMS
from guests import GUESTS, boot, judge

# Platform, features, of these what the boot names as off there, guest.
CASES = [
    ("bochs-haswell", "vpid", "vpid", "protected"),
    ("bochs-haswell", "ept-1g", "ept-1g", "longmode"),
    ("bochs-haswell", "ept-1g,ept-2m,ept-ad", "ept-1g ept-2m ept-ad", "wild_memory"),
    ("bochs-haswell", "rdtscp,next-rip", "rdtscp", "cpuid"),
    ("bochs-haswell", "efer-controls", "efer-controls", "longmode"),
    ("bochs-haswell", "efer-controls,pat-controls", "efer-controls pat-controls", "unpaged"),
    ("bochs-skylake", "xsaves", "xsaves", "fpu"),
    ("bochs-haswell", "tpr-shadow", "tpr-shadow", "self_ipi"),
    ("bochs-haswell", "virtual-interrupts", "virtual-interrupts", "self_ipi"),
    ("bochs-haswell", "virtual-interrupts,apic-registers", "apic-registers virtual-interrupts", "irq_window"),
    ("bochs-haswell", "apic-registers", "apic-registers", "lapic_timer"),
    ("bochs-haswell", "x2apic-virtual", "x2apic-virtual", "self_ipi"),
    ("bochs-haswell", "apic-access", "apic-access", "ioapic"),
    ("bochs-ivybridge", "x2apic-virtual,apic-access", "x2apic-virtual apic-access", "self_ipi"),
    ("bochs-ryzen", "next-rip,ept-ad", "next-rip", "exceptions"),
    ("bochs-ryzen", "flush-by-asid", "flush-by-asid", "protected"),
    ("bochs-ryzen", "npt-1g,rdtscp", "rdtscp npt-1g", "cpuid"),
    ("qemu-epyc", "npt-1g,flush-by-asid", "flush-by-asid npt-1g", "longmode"),
]


@pytest.mark.parametrize("platform, features, named, guest", CASES,
                         ids=lambda v: v if isinstance(v, str) and " " not in v else "")
def test_guest_without(platform, features, named, guest):
    guest = next(g for g in GUESTS if g.name == guest)
    platform = PLATFORMS[platform]
    outcome = boot(guest, platform, options=f"off={features}")
    assert f"arch: off by option: {named}\n" in outcome.serial, outcome.serial[:2000]
    assert judge(guest, platform, outcome) is None


@pytest.mark.parametrize("options, held", [("", False), ("off=virtual-interrupts", True)], ids=["on", "off"])
def test_bochs_delivers_what_if_holds_back(options, held):
    """The row of docs/QUIRKS.md: the hardware that delivers is at fault, and without it nothing comes with IF = 0."""
    guest, platform = next(g for g in GUESTS if g.name == "irq_window"), PLATFORMS["bochs-haswell"]
    outcome = boot(guest, platform, options=options)
    assert judge(guest, platform, outcome) is None
    flags = re.search(r"NOTE, .*came in, flags (\w+)", outcome.serial)
    assert (flags is None) == held, outcome.serial[-2000:]
    assert held or int(flags[1], 16) & 0x200 == 0


def test_the_report_finds_no_fault_with_a_tpr_threshold():
    """Where the TPR is only shadowed, what it holds back sets a threshold, which an entry compares with the TPR."""
    guest = replace(next(g for g in GUESTS if g.name == "triple_fault"), cmdline="held")
    platform = PLATFORMS["bochs-haswell"]
    outcome = boot(guest, platform, options="off=virtual-interrupts,apic-access")
    assert judge(guest, platform, outcome) is None
    assert "exit reason TRIPLE_FAULT" in outcome.serial and "entry: refused" not in outcome.serial, outcome.serial[-3000:]


# ---- without unrestricted guest: CR0.PE and PG of a guest are always 1 -----------------------------------------------

UNPAGED = [("bochs-lynnfield", ""), ("bochs-haswell", "off=unrestricted")]
KINDS = {"realmode_io": r"flat real-mode code\) starts in real mode",
         "longmode": r"multiboot 1\) starts without paging",
         "multiboot2": r"multiboot 2\) starts without paging",
         "pvh": r"PVH ELF\) starts without paging"}


def named(name):
    return next(g for g in GUESTS if g.name == name)


@pytest.mark.parametrize("platform, options", UNPAGED, ids=lambda v: v)
@pytest.mark.parametrize("guest", KINDS)
def test_guest_that_starts_without_paging_is_refused(platform, options, guest):
    text = boot(named(guest), PLATFORMS[platform], options=options).serial
    assert re.search(rf'build: vm "{guest}": "{named(guest).file.name}" \({KINDS[guest]}: '
                     r'the CPU lacks the VMX control "unrestricted guest"', text), text[-2000:]
    assert "the machine is halted; nothing was started" in text


@pytest.mark.parametrize("platform, options", UNPAGED, ids=lambda v: v)
def test_guest_that_turns_paging_off_is_stopped(platform, options):
    text = boot(named("unpaged"), PLATFORMS[platform], options=options).serial
    assert "64-bit entry" in text and "paging is off" not in text
    assert re.search(r'vm "unpaged" stopped: CR0 0x[0-9a-f]+1 without paging needs the VMX control "unrestricted guest"',
                     text), text[-2000:]
    assert "exit reason CR_ACCESS" in text and "GUEST_CR0" in text  # the report


def test_unknown_feature_is_named():
    outcome = boot(GUESTS[0], PLATFORMS["qemu-epyc"], options="off=vpid,vpids")
    assert 'option "off=vpid,vpids": allowed is off=NAME,NAME... with NAME vpid ' in outcome.serial
    assert "the machine is halted" in outcome.serial
