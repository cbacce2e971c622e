# SPDX-License-Identifier: Apache-2.0
"""Runs every test guest (tests/guest) under Bulkhead on every platform and judges it by its serial text.

    pytest tests/system/guests.py                          all guests, QEMU (SVM) and Bochs (SVM, VMX)
    pytest tests/system/guests.py -k 'cpuid and haswell'   one of them
    GUEST_PLATFORMS=bare-qemu,bare-ryzen pytest ...        without Bulkhead: proves the tests themselves

A guest passes when it prints SUCCESS, the hypervisor then reports the expected end of its VM, and the machine
ends by itself. The runs go in parallel (GUEST_JOBS, default 2); a pytest case waits for its own."""
import concurrent.futures
import os
import re
import threading
from dataclasses import dataclass, field

import pytest

from emulators import BUILD, DEBUG_EXIT, KERNEL, MATRIX, PLATFORMS, bulkhead_iso, make_iso, run

WORK = BUILD / "guest-iso"
RESULT = re.compile(r"^(SUCCESS|SKIP|ERROR|FAILURE)\b(.*)$", re.M)
RESULT_LINE = r"(?m)^(?:SUCCESS|SKIP|ERROR|FAILURE)\b.*\n"
HALTED = r"the machine is halted.*\n"  # after a panic there is nothing to wait for
BAD_LINE = re.compile(r"^.*(?:panic|assertion failed|hypervisor fault).*$", re.M | re.I)
SHOWN = 4000  # characters of a log in a failure
BASE_SECONDS = 15  # on QEMU, with firmware and GRUB, on a loaded machine
MODULE = b"module 0 of the test guest\n" + bytes(range(256)) * 37


@dataclass(frozen=True)
class Guest:
    name: str
    image: str = ""  # file in build/guest, default NAME.elf
    cmdline: str = ""
    memory: str = "64M"
    module: bytes | str = b""  # content, or a file in build/guest
    policy: str = ""  # more lines of the [[vm]] table
    final: bool = True  # ends with a result line of its own
    wild: bool = False  # may damage itself: what it says does not count, only that the hypervisor lives
    stop: str = r"debug-exit 0\b"  # how the hypervisor reports the end of the VM
    until: str = ""  # end the run here: the guest goes on for ever
    seconds: int = BASE_SECONDS
    bare: tuple = ("bare-qemu", "bare-ryzen", "bare-haswell")
    skip: dict = field(default_factory=dict, hash=False)  # platform, emulator-vendor or vendor -> reason

    @property
    def file(self):
        return BUILD / "guest" / (self.image or f"{self.name}.elf")


GUESTS = (
    Guest("realmode_io", image="realmode_io.bin", bare=()),
    Guest("realboot", module="realmode_io.bin"),
    Guest("unpaged", image="unpaged.bin", bare=()),
    Guest("protected"),
    Guest("task"),
    Guest("longmode"),
    Guest("cpuid"),
    Guest("msr"),
    Guest("exceptions"),
    Guest("lapic_timer"),
    Guest("pic"),
    Guest("ioapic"),
    Guest("hlt_wake"),
    Guest("mmio_forms"),
    Guest("wild_memory", bare=("bare-qemu",)),
    Guest("triple_fault", final=False, bare=(), stop=r"triple-fault\b",
          skip={"bochs-svm": "Bochs 2.7 stops itself at a triple fault of an SVM guest"}),
    Guest("port_storm"),
    Guest("msr_storm"),
    Guest("garbage", final=False, wild=True, stop=r".", seconds=30),
    Guest("hypercall"),
    Guest("self_ipi"),
    Guest("apic_state"),
    Guest("nmi"),
    Guest("irq_window"),
    Guest("cr_access"),
    Guest("refused", bare=()),
    Guest("debug_regs",
          skip={"bochs-svm": "Bochs 2.7 keeps a debug trap pending over #VMEXIT and gives no DR6 (docs/QUIRKS.md)"}),
    Guest("fpu"),
    Guest("poweroff", final=False, bare=(), stop=r"poweroff\b"),
    Guest("reboot", cmdline="how=cf9", final=False, bare=("bare-qemu",), until=r"READY[^$]*READY"),
    Guest("reboot_kbd", image="reboot.elf", cmdline="how=keyboard", final=False, bare=("bare-qemu",),
          until=r"READY[^$]*READY"),
    Guest("pvh", cmdline="alpha beta=gamma", module=MODULE, bare=("bare-qemu",)),
    Guest("multiboot2", cmdline="alpha beta=gamma", module=MODULE),
    Guest("module", cmdline="alpha beta=gamma", module=MODULE),
)


def config_text(guest, platform):
    """The bulkhead.toml of this run."""
    end = f"debug_exit = {DEBUG_EXIT:#x}" if platform.emulator == "qemu" else 'on_idle = "poweroff"'
    lines = ["[machine]", 'console = ["serial"]', end, "", "[[vm]]", f'name = "{guest.name}"',
             f'memory = "{guest.memory}"', f'kernel = "{guest.file.name}"']
    if guest.module:
        lines.append('initrd = "module"')
    if guest.file.suffix == ".elf":
        lines.append(f'cmdline = "{(platform.host_word + " " + guest.cmdline).strip()}"')
    return "\n".join([*lines, f"debug_exit = {DEBUG_EXIT:#x}", guest.policy, ""])


