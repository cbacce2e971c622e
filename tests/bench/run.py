# SPDX-License-Identifier: Apache-2.0
"""make bench: what Bulkhead costs, in instructions, on QEMU (SVM, no next-RIP), Bochs ryzen (SVM) and Bochs haswell
(VMX). Prints one table, writes build/bench.json and exits non-zero when a run fails or a bar is missed
(--no-bars: only prints them). docs/BENCH.md explains the rows."""
import argparse
import functools
import gzip
import json
import re
import struct
import subprocess
import sys
import textwrap

import measure
from measure import BUILD, HOST_MIB, KERNEL, WORK
from emulators import DEBUG_EXIT, PLATFORMS, Platform, bulkhead_iso, make_iso, run

GUEST = BUILD / "guest" / "bench.elf"
GUEST_SYMBOLS = BUILD / "guest" / "bench.elf.64"
LINUX = {"vmlinuz": BUILD / "guest" / "vmlinuz", "initrd.img": BUILD / "guest" / "initrd.img"}
LINUX_MIB = 256
QEMU_LOADS_AT = 0x100000   # a bzImage: the default of code32_start (Linux x86 boot protocol)
GRUB_LOADS_AT = 0x1000000  # pref_address
CMDLINE = "console=ttyS0 quiet nokaslr bulkhead.run=true"
COLUMNS = {"qemu-epyc": "QEMU, SVM", "bochs-ryzen": "Bochs, SVM", "bochs-haswell": "Bochs, VMX"}
BARE = {"qemu-epyc": "bare-qemu", "bochs-ryzen": "bare-ryzen", "bochs-haswell": "bare-haswell"}
# Where hardware delivers, Bochs may lose the interrupt that STI; HLT waits for (docs/QUIRKS.md).
OPTIONS = {"bochs-haswell": "off=tpr-shadow"}
SECONDS = 180
ROUNDS = 1000  # tests/bench/guest/bench.c
LINE = re.compile(r"^BENCH (\S+) ([\d.]+)$", re.M)

