#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Runs libFuzzer binaries for a bounded time each, two at a time, and closes with one line of counts.

usage: run.py [--seconds N] BINARY...
The corpus of target NAME (binary fuzz_NAME) grows in build/fuzz/corpus/NAME; seeds kept in the tree are
read from tests/fuzz/seeds/NAME. A finding is left in build/fuzz/NAME-* and its output shown whole.
"""
import argparse
import concurrent.futures
import os
import re
import subprocess
import sys


def run(path, seconds):
    name = os.path.basename(path).removeprefix("fuzz_")
    out = os.path.dirname(path) or "."
    corpus = os.path.join(out, "corpus", name)
    os.makedirs(corpus, exist_ok=True)
    command = [path, f"-max_total_time={seconds}", "-timeout=10", "-rss_limit_mb=1024", "-print_final_stats=1",
               f"-artifact_prefix={out}/{name}-", corpus]
    seeds = os.path.join("tests", "fuzz", "seeds", name)
    if os.path.isdir(seeds):
        command.append(seeds)
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              timeout=seconds * 2 + 60)
        output, status = done.stdout.decode(errors="replace"), done.returncode
    except subprocess.TimeoutExpired as expired:
        output, status = (expired.stdout or b"").decode(errors="replace"), "timeout"
    except OSError as error:
        output, status = str(error), "not started"
    executed = re.search(r"number_of_executed_units: (\d+)", output)
    return name, status, executed.group(1) if executed else "0", output


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=5, help="time for one target")
    parser.add_argument("binary", nargs="*")
    args = parser.parse_args()

    passed = failed = 0
    with concurrent.futures.ThreadPoolExecutor(max_workers=2) as pool:
        for name, status, executed, output in pool.map(lambda path: run(path, args.seconds), args.binary):
            if status == 0:
                passed += 1
                print(f"ok   {name}: {executed} inputs", flush=True)
            else:
                failed += 1
                print(f"---- {name}\n{output.rstrip()}\nFAIL {name}: {executed} inputs, status {status}", flush=True)
    print(f"fuzz: {passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
