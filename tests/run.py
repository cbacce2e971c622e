#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs the suites of `make check` and `make test` and closes with one line, N passed, N failed, N skipped.

usage: tests/run.py [--only SUITE,...] [--without SUITE,...]
Suites: static (the parts of mk/check.mk), unit, fuzz, and those that start machines: guests on each platform and
every tests/system/test_*.py. Those run two at a time where CPUs and memory allow; the others use two processes by
themselves. What failed is shown whole; the output of each suite stays in build/test. Then what ran on which CPU as one
table (tests/matrix.py), also in build/matrix.txt. The exit status is 0 only when nothing failed.
"""
import argparse
import concurrent.futures
import os
import pathlib
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree
from dataclasses import dataclass, field

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "system"))
import matrix  # noqa: E402
from emulators import MATRIX, PLATFORMS  # noqa: E402

OUT = ROOT / "build" / "test"
STATIC = ("check-layers", "check-layout", "check-config", "check-sources")
LANES = 2
LANE_MIB = 2048  # of free memory
# The slow ones first, so that the lanes end together.
LONG = ("test_parity", "test_linux", "test_boot", "guests-bochs")
SUITE_SECONDS = 1500
SHOWN_LINES = 150
COUNTS = re.compile(r"^\w+: (\d+) passed, (\d+) failed, (\d+) skipped$", re.M)


@dataclass
class Tally:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    reasons: list = field(default_factory=list)  # of skips

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped

    def __str__(self):
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


def run(name, command, env=None):
    """Runs a command to its end or its time limit; returns (status, output)."""
    with open(OUT / f"{name}.log", "wb") as log:
        process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                                   env={**os.environ, **(env or {})}, start_new_session=True)
        try:
            status = process.wait(SUITE_SECONDS)
        except subprocess.TimeoutExpired:
            status = f"none within {SUITE_SECONDS} s"
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    return status, (OUT / f"{name}.log").read_text(errors="replace")


def show(name, output):
    lines = output.rstrip().splitlines()
    print(f"---- {name}" + (f" (the last {SHOWN_LINES} lines of build/test/{name}.log)" if len(lines) > SHOWN_LINES else ""))
    print("\n".join(lines[-SHOWN_LINES:]))


def report(name, tally, seconds, output):
    if tally.failed:
        show(name, output)
    print(f"{'FAIL' if tally.failed else 'ok':4} {name}: {tally} ({seconds:.0f} s)")
    for reason in dict.fromkeys(tally.reasons):
        print(f"       skipped {tally.reasons.count(reason)}: {reason}")
    sys.stdout.flush()


def make(*targets):
    return ["make", "-k", "-j2", "--output-sync=target", *targets]


def static():
    tally, output = Tally(), []
    for part in STATIC:
        status, text = run(part, make(part))
        tally.add(Tally(passed=1) if status == 0 else Tally(failed=1))
        output.append(text if status != 0 else "")
    return tally, "".join(output)


def counted(name, *targets):
    """A suite whose runner closes with a line of counts. None of these: it did not come that far."""
    status, output = run(name, make(*targets))
    found = COUNTS.findall(output)
    if not found:
        return Tally(failed=1), output
    tally = Tally(*map(int, found[-1]))
    if status != 0 and not tally.failed:
        tally.failed = 1
    return tally, output


def pytest(name, path, env=None):
    junit = OUT / f"{name}.xml"
    junit.unlink(missing_ok=True)
    status, output = run(name, [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-o",
                                "junit_family=xunit1", f"--junitxml={junit}", path], env)
    tally = Tally()
    if junit.exists():
        for case in xml.etree.ElementTree.parse(junit).iter("testcase"):
            skip = case.find("skipped")
            if case.find("failure") is not None or case.find("error") is not None:
                tally.failed += 1
            elif skip is not None:
                tally.skipped += 1
                tally.reasons.append(skip.get("message", ""))
            else:
                tally.passed += 1
    if status != 0 and not tally.failed:
        tally.failed = 1
    return tally, output


def machine_suites():
    """(name, function) of what starts machines."""
    def guests(platform):
        env = {"GUEST_PLATFORMS": platform, "GUEST_JOBS": "1"}
        return f"guests-{platform}", lambda: pytest(f"guests-{platform}", "tests/system/guests.py", env)

    def system(path):
        return path.stem, lambda: pytest(path.stem, str(path.relative_to(ROOT)))

    suites = [guests(name) for name in MATRIX] + [system(path) for path in sorted(ROOT.glob("tests/system/test_*.py"))]
    return sorted(suites, key=lambda suite: next((n for n, name in enumerate(LONG) if suite[0].startswith(name)), len(LONG)))


def lanes():
    """How many emulators at a time: each wants a CPU, and memory for its guest."""
    free = re.search(r"^MemAvailable: +(\d+) kB$", pathlib.Path("/proc/meminfo").read_text(), re.M)
    return max(1, min(LANES, os.cpu_count() or 1, int(free[1]) // 1024 // LANE_MIB))


def show_matrix(names):
    """Of the suites of this run that go through CPUs; others have cases of such names, too."""
    files = [path for name in names if (name.startswith("guests-") or name in ("test_parity", "test_kvm"))
             and (path := OUT / f"{name}.xml").exists()]
    cells, properties = matrix.read(files)
    if not cells:
        return
    headings = {}
    for name, platform in PLATFORMS.items():
        emulator = {"bochs": "Bochs", "tcg": "QEMU", "kvm": "KVM"}[
            platform.accel if platform.emulator == "qemu" else platform.emulator]
        headings.setdefault(f"{emulator}, {platform.vendor.upper()}", []).append(name)
    text = matrix.table(cells, list(headings.items()), properties)
    (ROOT / "build" / "matrix.txt").write_text(text)
    print(f"\n{text}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="suites, with commas between")
    parser.add_argument("--without", default="", help="suites to leave out")
    args = parser.parse_args()
    os.chdir(ROOT)
    for variable in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):  # the makes below are not parts of one above
        os.environ.pop(variable, None)
    OUT.mkdir(parents=True, exist_ok=True)

    alone = [("static", static), ("unit", lambda: counted("unit", "unit")), ("fuzz", lambda: counted("fuzz", "fuzz"))]
    machines = machine_suites()
    known = [name for name, _ in alone + machines]
    only, without = ([name for name in text.split(",") if name] for text in (args.only, args.without))
    unknown = set(only + without) - set(known)
    if unknown:
        parser.error(f"no suite {', '.join(sorted(unknown))}; there are {', '.join(known)}")

    def chosen(suites):
        return [(name, suite) for name, suite in suites if (not only or name in only) and name not in without]

    total = Tally()

    def timed(item):
        start = time.monotonic()
        return item[0], *item[1](), time.monotonic() - start

    def finish(name, tally, output, seconds):
        report(name, tally, seconds, output)
        total.add(tally)

    for item in chosen(alone):
        finish(*timed(item))
    machines = chosen(machines)
    if machines:
        status, output = run("build", make("test-build"))
        if status != 0:
            finish("build", Tally(failed=1), output, 0)
            machines = []
    begin, lane_count = time.monotonic(), lanes()
    with concurrent.futures.ThreadPoolExecutor(lane_count) as pool:
        for done in concurrent.futures.as_completed([pool.submit(timed, item) for item in machines]):
            finish(*done.result())
    if machines:
        print(f"     the machines took {time.monotonic() - begin:.0f} s, {lane_count} at a time")
        show_matrix([name for name, _ in machines])
    print(total)
    return 1 if total.failed or not total.passed else 0


if __name__ == "__main__":
    sys.exit(main())
