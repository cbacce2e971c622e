# SPDX-License-Identifier: Apache-2.0
"""make bench: instructions per operation as the benchmark guest counts them, on QEMU (SVM, no next-RIP), Bochs
ryzen (SVM) and Bochs haswell (VMX), and the size of the image. Prints one table, writes build/bench.json and
exits non-zero when a run fails or a bar is missed (--no-bars: only prints them)."""
import argparse
import json
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "system"))
from emulators import BUILD, DEBUG_EXIT, KERNEL, PLATFORMS, bulkhead_iso, make_iso, run  # noqa: E402

GUEST = BUILD / "guest" / "bench.elf"
WORK = BUILD / "bench"
COLUMNS = ["qemu-epyc", "bochs-ryzen", "bochs-haswell"]
BARE = {"qemu-epyc": "bare-qemu", "bochs-ryzen": "bare-ryzen", "bochs-haswell": "bare-haswell"}
ICOUNT = ["-icount", "shift=0,sleep=off", "-smp", "1", "-seed", "1", "-rtc", "base=2026-01-01,clock=vm"]
SECONDS = 180
LINE = re.compile(r"^BENCH (\S+) ([\d.]+)$", re.M)
TEXT_BAR = 160 * 1024

# The most that an operation may take, by platform; the numbers.
BARS = {
    "cpuid": {"qemu-epyc": 450, "bochs-ryzen": 260, "bochs-haswell": 260},
    "port_write_pic": {"qemu-epyc": 250, "bochs-ryzen": 250, "bochs-haswell": 250},
    "port_read_pic": {"qemu-epyc": 250, "bochs-ryzen": 250, "bochs-haswell": 250},
    "self_ipi_eoi_x2apic": {"bochs-ryzen": 700, "bochs-haswell": 700},
    "self_ipi_eoi_xapic": {"qemu-epyc": 1500},
}


def config_text(platform):
    end = f"debug_exit = {DEBUG_EXIT:#x}" if platform.emulator == "qemu" else 'on_idle = "poweroff"'
    return "\n".join(["[machine]", 'console = ["serial"]', end, "", "[[vm]]", 'name = "bench"', 'memory = "64M"',
                      'kernel = "bench.elf"', f'cmdline = "{platform.host_word}"', f"debug_exit = {DEBUG_EXIT:#x}",
                      ""])


def measure(name, bare):
    """{operation: instructions} on one platform; raises RuntimeError with the serial text."""
    platform = PLATFORMS[BARE[name] if bare else name]
    work = WORK / platform.name
    iso = work.with_suffix(".iso")
    if bare:
        make_iso(iso, {"bench.elf": GUEST}, f"multiboot /bench.elf {platform.host_word}\nboot\n")
    else:
        bulkhead_iso(iso, config_text(platform), {"bench.elf": GUEST})
    outcome = run(platform, work, iso=iso, timeout=SECONDS, extra=ICOUNT if platform.emulator == "qemu" else (),
                  until=r"(?m)^(SUCCESS|ERROR|FAILURE)\b.*\n" if bare else None)
    if not re.search(r"^SUCCESS$", outcome.serial, re.M):
        raise RuntimeError(f"{platform.name}: {'time is over' if outcome.timed_out else 'ended'}\n"
                           f"{outcome.serial[-2000:]}\n{outcome.log[-1000:]}")
    return {op: float(value) for op, value in LINE.findall(outcome.serial)}


def text_bytes():
    """Code of the image, as `size` counts it."""
    out = subprocess.run(["size", "-A", str(KERNEL)], capture_output=True, text=True, check=True).stdout
    return sum(int(m.group(1)) for m in re.finditer(r"^\.text\S*\s+(\d+)", out, re.M))


def print_table(results, columns):
    operations = list(dict.fromkeys(op for column in results.values() for op in column))
    print(f"{'instructions per operation':28}" + "".join(f"{c:>18}" for c in columns))
    for op in operations:
        cells = []
        for column in columns:
            value, bar = results.get(column, {}).get(op), BARS.get(op, {}).get(column)
            text = "-" if value is None else f"{value:.1f}"
            cells.append(f"{text + (f' /{bar}' if bar else ''):>17}" + ("!" if bar and (value or 0) > bar else " "))
        print(f"{op:28}" + "".join(cells))


def missed(results):
    return [f"{op} on {column}: {results[column][op]} of {bar}" for op, bars in BARS.items()
            for column, bar in bars.items() if results.get(column, {}).get(op, 0) > bar]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--platform", action="append", choices=COLUMNS, help="only this one (repeatable)")
    parser.add_argument("--bare", action="store_true", help="without Bulkhead: the floor of each loop")
    parser.add_argument("--no-bars", action="store_true", help="do not fail for a missed bar")
    args = parser.parse_args()
    columns, results, errors = args.platform or COLUMNS, {}, []
    for column in columns:
        try:
            results[column] = measure(column, args.bare)
        except RuntimeError as error:
            errors.append(str(error))
    report = {"instructions": results}
    print_table(results, columns)
    if not args.bare:
        report["text_bytes"] = text_bytes()
        print(f"{'text bytes of the image':28}{report['text_bytes']:>17} /{TEXT_BAR}")
        errors += [] if args.no_bars else missed(results)
        if report["text_bytes"] > TEXT_BAR and not args.no_bars:
            errors.append(f"text: {report['text_bytes']} of {TEXT_BAR} bytes")
        (BUILD / "bench.json").write_text(json.dumps(report, indent=1) + "\n")
    for error in errors:
        print(f"bench: {error}", file=sys.stderr)
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
