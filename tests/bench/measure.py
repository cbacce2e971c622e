# SPDX-License-Identifier: Apache-2.0
"""How instructions are counted: on QEMU by the plugin of tests/bench/plugin, on Bochs by its debugger, whose time is
instructions. Both say how much had been executed when a named point of the hypervisor or of a guest was reached,
and which expensive instructions a round of a benchmark loop took. Neither changes what the machine does."""
import bisect
import functools
import pathlib
import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
from emulators import BUILD, KERNEL, run  # noqa: E402

WORK = BUILD / "bench"
PLUGIN = WORK / "count.so"
KERNEL_VIRT = 0xFFFFFFFF80000000
KERNEL_PHYS = 0x200000  # where GRUB puts it: the lowest place that the alignment allows
ICOUNT = ["-icount", "shift=0,sleep=off", "-smp", "1", "-seed", "1", "-rtc", "base=2026-01-01,clock=vm"]
HOST_MIB = 512
TRACED = 3000  # instructions: several rounds of any loop

# The way from the firmware's boot loader to the guest, in the order in which it is gone: entries, and functions that
# kernel/lib/types.h's __step keeps apart; {} is vmx or svm.
START = ("mb2_entry", "kernel_entry", "tsccal_measure", "wallclock_init", "gmem_zero", "arch_vm_reset", "stress_start",
         "{}_enter")

# What costs a processor far more than an instruction: the letter in the table, the name in the report, and the
# instruction as both disassemblers (Intel syntax) write it.
EXPENSIVE = {name: (letter, re.compile(pattern)) for letter, name, pattern in (
    ("e", "world switches", r"vmrun|vmlaunch|vmresume"),
    ("r", "VMREAD", r"vmread"),
    ("w", "VMWRITE", r"vmwrite"),
    ("s", "VMLOAD and VMSAVE", r"vmload|vmsave"),
    ("g", "STGI and CLGI", r"stgi|clgi"),
    ("m", "RDMSR and WRMSR", r"rdmsr|wrmsr"),
    ("c", "control register writes", r"(mov\s+cr\d|clts|lmsw|xsetbv)"),
    ("p", "port I/O", r"(rep\s+)?(in|out|ins|outs)[bwl]?\b"),
    ("l", "locked operations", r"lock\b|xchg\s[^;]*\["),
    ("i", "TLB and cache invalidations", r"inv\w+|wbinvd"),
    ("t", "RDTSC", r"rdtsc"),
    ("d", "CPUID", r"cpuid"),
    ("f", "fences", r"[lm]fence"),
)}


@functools.cache
def symbols(path):
    """{name: address} of an ELF file, without the suffixes of link-time optimisation."""
    out = subprocess.run(["nm", str(path)], capture_output=True, text=True, check=True).stdout
    found = (line.split() for line in out.splitlines() if line[0] != " ")
    return {re.sub(r"\.(constprop|isra|lto_priv|part)\.\d+", "", name): int(value, 16) for value, _, name in found}


def address_of(name, guest=None):
    """Where a point is executed: mb2_entry runs where GRUB put it."""
    found = symbols(KERNEL).get(name) or (symbols(guest).get(name) if guest else None)
    if found is None:
        raise RuntimeError(f"neither the hypervisor nor the guest has a symbol {name}")
    return found - KERNEL_VIRT + KERNEL_PHYS if name == "mb2_entry" else found


def classify(instruction):
    return next((name for name, (_, pattern) in EXPENSIVE.items() if pattern.match(instruction)), None)


def start_points(vendor):
    return [name.format(vendor) for name in START]


@dataclass
class Hit:
    """What had been executed when a point was reached."""
    name: str
    all: int
    rep: int = 0  # of these, steps of REP string instructions
    image: int = 0  # of these, the hypervisor's
    at: Counter = field(default_factory=Counter)  # address in the image -> executions since the hit before


def by_function(counts):
    """[(instructions, function)] of executions by address, the most first."""
    starts = sorted((address, name) for name, address in symbols(KERNEL).items() if address >= KERNEL_VIRT)
    addresses = [address for address, _ in starts]
    total = Counter()
    for at, count in counts.items():
        total[starts[bisect.bisect_right(addresses, at) - 1][1]] += count
    return [(count, name) for name, count in total.most_common()]


# ---- QEMU -----------------------------------------------------------------------------------------------------------