# Row, its title, the loop in the guest if that exits every round. A figure is a round trip, the loop included.
OPERATIONS = {
    "empty": ("the loop alone", None),
    "rdtsc": ("RDTSC (no exit)", None),
    "cpuid": ("CPUID", "loop_cpuid"),
    "hypercall": ("hypercall", "loop_{call}"),
    "port_write_pic": ("port write, PIC", "loop_out_pic"),
    "port_read_pic": ("port read, PIC", "loop_in_pic"),
    "port_write_uart": ("port write, UART", "loop_out_uart"),
    "port_read_unclaimed": ("port read, unclaimed", "loop_in_none"),
    "port_write_unclaimed": ("port write, unclaimed", "loop_out_none"),
    "rdmsr_apic_base": ("RDMSR APIC_BASE", "loop_rdmsr"),
    "wrmsr_apic_base": ("WRMSR APIC_BASE", "loop_wrmsr"),
    "lapic_mmio_read": ("LAPIC MMIO read, ID", "loop_mmio_read"),
    "lapic_mmio_write_tpr": ("LAPIC MMIO write, TPR", "loop_mmio_write"),
    "timer_arm_xapic": ("LAPIC MMIO write, timer count", "loop_timer_xapic"),
    "self_ipi_eoi_xapic": ("self-IPI, interrupt, EOI, xAPIC", "loop_ipi_xapic"),
    "x2apic_read_tpr": ("x2APIC read, TPR", "loop_x2_read"),
    "x2apic_write_tpr": ("x2APIC write, TPR", "loop_x2_write"),
    "self_ipi_eoi_x2apic": ("self-IPI, interrupt, EOI, x2APIC", "loop_ipi_x2apic"),
    "icr_self_eoi_x2apic": ("the same through ICR", "loop_ipi_icr"),
    "self_ipi_hlt_eoi_x2apic": ("the same, taken in HLT", "loop_hlt_ipi"),
    "delivered_ipi_eoi_xapic": ("self-IPI, EOI by hardware, xAPIC", None),
    "delivered_ipi_eoi_x2apic": ("self-IPI, EOI by hardware, x2APIC", None),
    "timer_arm_deadline": ("WRMSR TSC_DEADLINE, far", "loop_timer_deadline"),
    "deadline_past_eoi_x2apic": ("WRMSR TSC_DEADLINE, past, EOI", "loop_deadline_irq"),
    "ipi_to_handler_x2apic": ("injection: self-IPI to handler", None),
    "deadline_to_handler": ("injection: deadline to handler", None),
}
# {row: {column: the most it may be}}: the project's bars.
BARS = {
    "cpuid": {"qemu-epyc": 450, "bochs-ryzen": 260, "bochs-haswell": 230},
    "port_write_pic": dict.fromkeys(COLUMNS, 250) | {"bochs-haswell": 220},
    "port_read_pic": dict.fromkeys(COLUMNS, 250) | {"bochs-haswell": 220},
    "self_ipi_eoi_x2apic": {"bochs-ryzen": 700, "bochs-haswell": 600},
    "self_ipi_eoi_xapic": {"qemu-epyc": 1500},
    # The guest's own instructions: an exit would be more than ten times as much.
    "delivered_ipi_eoi_xapic": {"bochs-haswell": 20},
    "delivered_ipi_eoi_x2apic": {"bochs-haswell": 20},
    "linux_share_percent": {"qemu-epyc": 1.0},
    "text_bytes": dict.fromkeys(COLUMNS, 160 * 1024),
}
TITLES = {name: title for name, (title, _) in OPERATIONS.items()} | {
    "linux_guest_init": "Linux boot to init, guest",
    "linux_bare_init": "Linux boot to init, bare",
    "linux_ratio": "guest to bare",
    "linux_ratio_no_rep": "guest to bare, without REP steps",
    "linux_share_percent": "hypervisor's share to init, %",
    "linux_share_no_rep_percent": "the same, without REP steps, %",
    "linux_share_off_percent": "hypervisor's share to power-off, %",
    "linux_world_switches": "world switches to init",
    "text_bytes": "hypervisor text, bytes",
    "memory_kib": "hypervisor memory, KiB",
    "memory_vm_kib": "of it for the VM, KiB",
    "memory_tables_kib": "of that in page tables, KiB",
}
START_TITLES = {"all": "hand-off to the guest, {}", "calibration": "  clock calibration (waits)",
                "scrub": "  scrubbing memory (REP)", "load": "  reset, loading the guest (REP)", "rest": "  all else"}


class BenchError(Exception):
    """A run that gave no figures."""


def need(outcome, name, good):
    if not good:
        raise BenchError(f"{name}: {'time is over' if outcome.timed_out else 'no figures'}\n"
                         f"{outcome.serial[-2000:]}\n{outcome.log[-1000:]}")


def config_text(platform, kernel, memory_mib, cmdline, more=""):
    end = f"debug_exit = {DEBUG_EXIT:#x}" if platform.emulator == "qemu" else 'on_idle = "poweroff"'
    return "\n".join(["[machine]", 'console = ["serial"]', end, "", "[[vm]]", 'name = "bench"',
                      f'memory = "{memory_mib}M"', f'kernel = "{kernel}"', f'cmdline = "{cmdline}"', more, ""])


def bench_iso(platform, work, memory_mib, words="", options=None):
    cmdline = f"{platform.host_word} {words}".strip()
    bulkhead_iso(work.with_suffix(".iso"), config_text(platform, "bench.elf", memory_mib, cmdline,
                                                       f"debug_exit = {DEBUG_EXIT:#x}"), {"bench.elf": GUEST},
                 OPTIONS.get(platform.name, "") if options is None else options)
    return work.with_suffix(".iso")


# ---- the operations -------------------------------------------------------------------------------------------------


def loops_of(platform):
    """{row: loop} of what this platform can run, in the guest's order."""
    call = "vmcall" if platform.vendor == "vmx" else "vmmcall"
    return {row: loop.format(call=call) for row, (_, loop) in OPERATIONS.items() if loop}


