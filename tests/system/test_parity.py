# SPDX-License-Identifier: Apache-2.0
"""One disc, made once, with one kernel of Linux boots on SVM and on VMX: on CPUs of both vendors and of several
generations, and with every optional feature off. The guest tests on the same CPUs are in guests.py."""
import hashlib
import re

import pytest

from emulators import BUILD, KERNEL, PLATFORMS, bulkhead_iso, optional_features, run

WORK = BUILD / "parity-test"
CONFIG = """[machine]
console = ["serial"]
on_idle = "poweroff"

[[vm]]
name = "linux"
memory = "192M"
kernel = "vmlinuz"
initrd = "initrd.img"
cmdline = 'console=ttyS0 quiet bulkhead.run="cd /sys/devices/system/clocksource/clocksource0; cat current_clocksource; cat /proc/uptime; sleep 2; cat /proc/uptime; dmesg"'
"""
# Both vendors, with and without next-RIP. Then other generations, and discs whose grub.cfg has options for the
# hypervisor or another entry to it.
SAME = ("qemu-epyc", "bochs-haswell", "bochs-ryzen")
OTHERS = ("qemu-max", "qemu-milan-la57", "bochs-zambezi", "bochs-ryzen-off", "bochs-lynnfield", "bochs-arrandale",
          "bochs-haswell-off", "bochs-skylake")
BROKEN = re.compile(r"nobody cared|soft lockup|rcu.*stall|hung task|unchecked MSR|Call Trace|\bBUG: |"
                    r"bulkhead: (?:warn|error)|bytes lost")
SECONDS = 75  # on QEMU, on a loaded machine


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def disc(name, kernel=KERNEL.name, options=""):
    iso = WORK / f"{name}.iso"
    iso.parent.mkdir(parents=True, exist_ok=True)
    guest = {name: BUILD / "guest" / name for name in ("vmlinuz", "initrd.img")}
    bulkhead_iso(iso, CONFIG, guest, options, BUILD / kernel)
    return iso


@pytest.fixture(scope="module")
def image():
    """The disc, its SHA-256 and that of the hypervisor on it."""
    iso = disc("linux")
    return iso, sha256(iso), sha256(KERNEL)


def linux_runs(platform, iso):
    outcome = run(platform, WORK / platform.name, iso=iso, memory_mib=512, timeout=SECONDS * platform.slowness,
                  until=r"(all VMs ended|end Kernel panic).*\n")
    text = outcome.serial
    found = re.search(r"(?m)^(kvm-clock|tsc)\n([0-9.]+) [0-9.]+\n([0-9.]+) [0-9.]+\n", text)
    assert found, text[-3000:]
    assert 2 <= float(found[3]) - float(found[2]) < 3, found[0]
    assert not BROKEN.search(text), BROKEN.search(text)[0]
    assert re.search(r'bulkhead: vm "linux" stopped: poweroff', text), text[-3000:]
    return text


@pytest.mark.parametrize("platform", SAME)
def test_linux_from_the_same_image(image, platform, record_property):
    iso, disc_sum, kernel_sum = image
    text = linux_runs(PLATFORMS[platform], iso)
    assert re.search(rf"info arch: {PLATFORMS[platform].vendor.upper()}\b", text), text[:2000]
    assert sha256(iso) == disc_sum and sha256(KERNEL) == kernel_sum, "another image than the one of the others"
    record_property("SHA-256 of the image that booted Linux on " + ", ".join(SAME), disc_sum)


@pytest.mark.parametrize("platform", OTHERS)
def test_linux(image, platform):
    platform = PLATFORMS[platform]
    own = platform.options or platform.kernel != KERNEL.name
    text = linux_runs(platform, disc(platform.name, platform.kernel, platform.options) if own else image[0])
    assert ("5-level paging" in text) == ("la57" in platform.name)
    if platform.options:
        assert f"arch: off by option: {' '.join(optional_features(platform.vendor))}\n" in text, text[:2000]