def module_path(guest):
    if isinstance(guest.module, str):
        return BUILD / "guest" / guest.module
    path = WORK / "module"
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.{threading.get_ident()}")  # others may be reading it
    part.write_bytes(guest.module)
    part.replace(path)
    return path


def boot(guest, platform, options="", kernel=None):
    """Builds the disc and runs it, with `options` for the hypervisor, or another image of it; returns the Outcome."""
    work = WORK / re.sub(r"\W+", "-", f"{guest.name}-{platform.name} {options}".strip())
    limit = guest.seconds * platform.slowness
    cmdline = f"{platform.host_word} {guest.cmdline}".strip()
    files = {guest.file.name: guest.file} | ({"module": module_path(guest)} if guest.module else {})
    if not platform.bare:
        bulkhead_iso(work.with_suffix(".iso"), config_text(guest, platform), files, f"{platform.options} {options}",
                     kernel or BUILD / platform.kernel)
        until = f"{guest.until}|{HALTED}" if guest.until else HALTED
        return run(platform, work, iso=work.with_suffix(".iso"), timeout=limit, until=until)
    until = guest.until or (RESULT_LINE if platform.emulator == "bochs" else None)
    if platform.emulator == "qemu" and guest.name != "multiboot2":
        args = ["-kernel", str(guest.file), "-append", cmdline]
        args += ["-initrd", str(module_path(guest))] if guest.module else []
        args += [] if guest.until else ["-no-reboot"]
        return run(platform, work, boot=args, memory_mib=64, timeout=limit, until=until)
    two = "2" if guest.name == "multiboot2" else ""
    lines = [f"multiboot{two} /{guest.file.name} {cmdline}"] + ([f"module{two} /module"] if guest.module else [])
    make_iso(work.with_suffix(".iso"), files, "\n".join([*lines, "boot", ""]))
    return run(platform, work, iso=work.with_suffix(".iso"), memory_mib=64, timeout=limit, until=until)


class Verdict(Exception):
    """A run that did not do what it should."""


def judge(guest, platform, outcome):
    """Raises Verdict; returns the reason of a SKIP or None."""
    results = RESULT.findall(outcome.serial)
    skipped = None
    bad = BAD_LINE.search(outcome.serial)
    if bad and not platform.bare:
        raise Verdict(f"the hypervisor failed: {bad.group(0)}")
    if results and results[-1][0] in ("ERROR", "FAILURE") and not guest.wild:
        raise Verdict(f"the guest says: {''.join(results[-1])}")
    if guest.until:
        if not re.search(guest.until, outcome.serial):
            raise Verdict(f"never seen: {guest.until}" + (" (time is over)" if outcome.timed_out else ""))
        return None
    if guest.final and not results:
        raise Verdict("no result line" + (" before the time was over" if outcome.timed_out else ""))
    if results and results[-1][0] == "SKIP":
        skipped = results[-1][1].strip()
    if platform.bare:
        return skipped
    stop = re.search(rf'^bulkhead: vm "{guest.name}" stopped: (.*)$', outcome.serial, re.M)
    if not stop:
        raise Verdict("the hypervisor did not report the end of the VM")
    if not re.match(r"debug-exit 2\b" if skipped is not None else guest.stop, stop.group(1)):
        raise Verdict(f"stopped with {stop.group(1)!r}, expected {guest.stop!r}")
    if outcome.timed_out:
        raise Verdict("the machine did not end after its last VM had")
    return skipped


def selected_platforms():
    return [PLATFORMS[name] for name in os.environ.get("GUEST_PLATFORMS", ",".join(MATRIX)).split(",")]


CASES = [pytest.param(g, p, id=f"{g.name}-{p.name}") for p in selected_platforms() for g in GUESTS
         if not p.bare or p.name in g.bare]


@pytest.fixture(scope="session")
def runs(request):
    """Future of each selected case, by (guest, platform)."""
    with concurrent.futures.ThreadPoolExecutor(int(os.environ.get("GUEST_JOBS", "2"))) as pool:
        futures = {}
        for item in request.session.items:
            params = getattr(item, "callspec", None) and item.callspec.params
            if params and "guest" in params and not skip_reason(**params):
                futures[params["guest"].name, params["platform"].name] = pool.submit(boot, **params)
        yield futures
        for future in futures.values():
            future.cancel()


def skip_reason(guest, platform):
    keys = (platform.name, f"{platform.emulator}-{platform.vendor}", platform.vendor)
    return next((guest.skip[key] for key in keys if key in guest.skip), None)


@pytest.mark.parametrize("guest,platform", CASES)
def test_guest(guest, platform, runs):
    reason = skip_reason(guest, platform)
    if reason:
        pytest.skip(reason)
    if not platform.bare and not KERNEL.exists():
        pytest.fail(f"{KERNEL} is missing: make kernel")
    outcome = runs[guest.name, platform.name].result()
    verdict = skipped = None
    try:
        skipped = judge(guest, platform, outcome)
    except Verdict as error:
        verdict = error
    if verdict:
        pytest.fail(f"{guest.name} on {platform.name}: {verdict}\n--- serial, {outcome.seconds:.1f} s, status "
                    f"{outcome.status}\n{outcome.serial[-SHOWN:]}\n--- emulator\n{outcome.log[-SHOWN:]}", pytrace=False)
    if skipped is not None:
        pytest.skip(skipped)