def operations(name):
    """({row: instructions}, {row: {class: number}}, [Hit] of the start) of one platform."""
    platform, guest = PLATFORMS[name], functools.partial(measure.address_of, guest=GUEST_SYMBOLS)
    work, loops = WORK / name, loops_of(platform)
    iso = bench_iso(platform, work, 64)
    start = measure.start_points(platform.vendor)
    if platform.emulator == "qemu":
        points = {p: (guest(p), 1) for p in start}
        points |= {p: (guest(p), 2) for loop in loops.values() for p in (loop, f"{loop}_end")}
        outcome, hits = measure.run_qemu(platform, work, points, arm=guest("mb2_entry"), iso=iso, timeout=SECONDS,
                                         memory_mib=HOST_MIB)
        costs = measure.loops_qemu(hits, ROUNDS)
    else:
        commands = measure.bochs_commands([guest(p) for p in start], [guest(loop) for loop in loops.values()])
        outcome = run(platform, work, iso=iso, timeout=SECONDS, memory_mib=HOST_MIB, commands=commands)
        text = work.with_suffix(".out").read_text(errors="replace")
        hits = measure.hits_bochs(text, start)
    need(outcome, name, re.search(r"^SUCCESS$", outcome.serial, re.M))
    found = {row: float(value) for row, value in LINE.findall(outcome.serial)}
    if platform.emulator == "bochs":
        costs = measure.loops_bochs(text, {loop: found[row] for row, loop in loops.items()})
    memory = re.search(r"hypervisor holds (\d+) KiB", outcome.serial)
    split = re.search(r"(\d+) KiB for the VM, (\d+) of these in page tables", outcome.serial)
    need(outcome, name, memory and split)
    found |= {"memory_kib": int(memory[1]), "memory_vm_kib": int(split[1]), "memory_tables_kib": int(split[2]),
              "text_bytes": text_bytes()}
    return found, {row: costs[loop] for row, loop in loops.items() if costs.get(loop)}, hits


def delivered():
    """{row: instructions} where hardware delivers the interrupts."""
    platform, work = PLATFORMS["bochs-haswell"], WORK / "delivery"
    outcome = run(platform, work, iso=bench_iso(platform, work, 64, "delivery", ""), timeout=SECONDS,
                  memory_mib=HOST_MIB)
    need(outcome, "delivery", re.search(r"^SUCCESS$", outcome.serial, re.M))
    return {row.replace("self_ipi", "delivered_ipi"): float(value) for row, value in LINE.findall(outcome.serial)}


def bare_operations(name):
    """The floor of each loop: the guest without Bulkhead."""
    platform = PLATFORMS[BARE[name]]
    work = WORK / platform.name
    make_iso(work.with_suffix(".iso"), {"bench.elf": GUEST}, f"multiboot /bench.elf {platform.host_word}\nboot\n")
    outcome = run(platform, work, iso=work.with_suffix(".iso"), timeout=SECONDS,
                  extra=measure.ICOUNT if platform.emulator == "qemu" else (),
                  until=r"(?m)^(SUCCESS|ERROR|FAILURE)\b.*\n")
    need(outcome, platform.name, re.search(r"^SUCCESS$", outcome.serial, re.M))
    return {row: float(value) for row, value in LINE.findall(outcome.serial)}


# ---- from hand-off to the guest -------------------------------------------------------------------------------------


def start_parts(platform, hits):
    """Instructions of the parts of the way to the guest; what is waiting and copying stands apart."""
    first = {}
    for hit in hits:
        first.setdefault(hit.name, hit.all)
    names = measure.start_points(platform.vendor)
    missing = [name for name in names if name not in first]
    if missing:
        raise BenchError(f"{platform.name}: never came to {missing[0]}")

    def between(a, b):
        return first[b] - first[a]

    parts = {"all": between(names[0], names[-1]),
             "calibration": between("tsccal_measure", "wallclock_init"),
             "scrub": between("gmem_zero", "arch_vm_reset"), "load": between("arch_vm_reset", "stress_start")}
    parts["rest"] = parts["all"] - parts["calibration"] - parts["scrub"] - parts["load"]
    return parts


