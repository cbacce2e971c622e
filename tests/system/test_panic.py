# SPDX-License-Identifier: Apache-2.0
"""A fault of the hypervisor itself, made on purpose (option stress=fault:KIND): what it says, and that it stops."""
import re

import pytest

from emulators import BUILD, DEBUG_EXIT, PLATFORMS, STRESS_KERNEL, bulkhead_iso, run

WORK = BUILD / "panic-test"
CONFIG = f"""[machine]
console = ["serial"]
debug_exit = {DEBUG_EXIT:#x}
[[vm]]
name = "victim"
memory = "64M"
kernel = "cpuid.elf"
"""
END = r"panic: the machine is halted.*\n"
CASES = {
    "ud": (r"PANIC: #UD error 0 in the hypervisor", "fault_make"),
    "pf": (r"PANIC: #PF error 0x2 in the hypervisor", "fault_make"),
    "stack": (r"PANIC: #DF error 0 in the hypervisor", "overflow"),
    "assert": (r"PANIC: assertion failed: .* at kernel/stress\.c:\d+", "fault_make"),
}


# The panic is common code: one kind is enough for the second backend.
@pytest.mark.parametrize("platform, kind", [*(("qemu-epyc", kind) for kind in CASES), ("bochs-haswell", "stack")])
def test_fault_is_told_and_the_machine_stops(platform, kind):
    work = WORK / f"{platform}-{kind}"
    iso = work.with_suffix(".iso")
    iso.parent.mkdir(parents=True, exist_ok=True)
    bulkhead_iso(iso, CONFIG, {"cpuid.elf": BUILD / "guest" / "cpuid.elf"}, f"stress=fault:{kind}", STRESS_KERNEL)
    text = run(PLATFORMS[platform], work, iso=iso, timeout=60, until=END).serial
    headline, function = CASES[kind]
    assert re.search(headline, text), text[-3000:]
    # A symbolised way back to the run loop, and who was current.
    assert re.search(rf"called from 0x[0-9a-f]+ {function}", text) or re.search(rf"rip 0x[0-9a-f]+ {function}", text), text
    assert re.search(r"called from 0x[0-9a-f]+ run_loop\+0x", text), text[-3000:]
    if kind == "stack":  # one line and a count for the frames that filled it
        frames = re.findall(r"called from 0x[0-9a-f]+ overflow\S*\n.* \.\.\. and \d\d times more\n", text)
        assert len(frames) == 1 and text.count(" overflow") <= 3, text
    assert re.search(r'vm=0 \("victim"\) vcpu=0 was current', text), text[-3000:]
    assert text.count("Bulkhead 0.") == 1, "the machine started again"
