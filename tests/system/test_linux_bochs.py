# SPDX-License-Identifier: Apache-2.0
"""The same image and the same Linux on the CPUs that only Bochs has: VMX, and SVM with next-RIP."""
import re

import pytest

from emulators import BUILD, PLATFORMS, bulkhead_iso, run

WORK = BUILD / "linux-bochs-test"
CONFIG = """[machine]
console = ["serial"]
on_idle = "poweroff"

[[vm]]
name = "linux"
memory = "192M"
kernel = "vmlinuz"
initrd = "initrd.img"
cmdline = 'console=ttyS0 quiet bulkhead.run="cat /sys/devices/system/clocksource/clocksource0/current_clocksource"'
"""


@pytest.mark.parametrize("platform", ["bochs-haswell", "bochs-lynnfield", "bochs-ryzen"])
def test_linux_runs_and_powers_off(platform):
    iso = WORK / f"{platform}.iso"
    iso.parent.mkdir(parents=True, exist_ok=True)
    guest = {name: BUILD / "guest" / name for name in ("vmlinuz", "initrd.img")}
    bulkhead_iso(iso, CONFIG, guest)
    outcome = run(PLATFORMS[platform], WORK / platform, iso=iso, memory_mib=512, timeout=300, until=r"all VMs ended.*\n")
    text = outcome.serial
    assert re.search(r"(?m)^(kvm-clock|tsc)\s*$", text), text[-3000:]
    assert re.search(r'bulkhead: vm "linux" stopped: poweroff', text), text[-3000:]