def start_hits(name, memory_mib):
    """The way to the guest with another size of memory; the run ends there where it can."""
    platform = PLATFORMS[name]
    work = WORK / f"start-{memory_mib}-{name}"
    iso = bench_iso(platform, work, memory_mib)
    start = measure.start_points(platform.vendor)
    if platform.emulator == "qemu":
        points = {p: (measure.address_of(p), 1) for p in start}
        outcome, hits = measure.run_qemu(platform, work, points, arm=points["mb2_entry"][0], iso=iso, timeout=SECONDS,
                                         memory_mib=HOST_MIB, until=r"BENCH empty")
    else:
        commands = measure.bochs_commands([measure.address_of(p) for p in start], [], to_the_end=False)
        outcome = run(platform, work, iso=iso, timeout=SECONDS, memory_mib=HOST_MIB, commands=commands)
        hits = measure.hits_bochs(work.with_suffix(".out").read_text(errors="replace"), start)
    need(outcome, f"{name}, start with {memory_mib} MiB", set(start) <= {hit.name for hit in hits})
    return hits


# ---- Linux ----------------------------------------------------------------------------------------------------------


def init_entry():
    """Where the first instruction of init is: the entry point of the guest's static /bin/busybox."""
    data, at = gzip.decompress(LINUX["initrd.img"].read_bytes()), 0
    while data[at:at + 6] == b"070701":  # cpio, "newc": the header's fields are 8 hexadecimal digits each
        size, name_size = int(data[at + 54:at + 62], 16), int(data[at + 94:at + 102], 16)
        name, body = data[at + 110:at + 110 + name_size - 1], at + 110 + name_size + 3 & ~3
        if name.removeprefix(b"./") == b"bin/busybox":
            kind, = struct.unpack_from("<H", data, body + 16)
            if kind != 2:  # ET_EXEC
                raise BenchError("the guest's busybox is position independent: its first instruction has no address")
            return struct.unpack_from("<Q", data, body + 24)[0]
        at = body + size + 3 & ~3
    raise BenchError("the guest's initrd has no bin/busybox")


def linux_config(platform):
    return config_text(platform, "vmlinuz", LINUX_MIB, CMDLINE, 'initrd = "initrd.img"')


def linux_guest():
    """[Hit] at the first entry, at init and at the end, which is the power-off of the VM."""
    platform = PLATFORMS["qemu-epyc"]
    work = WORK / "linux-guest"
    iso = work.with_suffix(".iso")
    bulkhead_iso(iso, linux_config(platform), LINUX)
    points = {"svm_enter": (measure.address_of("svm_enter"), 1), "init": (init_entry(), 1)}
    outcome, hits = measure.run_qemu(platform, work, points, arm=points["svm_enter"][0], iso=iso, timeout=SECONDS,
                                     memory_mib=HOST_MIB)
    need(outcome, "linux in a VM", [hit.name for hit in hits] == [*points, "end"])
    return hits


def linux_bare():
    """[Hit] at the kernel's entry, at init and at the end, on the emulator alone: same CPU, same memory."""
    platform = Platform("linux-bare", "qemu", PLATFORMS["qemu-epyc"].cpu, bare=True)
    points = {"start": (QEMU_LOADS_AT, 1), "init": (init_entry(), 1)}
    boot = ["-kernel", str(LINUX["vmlinuz"]), "-initrd", str(LINUX["initrd.img"]), "-append", CMDLINE, "-vga", "none",
            "-no-reboot"]
    outcome, hits = measure.run_qemu(platform, WORK / platform.name, points, arm=QEMU_LOADS_AT, boot=boot,
                                     memory_mib=LINUX_MIB, timeout=SECONDS)
    need(outcome, "linux, bare", [hit.name for hit in hits] == ["start", "init", "end"])
    return hits


