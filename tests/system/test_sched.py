# SPDX-License-Identifier: Apache-2.0
"""The scheduler, measured: guests that count turns of a loop for ten seconds of the machine's time, which QEMU takes
from the number of instructions, share one CPU as the configuration says."""
import re

import pytest

from emulators import BUILD, DEBUG_EXIT, PLATFORMS, bulkhead_iso, run

WORK = BUILD / "sched-test"
SPIN = BUILD / "guest" / "spin.elf"
ENDED = r"bulkhead: all VMs ended\n"
# An instruction takes 8 ns, and the TSC counts nanoseconds.
ICOUNT = ["-icount", "shift=3,sleep=off", "-seed", "1", "-rtc", "base=2026-01-01,clock=vm"]
SECONDS = 10
FIXED = "[[cpu]]\ncpus = [0]\npolicy = 'fixed'\n"


def counts(name, vms, tables="", platform="qemu-epyc", extra=(), ticks=SECONDS * 10**9, timeout=240):
    """Runs a spinning guest for each of `vms` (lines of its table), and returns what they counted."""
    config = f'[machine]\nconsole = ["serial"]\ndebug_exit = {DEBUG_EXIT:#x}\n{tables}'
    for i, lines in enumerate(vms):
        word, _, more = lines.partition("\n")
        config += (f'[[vm]]\nname = "spin{i}"\nmemory = "4M"\nkernel = "spin.elf"\ndebug_exit = 0xf4\n'
                   f'cmdline = "ticks={ticks} {word}"\n{more}\n')
    iso = WORK / f"{name}.iso"
    bulkhead_iso(iso, config, {SPIN.name: SPIN})
    outcome = run(PLATFORMS[platform], WORK / name, iso=iso, timeout=timeout, extra=extra or ICOUNT, until=ENDED)
    assert re.search(ENDED, outcome.serial), outcome.serial[-3000:]
    assert not re.search("bulkhead: (warn|error)", outcome.serial), outcome.serial[-3000:]
    found = dict(re.findall(r"^(?:spin(\d+)\| )?count (\d+)$", outcome.serial, re.M))  # alone: without its name
    assert len(found) == len(vms), outcome.serial[-3000:]
    return [int(found[str(i) if len(vms) > 1 else ""]) for i in range(len(vms))]


@pytest.mark.parametrize("weights", [(100, 100), (100, 300), (50, 150, 300)])
def test_fair_shares_follow_weights(weights):
    name = "fair-" + "-".join(map(str, weights))
    got = counts(name, [f"\nweight = {weight}" for weight in weights])
    for count, weight in zip(got, weights):
        assert count / sum(got) == pytest.approx(weight / sum(weights), rel=0.01), got


def test_fixed_priority_leaves_the_rest_to_the_lower():
    high, low = counts("fixed", ["\npriority = 9\nperiod = 10000\nbudget = 3000", "\npriority = 1"], FIXED)
    assert high / (high + low) == pytest.approx(0.3, rel=0.01), (high, low)


def test_budget_holds_on_an_idle_cpu():
    alone, = counts("alone", [""], FIXED)
    limited, = counts("limited", ["\nperiod = 20000\nbudget = 5000"], FIXED)
    assert limited / alone == pytest.approx(0.25, rel=0.01), (limited, alone)


def test_loop_of_pause_gives_its_turns_away():
    """By PAUSE-loop exiting: no emulator has SVM's pause filter."""
    waits, works = counts("pause", ["pause", ""], platform="bochs-haswell", ticks=300_000_000, extra=["# none"])
    assert waits / works < 0.01, (waits, works)
