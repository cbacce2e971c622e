#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs cmocka binaries, two at a time, and closes with one line of counts.

usage: run.py [--timeout SECONDS] BINARY...
The output of a binary is shown whole when it failed, crashed, timed out or reported no test at all;
otherwise one line stands for it. The exit status is 0 only when nothing failed.
"""
import argparse
import concurrent.futures
import os
import re
import subprocess
import sys

OUTCOME = re.compile(r"^\[\s*(OK|FAILED|SKIPPED|ERROR)\s*\] ([A-Za-z_]\w*)")
PLAN = re.compile(r"^\[=+\] .*Running (\d+) test")


class Result:
    def __init__(self, path):
        self.path, self.trouble, self.output = path, None, ""
        self.outcome = {}  # case name -> OK, FAILED, SKIPPED

    def count(self, *kinds):
        return sum(1 for kind in self.outcome.values() if kind in kinds)


def parse(result):
    """Outcomes by case name; the closing summary of cmocka repeats failed cases under the same name."""
    planned = 0
    for line in result.output.splitlines():
        plan = PLAN.match(line)
        if plan:
            planned += int(plan.group(1))
            continue
        match = OUTCOME.match(line)
        if match:
            kind = "FAILED" if match.group(1) == "ERROR" else match.group(1)
            result.outcome[match.group(2)] = kind
    return planned


def run(path, timeout):
    result = Result(path)
    env = dict(os.environ, CMOCKA_MESSAGE_OUTPUT="STDOUT")
    env.setdefault("ASAN_OPTIONS", "detect_leaks=1")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    try:
        done = subprocess.run([path], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              env=env, timeout=timeout)
    except subprocess.TimeoutExpired as expired:
        result.output = (expired.stdout or b"").decode(errors="replace")
        parse(result)
        result.trouble = f"no end within {timeout} s"
        return result
    except OSError as error:
        result.trouble = str(error)
        return result
    result.output = done.stdout.decode(errors="replace")
    planned = parse(result)
    if done.returncode < 0:
        result.trouble = f"killed by signal {-done.returncode}"
    elif done.returncode != 0 and not result.count("FAILED"):
        result.trouble = f"exit status {done.returncode} without a failed case"
    elif len(result.outcome) != planned or planned == 0:
        result.trouble = f"{planned} cases planned, {len(result.outcome)} reported"
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--timeout", type=int, default=120, help="seconds for one binary")
    parser.add_argument("binary", nargs="*")
    args = parser.parse_args()

    passed = failed = skipped = 0
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        for result in pool.map(lambda path: run(path, args.timeout), args.binary):
            # A crash takes the unfinished case with it: one failure more.
            bad = result.count("FAILED") + (1 if result.trouble else 0)
            passed += result.count("OK")
            failed += bad
            skipped += result.count("SKIPPED")
            if bad:
                print(f"---- {result.path}\n{result.output.rstrip()}")
            print(f"{'FAIL' if bad else 'ok':4} {os.path.basename(result.path)}: {result.count('OK')} passed, "
                  f"{bad} failed, {result.count('SKIPPED')} skipped"
                  + (f" ({result.trouble})" if result.trouble else ""), flush=True)
    print(f"unit: {passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed or not args.binary else 0


if __name__ == "__main__":
    sys.exit(main())