def linux_bochs(column):
    """{row: figure}: time to init in instructions, halts included. Without the bare figure where Linux does not come
    up alone: on ryzen it waits with MWAITX, which never wakes there (docs/QUIRKS.md)."""
    host = PLATFORMS[column]
    work, enter = WORK / f"linux-guest-{column}", measure.address_of(f"{host.vendor}_enter")
    bulkhead_iso(work.with_suffix(".iso"), linux_config(host), LINUX)
    found = {"linux_guest_init": span_bochs(host, work, enter)}
    if column == "bochs-haswell":
        alone = Platform("linux-bare-haswell", "bochs", host.cpu, bare=True, lenient=True)
        make_iso((WORK / alone.name).with_suffix(".iso"), LINUX,
                 f"linux /vmlinuz {CMDLINE}\ninitrd /initrd.img\nboot\n")
        found["linux_bare_init"] = span_bochs(alone, WORK / alone.name, GRUB_LOADS_AT)
        found["linux_ratio"] = round(found["linux_guest_init"] / found["linux_bare_init"], 4)
    return found


def span_bochs(platform, work, start):
    """Instructions between the first execution of `start` and init."""
    commands = measure.bochs_commands([start, init_entry()], [], to_the_end=False)
    outcome = run(platform, work, iso=work.with_suffix(".iso"), memory_mib=LINUX_MIB if platform.bare else HOST_MIB,
                  timeout=SECONDS, commands=commands)
    hits = measure.hits_bochs(work.with_suffix(".out").read_text(errors="replace"), ("start", "init"))
    need(outcome, f"linux, {platform.name}", len(hits) == 2)
    return hits[1].all - hits[0].all


def world_switches(hit):
    return sum(count for at, count in hit.at.items() if measure.expensive_addresses().get(at) == "world switches")


def rep_in_image(hit):
    return sum(count for at, count in hit.at.items() if at in measure.rep_addresses())


def linux_figures():
    """({row: figure}, [(instructions, function of the hypervisor)] to init)."""
    guest, bare = linux_guest(), linux_bare()
    start, init, off = guest
    everything, image = init.all - start.all, init.image - start.image
    rep, image_rep = init.rep - start.rep, rep_in_image(init)
    alone, alone_rep = bare[1].all - bare[0].all, bare[1].rep - bare[0].rep
    return {"linux_guest_init": everything, "linux_bare_init": alone, "linux_ratio": round(everything / alone, 4),
            "linux_ratio_no_rep": round((everything - rep) / (alone - alone_rep), 4),
            "linux_share_percent": round(100 * image / everything, 3),
            "linux_share_no_rep_percent": round(100 * (image - image_rep) / (everything - rep), 3),
            "linux_share_off_percent": round(100 * (off.image - start.image) / (off.all - start.all), 3),
            "linux_world_switches": world_switches(init)}, measure.by_function(init.at)


# ---- the report -----------------------------------------------------------------------------------------------------


def text_bytes():
    """Code of the image, as `size` counts it."""
    out = subprocess.run(["size", "-A", str(KERNEL)], capture_output=True, text=True, check=True).stdout
    return sum(int(m.group(1)) for m in re.finditer(r"^\.text\S*\s+(\d+)", out, re.M))


def collect(columns, linux):
    """(results, costs, profile, errors): {column: {row: figure}}, {column: {row: {class: number}}}, and the functions
    of the hypervisor in the boot of Linux."""
    results, costs, profile, errors = {column: {} for column in columns}, {}, [], []

    def attempt(fill):
        """Twice at most: Bochs itself crashes about once in a hundred runs. What is wrong with us fails again."""
        for last in (False, True):
            try:
                return fill()
            except (BenchError, RuntimeError, OSError, subprocess.CalledProcessError) as error:
                if last:
                    errors.append(str(error))
                else:
                    print(f"bench: tried again, as the first run failed: {error}", file=sys.stderr)

    def fill_operations(column):
        found, costs[column], hits = operations(column)
        results[column] |= found
        if column == "bochs-haswell":
            results[column] |= delivered()
        for mib, seen in ((64, hits), (256, start_hits(column, 256))):
            results[column] |= {f"start_{mib}_{part}": n for part, n in start_parts(PLATFORMS[column], seen).items()}

    def fill_linux(column):
        if column == "qemu-epyc":
            figures, functions = linux_figures()
            profile.extend(functions)
        else:
            figures = linux_bochs(column)
        results[column] |= figures

    for column in columns:
        attempt(functools.partial(fill_operations, column))
        if linux:
            attempt(functools.partial(fill_linux, column))
    return results, costs, profile, errors


