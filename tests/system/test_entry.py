# SPDX-License-Identifier: Apache-2.0
"""What the CPU refuses to enter is what the rules in software say (arch/x86/vmx/check.c, svm/check.c). stress=entry:SEED,N
breaks the state of a guest N times and tries the entry; every difference stands in the log and is either an error here
or one of the things that Bochs is known not to do (docs/QUIRKS.md), by name. And a state that is really refused ends in
a report that names the rule, and in what the VM's policy says."""
import re

import pytest

import guests
from emulators import BUILD, DEBUG_EXIT, PLATFORMS, STRESS_KERNEL, Platform, bulkhead_iso, run

WORK = BUILD / "entry-test"
GUESTS = {g.name: g for g in guests.GUESTS}
HALTED = r"(all VMs ended|the machine is halted).*\n"
ROUNDS = 3000
# Bochs panics when it takes a long-mode guest without CR0.PE, which it should refuse; told to go on, it goes on.
GO_ON = ["panic: action=fatal, term=report, cpu0=report"]

# Rules that Bochs 2.7 does not have. VMX:
UNCHECKED = {
    "26.2.1.3": ("injected event of type 7, which this CPU lacks", "injected event of type 7 with another vector than 0",
                 "error code of an event that is no hardware exception", "error code of an exception in real mode",
                 "error code of an exception that has none", "exception without its error code"),
    "26.3.1.1": ("reserved bits of IA32_DEBUGCTL", "IA-32e mode guest without CR0.PG"),
    "26.3.1.2": ("CS: DPL differs from SS's", "CS: DPL of conforming code above SS's",
                 # when SS is null in 64-bit code
                 "SS: type", "SS: S clear", "SS: P clear", "SS: reserved access rights", "SS: base above 4 GiB",
                 "SS: granularity does not fit the limit"),
    "26.3.1.4": ("RIP beyond the linear address width",),
    "26.3.1.5": ("reserved bits of the pending debug exceptions",),  # bits 63:32
    # SVM:
    "15.5.1": ("CR3 has bits beyond the physical address width", "CS: L and D at once in long mode",
               "EFER.LME and CR0.PG without CR0.PE"),
}
SMM = ("26.2.1.3", "entry to SMM outside SMM")  # refused, but as guest state
SEGMENT_L, SEGMENT_D = 1 << 9, 1 << 10  # of a segment's attributes in the VMCB


def excused(cpu, rules, changes):
    """Is this difference one that Bochs is known for?"""
    if cpu == "guest state" and SMM in rules:
        return True
    if cpu == "guest state":
        # It compares the DPL of CS with the RPL of CS, not with the DPL of SS.
        selector, access = changes.get("GUEST_CS_SELECTOR"), changes.get("GUEST_CS_ACCESS")
        if (selector is not None and selector & 3) or (access is not None and access & 4):
            return True
        # Without EPT the PDPTEs are in memory, where the rules do not look.
        if "PROC2_CONTROLS" in changes or "PROC_CONTROLS" in changes:
            return not changes.get("PROC2_CONTROLS", 2) & 2 or not changes.get("PROC_CONTROLS", 1 << 31) >> 31
        # Outside long mode it refuses what it should in long mode.
        attrib = changes.get("CS_ATTRIB", 0)
        return attrib & (SEGMENT_L | SEGMENT_D) == SEGMENT_L | SEGMENT_D
    return bool(rules) and all(text in UNCHECKED.get(section, ()) for section, text in rules)


LINE = r"bulkhead: error (?:stress|entry): .*\n"
DIFFERENCE = re.compile(rf"difference \d+: the CPU says (.*), the rules .*\n((?:{LINE})*)")


def differences(text):
    """(what the CPU said, {(section, rule)}, {field: value}) of each; what the guest prints between is left out."""
    ours = "".join(re.findall(r"(?m)^bulkhead: .*\n", text))
    for cpu, lines in DIFFERENCE.findall(ours):
        lines = lines.split("bulkhead: error stress: entry: difference")[0]
        rules = set(re.findall(r"refused: (\S+) [^:]*: (.*)", lines))
        changes = {name: int(value, 0) for name, value in re.findall(r"entry:   (\w+) = (\w+),", lines)}
        yield cpu, {(s, t) for s, t in rules if s != "26.4"}, changes


