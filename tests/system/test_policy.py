# SPDX-License-Identifier: Apache-2.0
"""What follows the crash of a VM (on_crash), and what the hypervisor does then."""
import pytest

from emulators import BUILD, DEBUG_EXIT, PLATFORMS, bulkhead_iso, run

WORK = BUILD / "policy-test"
CONFIG = f"""[machine]
console = ["serial"]
debug_exit = {DEBUG_EXIT:#x}
[[vm]]
name = "victim"
memory = "4M"
kernel = "triple_fault.elf"
"""
ALL_ENDED = "bulkhead: all VMs ended"
# What a crash reports, and what it says instead when the cause is the last one's.
REPORT = "error vcpu: code at rip:"
AGAIN = 'error run: vm "victim" crashed '


def crashed(policy):
    work = WORK / policy
    iso = work.with_suffix(".iso")
    iso.parent.mkdir(parents=True, exist_ok=True)
    bulkhead_iso(iso, CONFIG + f'on_crash = "{policy}"\n',
                 {"triple_fault.elf": BUILD / "guest" / "triple_fault.elf"})
    until = rf"({ALL_ENDED}|the machine is halted).*\n"
    outcome = run(PLATFORMS["qemu-epyc"], work, iso=iso, timeout=60, until=until)
    assert not outcome.timed_out, outcome.serial[-3000:]
    return outcome.serial


@pytest.mark.parametrize("policy, crashes, restarts, last", [
    ("stop", 1, 0, ALL_ENDED),
    ("restart", 5, 4, ALL_ENDED),
    ("halt-machine", 1, 0, 'the machine is halted, as on_crash of vm "victim" says'),
])
def test_on_crash(policy, crashes, restarts, last):
    text = crashed(policy)
    assert text.count(REPORT) == 1, text[-3000:]
    assert text.count(AGAIN) == crashes - 1, text[-3000:]
    assert text.count('bulkhead: vm "victim" stopped: triple-fault at rip') == crashes
    assert text.count('vm "victim" restarted') == restarts, text[-3000:]
    assert ("crashed 5 times in 10 s: not restarted again" in text) == (policy == "restart")
    assert last in text, text[-1000:]
