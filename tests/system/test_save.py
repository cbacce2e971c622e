# SPDX-License-Identifier: Apache-2.0
"""A VM is no more than its records: with stress=save:N the hypervisor saves, resets and loads all devices and vCPUs
every N entries into the guest, and no guest can tell. Also the way of the hypervisor's own options to it."""
import re

import pytest

import guests
import images
from emulators import BUILD, DEBUG_EXIT, KERNEL, PLATFORMS, STRESS_KERNEL, bulkhead_iso, run
from images import disk, ovmf

WORK = BUILD / "save-test"
QEMU = PLATFORMS["qemu-epyc"]
HALTED = r"the machine is halted.*\n"
STRESSED = r"stress: vm \"[^\"]+\": \d+ bytes of state"

GUESTS = {g.name: g for g in guests.GUESTS}
# Each period is its own path through the interrupted moments: between injection and delivery, in a shadow, halted.
CASES = [(name, "qemu-epyc", 1 + n % 5) for n, name in enumerate(
    ("lapic_timer", "ioapic", "pic", "nmi", "fpu", "debug_regs", "exceptions", "hlt_wake", "protected", "realmode_io"))]
CASES += [("exceptions", "bochs-ryzen", 3), ("nmi", "bochs-ryzen", 2)]
CASES += [("lapic_timer", "bochs-haswell", 5), ("nmi", "bochs-haswell", 2), ("exceptions", "bochs-haswell", 3),
          ("protected", "bochs-haswell", 1)]


@pytest.mark.parametrize("name, platform, period", CASES)
def test_guest(name, platform, period):
    guest, platform = GUESTS[name], PLATFORMS[platform]
    outcome = guests.boot(guest, platform, f"stress=save:{period}", STRESS_KERNEL)
    assert re.search(STRESSED, outcome.serial), outcome.serial[-3000:]
    try:
        guests.judge(guest, platform, outcome)
    except guests.Verdict as verdict:
        pytest.fail(f"{verdict}\n{outcome.serial[-3000:]}")


LINUX = f"""[machine]
console = ["serial"]
debug_exit = {DEBUG_EXIT:#x}

[[vm]]
name = "linux"
memory = "192M"
kernel = "vmlinuz"
initrd = "initrd.img"
cmdline = 'console=ttyS0 quiet bulkhead.run="cat /proc/uptime"'
"""


def test_linux():
    work = WORK / "linux"
    files = {name: BUILD / "guest" / name for name in ("vmlinuz", "initrd.img")}
    bulkhead_iso(work.with_suffix(".iso"), LINUX, files, "stress=save:50", STRESS_KERNEL)
    outcome = run(QEMU, work, iso=work.with_suffix(".iso"), memory_mib=512, timeout=90, until=HALTED)
    assert re.search(STRESSED, outcome.serial), outcome.serial[-3000:]
    assert 'vm "linux" stopped: poweroff' in outcome.serial, outcome.serial[-3000:]
    assert re.search(r"(?m)^\d+\.\d+ \d+\.\d+\n", outcome.serial), outcome.serial[-3000:]


# mov dx, 0xf4; xor al, al; out dx, al; hlt
FLAT = bytes.fromhex("baf400 30c0 ee f4")
FLAT_CONFIG = "\n".join(["[machine]", 'console = ["serial"]', f"debug_exit = {DEBUG_EXIT:#x}", "", "[[vm]]",
                         'name = "flat"', 'memory = "4M"', 'kernel = "flat.bin"', f"debug_exit = {DEBUG_EXIT:#x}", ""])


def optioned(name, options, way, kernel=STRESS_KERNEL):
    """The serial text of a stick made with `options`, booted by UEFI or by BIOS and GRUB."""
    work = WORK / f"{name}-{way}"
    config = images.write_config(WORK / name, FLAT_CONFIG, {"flat.bin": FLAT})
    image = images.made("mkimage", config, work.with_suffix(".whole"), kernel, extra=["--options", "stress=save:7"])
    image = images.edited(image, work.with_suffix(".img"), replace={"bulkhead/options.txt": options.encode()})
    boot = (ovmf(work) if way == "efi" else []) + disk(image)
    return run(QEMU, work, boot=[*boot, "-no-reboot"], memory_mib=512, timeout=40, until=HALTED).serial


@pytest.mark.parametrize("way", ["efi", "grub"])
def test_options_of_an_image_arrive(way):
    text = optioned("arrive", "stress=save:7", way)
    assert re.search(STRESSED + r".* every 7 ", text), text[-3000:]
    assert 'vm "flat" stopped: debug-exit 0' in text, text[-3000:]


def test_shipped_image_refuses_stress_options():
    for option in ("stress=save:7", "stress=fault:ud", "stress=entry:1,1"):
        text = optioned("shipped", option, "grub", KERNEL)
        assert "error stress: this image has no stress options: use bulkhead-stress.elf\n" in text, text[-3000:]
        assert re.search(HALTED, text) and "flat\" starts" not in text, text[-3000:]


@pytest.mark.parametrize("way", ["efi", "grub"])
def test_unknown_option_is_named(way):
    text = optioned("unknown", "stress=save:7\nstrss=save:7\n", way)
    assert re.search(r'options\.txt:2:1: unknown option "strss=save:7": there is .*stress=save:N', text), text[-3000:]
    assert re.search(HALTED, text) and "flat" not in text
