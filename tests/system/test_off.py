# SPDX-License-Identifier: Apache-2.0
"""Optional features turned off by the option off= (arch/x86/guest/feature.h): the boot says so, and a guest that uses
what they serve runs as before on the way that is left."""
import pytest

from emulators import PLATFORMS
from guests import GUESTS, boot, judge

# Platform, features, of these what the boot names as off there, guest.
CASES = [
    ("bochs-haswell", "vpid", "vpid", "protected"),
    ("bochs-haswell", "ept-1g", "ept-1g", "longmode"),
    ("bochs-haswell", "ept-1g,ept-2m,ept-ad", "ept-1g ept-2m ept-ad", "wild_memory"),
    ("bochs-haswell", "rdtscp,next-rip", "rdtscp", "cpuid"),
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


def test_unknown_feature_is_named():
    outcome = boot(GUESTS[0], PLATFORMS["qemu-epyc"], options="off=vpid,vpids")
    assert 'option "off=vpid,vpids": allowed is off=NAME,NAME... with NAME vpid ' in outcome.serial
    assert "the machine is halted" in outcome.serial
