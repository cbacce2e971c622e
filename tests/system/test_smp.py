# SPDX-License-Identifier: Apache-2.0
"""Starting the machine's other CPUs, on both vendors; the guest runs on the boot CPU meanwhile as ever."""
import re

import pytest

from emulators import BUILD, DEBUG_EXIT, PLATFORMS, bulkhead_iso, run

WORK = BUILD / "smp-test"
GUEST = BUILD / "guest" / "realmode_io.bin"
CONFIG = f"""[machine]
console = ["serial"]
debug_exit = {DEBUG_EXIT:#x}
[[vm]]
name = "small"
memory = "1M"
kernel = "realmode_io.bin"
debug_exit = 0xf4
"""
ENDED = r"bulkhead: all VMs ended\n"
# Emulated CPUs share one clock; a thread of the emulator may lose its turn between two readings.
APART_TICKS = 100_000_000


def boot(platform, name, extra, timeout=90):
    iso = WORK / f"{name}.iso"
    bulkhead_iso(iso, CONFIG, {GUEST.name: GUEST})
    outcome = run(PLATFORMS[platform], WORK / name, iso=iso, timeout=timeout, extra=extra, until=ENDED)
    assert re.search(ENDED, outcome.serial), outcome.serial[-3000:]
    assert "SUCCESS" in outcome.serial and "bulkhead: warn" not in outcome.serial, outcome.serial[-3000:]
    return outcome.serial


def cpus(text):
    found = re.search(r"^bulkhead: info smp: (\d+) of (\d+) CPUs, TSCs within (\d+) ticks$", text, re.M)
    assert found, text[-3000:]
    assert int(found[3]) < APART_TICKS
    return int(found[1]), int(found[2])


def test_one_cpu_starts_none():
    assert "info smp:" not in boot("qemu-epyc", "qemu-1", ["-smp", "1"])


@pytest.mark.parametrize("smp, count", [
    ("2", 2),
    ("4", 4),
    ("8", 8),
    ("6,sockets=2,cores=3", 6),  # APIC ids 0 to 2 and 4 to 6
], ids=["2", "4", "8", "sparse"])
def test_every_cpu_comes_up_on_qemu(smp, count):
    assert cpus(boot("qemu-epyc", f"qemu-{count}", ["-smp", smp])) == (count, count)


def test_cpu_that_is_not_plugged_in_is_not_counted():
    assert cpus(boot("qemu-epyc", "qemu-plug", ["-smp", "2,maxcpus=4"])) == (2, 2)


@pytest.mark.parametrize("platform, count", [("bochs-haswell", 2), ("bochs-haswell", 4), ("bochs-ryzen", 4)])
def test_every_cpu_comes_up_on_bochs(platform, count):
    cpu = (f"cpu: model={PLATFORMS[platform].cpu}, count={count}, ips=100000000, reset_on_triple_fault=0, "
           "ignore_bad_msrs=0")
    assert cpus(boot(platform, f"{platform}-{count}", [cpu])) == (count, count)