def title(row):
    if row.startswith("start_"):
        _, mib, part = row.split("_")
        return START_TITLES[part].format(f"{mib} MiB")
    return TITLES[row]


def number(value):
    return f"{value:,}" if isinstance(value, int) else f"{value:,.3f}" if value < 2 else f"{value:,.1f}"


def letters(cost):
    return " ".join(f"{cost[name]:g}{letter}" for name, (letter, _) in measure.EXPENSIVE.items() if cost.get(name))


def cell(column, row, results, costs):
    value, bar = results[column].get(row), BARS.get(row, {}).get(column)
    if value is None:
        return "-"
    limit = f" /{bar:g}{'!' if value > bar else ''}" if bar else ""
    return f"{number(value)}{limit}  {letters(costs.get(column, {}).get(row, {}))}".rstrip()


def print_table(results, costs):
    order = [*OPERATIONS, *(f"start_{mib}_{part}" for mib in (64, 256) for part in START_TITLES),
             *(row for row in TITLES if row not in OPERATIONS)]
    rows = [row for row in order if any(row in found for found in results.values())]
    lines = [["instructions", *(COLUMNS[column] for column in results)]]
    lines += [[title(row), *(cell(column, row, results, costs) for column in results)] for row in rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        print("  ".join(text.ljust(width) for text, width in zip(line, widths)).rstrip())
    legend = ", ".join(f"{letter} {name}".replace(" ", "~") for name, (letter, _) in measure.EXPENSIVE.items())
    print(textwrap.fill(f"/ bar, ! missed; in each figure: {legend}", 112).replace("~", " "))


def missed(results, linux):
    """Lines about what is above its bar, or has a bar and no figure."""
    lines = []
    for row, column, bar in ((row, column, bar) for row, bars in BARS.items() for column, bar in bars.items()):
        if column not in results or (row.startswith("linux_") and not linux):
            continue
        value = results[column].get(row)
        if value is None or value > bar:
            figure = "no figure" if value is None else number(value)
            lines.append(f"{title(row)} on {COLUMNS[column]}: {figure}, the bar is {bar:g}")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--platform", action="append", choices=list(COLUMNS), help="only this one (repeatable)")
    parser.add_argument("--bare", action="store_true", help="without Bulkhead: the floor of each loop")
    parser.add_argument("--no-linux", action="store_true", help="without the boots of Linux")
    parser.add_argument("--no-bars", action="store_true", help="do not fail for a missed bar")
    parser.add_argument("--profile", type=int, default=0, metavar="N",
                        help="the N functions of the hypervisor that took most of the boot of Linux")
    args = parser.parse_args()
    columns = args.platform or list(COLUMNS)
    if args.bare:
        print_table({column: bare_operations(column) for column in columns}, {})
        return 0
    results, costs, profile, errors = collect(columns, not args.no_linux)
    print_table(results, costs)
    for count, name in profile[:args.profile]:
        print(f"{count:14,}  {name}")
    over = missed(results, not args.no_linux)
    if not args.no_bars:
        errors += over
    report = {"instructions": results, "expensive": costs, "bars": BARS, "missed": over,
              "linux_profile": {name: count for count, name in profile}}
    (BUILD / "bench.json").write_text(json.dumps(report, indent=1) + "\n")
    for error in errors:
        print(f"bench: {error}", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
