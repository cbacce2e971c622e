# SPDX-License-Identifier: Apache-2.0
"""The option max_run_us: a guest that never leaves by itself, with interrupts off, is left all the same."""
import pytest

from emulators import BUILD, KERNEL, PLATFORMS, STRESS_KERNEL, bulkhead_iso, run

WORK = BUILD / "max-run-test"
# mov dx, 0x3f8; mov al, 'G'; out dx, al; mov al, 10; out dx, al; jmp $ -- with IF = 0, as it was started
GUEST = bytes.fromhex("baf803 b047 ee b00a ee ebfe")
CONFIG = '[machine]\nconsole = ["serial"]\n\n[[vm]]\nname = "spin"\nmemory = "4M"\nkernel = "spin.bin"\n'
SAID = r"(?m)^G$"


def spin(platform, options, seconds=60):
    """Serial text up to the guest's line, which the host writes only when it gets the CPU back."""
    work = WORK / f"{platform}-{options or 'none'}".replace("=", "-").replace(" ", "-")
    work.parent.mkdir(parents=True, exist_ok=True)
    file = WORK / "spin.bin"
    file.write_bytes(GUEST)
    bulkhead_iso(work.with_suffix(".iso"), CONFIG, {"spin.bin": file}, options,
                 STRESS_KERNEL if "stress=" in options else KERNEL)
    return run(PLATFORMS[platform], work, iso=work.with_suffix(".iso"), timeout=seconds, until=SAID + r"\n")


@pytest.mark.parametrize("platform, options, by", [
    ("bochs-haswell", "max_run_us=1000", "the CPU's preemption timer"),
    ("qemu-epyc", "max_run_us=1000", "the APIC's timer"),
    ("qemu-epyc", "max_run_us=1000 stress=save:100", "the APIC's timer"),
])
def test_guest_with_interrupts_off_is_left(platform, options, by):
    outcome = spin(platform, options)
    assert f"a guest is left after 1000 us at the latest, by {by}" in outcome.serial, outcome.serial[-2000:]
    assert not outcome.timed_out and "\nG\n" in outcome.serial, outcome.serial[-2000:]


def test_without_the_option_nothing_is_bounded():
    text = spin("bochs-haswell", "", seconds=25).serial
    # Bochs does not exit for an interrupt that came while the guest was outside with IF = 0 (docs/QUIRKS.md).
    assert 'vm "spin" starts' in text and "\nG\n" not in text, text[-2000:]