def stressed(guest, platform, options):
    guest = GUESTS[guest]
    work = WORK / re.sub(r"\W+", "-", f"{guest.name}-{platform.cpu}-{options}")
    files = {guest.file.name: guest.file}
    bulkhead_iso(work.with_suffix(".iso"), guests.config_text(guest, platform), files, options, STRESS_KERNEL)
    extra = GO_ON if platform.emulator == "bochs" else []
    return run(platform, work, iso=work.with_suffix(".iso"), timeout=120, until=HALTED, extra=extra).serial


@pytest.mark.parametrize("guest, cpu, vendor, seed", [
    ("longmode", "corei7_haswell_4770", "vmx", 1),
    ("protected", "corei7_ivy_bridge_3770k", "vmx", 2),
    ("realmode_io", "tigerlake", "vmx", 3),
    ("longmode", "ryzen", "svm", 4),
])
def test_rules_say_what_the_cpu_says(guest, cpu, vendor, seed):
    text = stressed(guest, Platform(cpu, "bochs", cpu, vendor=vendor), f"stress=entry:{seed},{ROUNDS}")
    counts = {name: int(n) for name, n in re.findall(r"info stress: entry: ([a-zA-Z ]+) (\d+)\n", text)}
    assert "differences" in counts, text[-3000:]
    assert sum(n for name, n in counts.items() if name != "differences") == ROUNDS
    assert counts["strange"] == 0
    # Every verdict has been reached often enough to mean something.
    for name in ("controls", "host state", "guest state", "MSR", "taken") if vendor == "vmx" else ("guest state", "taken"):
        assert counts[name] > ROUNDS / 60, (name, counts)
    unexplained = [d for d in differences(text) if not excused(*d)]
    assert not unexplained, unexplained
    # The guest has noticed nothing.
    assert re.search(rf'vm "{guest}" stopped: {GUESTS[guest].stop}', text), text[-3000:]


@pytest.mark.parametrize("name, rule", [
    ("bochs-haswell", "26.3.1.1 Checks on Guest Control Registers, Debug Registers, and MSRs: reserved bits of EFER"),
    # Not on bochs-ryzen: it overwrites the VMCB that it refuses with the host's state.
    ("qemu-epyc", "15.5.1 Basic Operation, Canonicalization and Consistency Checks: reserved bits of EFER"),
])
def test_refused_entry_is_named_and_its_vm_restarted(name, rule):
    platform = PLATFORMS[name]
    guest = GUESTS["cpuid"]
    work = WORK / f"refused-{name}"
    end = f"debug_exit = {DEBUG_EXIT:#x}" if platform.emulator == "qemu" else 'on_idle = "poweroff"'
    config = "\n".join(["[machine]", 'console = ["serial"]', end, "", "[[vm]]", 'name = "cpuid"', 'memory = "64M"',
                        'kernel = "cpuid.elf"', f'cmdline = "{platform.host_word}"', f"debug_exit = {DEBUG_EXIT:#x}",
                        'on_crash = "restart"', ""])
    bulkhead_iso(work.with_suffix(".iso"), config, {"cpuid.elf": guest.file}, "stress=fault:entry", STRESS_KERNEL)
    text = run(platform, work, iso=work.with_suffix(".iso"), timeout=60 * platform.slowness, until=HALTED).serial
    assert f"error entry: refused: {rule}\n" in text, text[-3000:]
    assert text.count("error entry: refused:") == 1, text[-3000:]
    assert re.search(r'vm "cpuid" stopped: entry-failed', text), text[-3000:]
    # The fault is made once: the next life of the VM is a good one.
    assert 'vm "cpuid" restarted' in text and re.search(r"(?m)^SUCCESS", text), text[-3000:]
    assert 'vm "cpuid" stopped: debug-exit 0' in text, text[-3000:]
