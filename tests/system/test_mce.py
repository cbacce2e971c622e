# SPDX-License-Identifier: Apache-2.0
"""What the hypervisor does with NMIs and machine checks of the machine itself: QEMU's monitor makes them one at a time,
the option stress=fault:nmi makes the PIT's ticks NMIs, which come at any instruction."""
import re

import pytest

import guests
from emulators import BUILD, DEBUG_EXIT, PLATFORMS, STRESS_KERNEL, bulkhead_iso, run

WORK = BUILD / "mce-test"
QEMU = PLATFORMS["qemu-epyc"]
CONFIG = f"""[machine]
console = ["serial"]
debug_exit = {DEBUG_EXIT:#x}
[[vm]]
name = "flat"
memory = "4M"
kernel = "flat.bin"
debug_exit = {DEBUG_EXIT:#x}
"""
# mov dx, 0x3f8; 1: mov al, '.'; out dx, al; mov al, 10; out dx, al; mov ecx, 20000000; 2: dec ecx; jnz 2b; jmp 1b
BUSY = bytes.fromhex("baf803 b02e ee b00a ee 66b9002d3101 6649 75fc ebee")
# mov dx, 0x3f8; mov al, '.'; out dx, al; mov al, 10; out dx, al; cli; hlt
ASLEEP = bytes.fromhex("baf803 b02e ee b00a ee fa f4")
RUNS = r"(?m)^\.$"
TOLD = r"warn cpu: cpu 0: 1 host NMI, 1 since the start, by no source that tells\n"


def flat(name, code, monitor, until):
    work = WORK / name
    work.parent.mkdir(parents=True, exist_ok=True)
    work.with_suffix(".bin").write_bytes(code)
    bulkhead_iso(work.with_suffix(".iso"), CONFIG, {"flat.bin": work.with_suffix(".bin")})
    outcome = run(QEMU, work, iso=work.with_suffix(".iso"), timeout=60, until=until, monitor=monitor)
    assert not outcome.timed_out, outcome.serial[-3000:]
    return outcome.serial


def test_nmi_while_a_guest_runs():
    text = flat("nmi-busy", BUSY, [(RUNS, "nmi"), (TOLD, "nmi")], r"2 since the start[^$]*\n\.\n")
    assert re.search(TOLD + r"[^$]*1 host NMI, 2 since the start[^$]*\n\.\n", text), text[-2000:]


def test_nmi_while_the_cpu_sleeps():
    flat("nmi-asleep", ASLEEP, [(RUNS, "nmi")], TOLD)


# The guest's own tests go on as if nothing were: NMIs in it, in the entry path, in handlers, in the CPU's sleep.
@pytest.mark.parametrize("platform, name", [
    (platform, name) for platform in ("qemu-epyc", "bochs-ryzen", "bochs-haswell") for name in ("lapic_timer", "msr_storm")])
def test_nmis_at_any_instruction(platform, name):
    guest = next(g for g in guests.GUESTS if g.name == name)
    outcome = guests.boot(guest, PLATFORMS[platform], "stress=fault:nmi", STRESS_KERNEL)
    assert re.search(r"warn cpu: cpu 0: \d+ host NMI, [3-9] since the start", outcome.serial), outcome.serial[-3000:]
    try:
        guests.judge(guest, PLATFORMS[platform], outcome)
    except guests.Verdict as verdict:
        pytest.fail(f"{verdict}\n{outcome.serial[-3000:]}")


# mce CPU BANK STATUS MCG_STATUS ADDR MISC: QEMU raises #MC only when all banks are on (CTL all ones) and CR4.MCE is set.
def test_machine_check_in_the_hypervisor():
    text = flat("mce-host", ASLEEP, [(RUNS, "mce 0 3 0xbe00000000000091 0x5 0x1234000 0x8c")],
                r"panic: the machine is halted.*\n")
    assert "PANIC: #MC error 0 in the hypervisor" in text, text[-3000:]
    assert ("error mce: cpu 0 bank 3: memory controller error, uncorrected, context corrupt, status 0xbe00000000000091, "
            "address 0x1234000, misc 0x8c\n") in text, text[-3000:]
    assert 'vm=0 ("flat") vcpu=0 was current' in text, text[-3000:]


def test_errors_from_before_the_start_are_told():
    left = "error mce: cpu 0, before the start, bank 2: TLB error, status 0x9400000000000011, address 0x5000\n"
    text = flat("mce-left", ASLEEP,
                [(RUNS, "mce 0 2 0x9400000000000011 0 0x5000 0\nsystem_reset")], r"Bulkhead 0\.[^$]*Bulkhead 0\.[^$]*\n\.\n")
    first, second = text.split("Bulkhead 0.")[1:]
    assert "mce:" not in first, first
    assert second.count("mce:") == 1 and left in second, second