@functools.cache
def disassembly():
    """{address: instruction} of the hypervisor."""
    out = subprocess.run(["objdump", "-d", "-M", "intel", "--no-show-raw-insn", str(KERNEL)], capture_output=True,
                         text=True, check=True).stdout
    return {int(address, 16): text for address, text in re.findall(r"^(ffffffff[0-9a-f]{8}):\s+(.*)$", out, re.M)}


@functools.cache
def expensive_addresses():
    return {at: name for at, text in disassembly().items() if (name := classify(text))}


@functools.cache
def rep_addresses():
    return {at for at, text in disassembly().items() if re.match(r"repn?[ez]?\s", text)}


def run_qemu(platform, work, points, *, arm=None, **args):
    """Runs with the plugin; `points` is {name: (address, hits to record)}. Returns (Outcome, [Hit])."""
    plan, out = work.with_suffix(".plan"), work.with_suffix(".count")
    work.parent.mkdir(parents=True, exist_ok=True)
    lines = [f"image {KERNEL_VIRT:x} {symbols(KERNEL)['__image_end']:x}"] + ([f"arm {arm:x}"] if arm else [])
    lines += [f"point {name} {address:x} {most:x}" for name, (address, most) in points.items()]
    plan.write_text("\n".join([*lines, ""]))
    out.unlink(missing_ok=True)
    extra = [*ICOUNT, "-plugin", f"{PLUGIN},plan={plan},out={out}", *args.pop("extra", ())]
    outcome = run(platform, work, extra=extra, **args)
    hits = []
    for line in out.read_text().splitlines() if out.exists() else ():
        kind, *words = line.split()
        if kind == "point":
            hits.append(Hit(words[0], *map(int, words[1:])))
        else:
            hits[-1].at[KERNEL_VIRT | int(words[0], 16)] = int(words[1])
    strangers = {at for hit in hits for at in hit.at} - disassembly().keys()
    if strangers:
        raise RuntimeError(f"{work.name}: not the hypervisor's, but run in its range: {min(strangers):#x}")
    return outcome, hits


def loops_qemu(hits, rounds):
    """{loop: {class: number a round}}: the second time that NAME and NAME_end were reached."""
    result = {}
    for before, hit in zip(hits, hits[1:]):
        if hit.name != f"{before.name}_end":
            continue
        total = Counter()
        for address, count in hit.at.items():
            if (name := expensive_addresses().get(address)):
                total[name] += count
        result[before.name] = {name: round(count / rounds, 1) for name, count in total.items() if count >= rounds / 20}
    return result


# ---- Bochs ----------------------------------------------------------------------------------------------------------


def bochs_commands(points, loops, to_the_end=True):
    """Commands of the debugger: the time at each of `points` (in the order in which they come), then a trace of some
    rounds of each of `loops`, the second time that one is called. The breakpoints are numbered as they are made."""
    lines = []
    for number, address in enumerate(points, 1):
        lines += [f"lb {address:#x}", "c", "ptime", f"d {number}"]
    for number, address in enumerate(loops, len(points) + 1):
        lines += [f"lb {address:#x}", "c", "c", f"d {number}", "trace on", f"s {TRACED}", "trace off"]
    return "\n".join([*lines, *(["c"] if to_the_end else []), "q", ""])


def hits_bochs(text, names):
    times = [int(t) for t in re.findall(r"^ptime: (\d+)", text, re.M)]
    return [Hit(name, time) for name, time in zip(names, times)]


# The hypervisor's lines. (Of a guest on SVM the debugger knows none: it does not walk nested tables.)
TRACE_LINE = re.compile(r"^\(0\)\.\[(\d+)\] \[\w+\] \w+:ffffffff[0-9a-f]+ \([^)]*\): ([^;\n]*)", re.M)


def loops_bochs(text, figures):
    """The same as loops_qemu, from the traces; `figures` is {loop: instructions a round}, in the order of the traces.
    A trace is cut at world switches to whole rounds, of which the commonest counts: an interrupt may be in one."""
    result = {}
    for (name, figure), piece in zip(figures.items(), text.split("Tracing enabled")[1:]):
        lines = [(int(time), classify(what)) for time, what in TRACE_LINE.findall(piece)]
        switches = [i for i, (_, kind) in enumerate(lines) if kind == "world switches"]
        if len(switches) < 2:
            continue
        ticks = lines[switches[-1]][0] - lines[switches[0]][0]
        cuts = switches[::max(1, round((len(switches) - 1) * figure / ticks))]
        rounds = [Counter(kind for _, kind in lines[a:b] if kind) for a, b in zip(cuts, cuts[1:])]
        if rounds:
            result[name] = dict(max(rounds, key=rounds.count))
    return result
