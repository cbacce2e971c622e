# SPDX-License-Identifier: Apache-2.0
"""The emulated machines of the guest tests and benchmarks: small GRUB ISOs, QEMU and Bochs command lines, and
a run that watches the serial port. Nothing here judges; see guests.py and tests/bench/run.py."""
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time
from dataclasses import dataclass, field, replace

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
KERNEL = BUILD / "bulkhead.elf"
STRESS_KERNEL = BUILD / "bulkhead-stress.elf"  # for the options stress=...
GRUB_I386 = pathlib.Path("/usr/lib/grub/i386-pc")
GRUB_MODULES = ["biosdisk", "iso9660", "normal", "multiboot", "multiboot2", "linux"]
DEBUG_EXIT = 0xF4
POLL_SECONDS = 0.02
HOST_MEMORY_MIB = 256

BOCHSRC = """\
display_library: term
romimage: file=/usr/share/bochs/BIOS-bochs-latest, options=fastboot
vgaromimage: file=/usr/share/vgabios/vgabios.bin
vga: extension=vbe
memory: guest={memory}, host={memory}
cpu: model={model}, count=1, ips=100000000, reset_on_triple_fault=0, ignore_bad_msrs={ignore_bad_msrs}
clock: sync=none, time0=1000000000
pci: enabled=1, chipset=i440fx, slot1=pcivga
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path={iso}, status=inserted
boot: cdrom
com1: enabled=1, mode=file, dev={serial}
panic: action=fatal, term=report
error: action=ignore
info: action=ignore
debug: action=ignore
log: {log}
speaker: enabled=0
"""


@dataclass(frozen=True)
class Platform:
    name: str
    emulator: str  # "qemu" or "bochs"
    cpu: str
    bare: bool = False  # the guest itself on the emulated machine, without Bulkhead
    vendor: str = "svm"
    lenient: bool = False  # Bochs: unknown MSRs read 0, as bare Linux needs it
    machine: str = "q35"  # QEMU's
    accel: str = "tcg"  # QEMU's
    kernel: str = KERNEL.name  # the hypervisor, a file in build
    options: str = ""  # and its options

    @property
    def slowness(self):
        """Factor on a time limit that QEMU keeps."""
        return 4 if self.emulator == "bochs" else 1

    @property
    def host_word(self):
        """What a guest is told of the CPU below it."""
        return {"bochs": "host=bochs", "tcg": "host=tcg", "kvm": "host=real"}[
            self.accel if self.emulator == "qemu" else self.emulator]


# A row of arch/x86/guest/feature.h: name and backends.
FEATURE_ROW = re.compile(r'^\s*ROW\(\w+, "([^"]+)", (FEATURE_\w+)\)', re.M)
# Without it a guest starts in 64-bit mode or not at all, which nearly no test guest does: see test_off.py, and Linux on
# bochs-lynnfield in test_parity.py.
NOT_TURNED_OFF = {"unrestricted"}


def optional_features(vendor):
    """The names of what the option off= can turn off on this vendor's CPUs so that every guest still starts."""
    rows = FEATURE_ROW.findall((ROOT / "arch/x86/guest/feature.h").read_text())
    assert NOT_TURNED_OFF <= {name for name, _ in rows}, "feature.h has not the rows that this expression knows"
    return [name for name, vendors in rows
            if vendors in (f"FEATURE_{vendor.upper()}", "FEATURE_BOTH") and name not in NOT_TURNED_OFF]


def without_features(name, platform):
    """`platform` with all optional features off."""
    return replace(platform, name=name, options=f"off={','.join(optional_features(platform.vendor))}")


# Of the machine that runs the tests.
OWN_VENDOR = "svm" if "svm" in pathlib.Path("/proc/cpuinfo").read_text().split() else "vmx"
# Of Intel's generations: Nehalem (2008), Westmere (2010, the first with unrestricted guests), Ivy Bridge (2012), Haswell
# (2013, 1 GiB pages and accessed bits in EPT), Skylake-X (2017), Tiger Lake (2020). Of AMD's: K10 (2008, no next-RIP) to
# Zen (2017).
RYZEN = Platform("bochs-ryzen", "bochs", "ryzen")
HASWELL = Platform("bochs-haswell", "bochs", "corei7_haswell_4770", vendor="vmx")
PLATFORMS = {
    p.name: p
    for p in (
        Platform("qemu-epyc", "qemu", "EPYC,+svm,+npt"),
        Platform("qemu-max", "qemu", "max,+svm"),
        # Five levels of paging, the host's and so the nested ones; entered with it on, the only way to have it.
        Platform("qemu-milan-la57", "qemu", "EPYC-Milan,+svm,+npt,+la57", machine="pc", kernel="bulkhead-la57.elf"),
        Platform("bochs-phenom", "bochs", "phenom_8650_toliman"),
        Platform("bochs-zambezi", "bochs", "zambezi"),
        Platform("bochs-trinity", "bochs", "trinity_apu"),
        RYZEN,
        without_features("bochs-ryzen-off", RYZEN),
        Platform("bochs-lynnfield", "bochs", "corei5_lynnfield_750", vendor="vmx"),
        Platform("bochs-arrandale", "bochs", "corei5_arrandale_m520", vendor="vmx"),
        Platform("bochs-ivybridge", "bochs", "corei7_ivy_bridge_3770k", vendor="vmx"),
        HASWELL,
        without_features("bochs-haswell-off", HASWELL),
        Platform("bochs-skylake", "bochs", "corei7_skylake_x", vendor="vmx"),
        Platform("bochs-tigerlake", "bochs", "tigerlake", vendor="vmx"),
        Platform("kvm-host", "qemu", "host", vendor=OWN_VENDOR, accel="kvm"),
        Platform("bare-qemu", "qemu", "EPYC", bare=True),
        Platform("bare-ryzen", "bochs", "ryzen", bare=True),
        Platform("bare-haswell", "bochs", "corei7_haswell_4770", bare=True, vendor="vmx"),
    )
}


# Those of `make test`, and the columns of its closing table.
MATRIX = ("qemu-epyc", "qemu-max", "qemu-milan-la57", "bochs-phenom", "bochs-ryzen", "bochs-ryzen-off", "bochs-arrandale",
          "bochs-haswell", "bochs-haswell-off", "bochs-skylake")


def _tool(args):
    done = subprocess.run(args, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{args[0]}: {done.stderr.strip()}")


def _grub_core(directory):
    """GRUB for El Torito, made once; it reads /boot/grub/grub.cfg of the disc."""
    core = directory / "grub-core.img"
    if not core.exists():
        part = directory / f"core.{os.getpid()}.{threading.get_ident()}"  # others may be at it too
        _tool(["grub-mkimage", "-O", "i386-pc-eltorito", "-d", str(GRUB_I386), "-p", "/boot/grub", "-o", str(part),
               *GRUB_MODULES])
        part.replace(core)
    return core


def make_iso(iso, files, grub_cfg):
    """Writes a BIOS-bootable ISO with `files` (path on the disc -> host path or bytes) and this grub.cfg."""
    iso.parent.mkdir(parents=True, exist_ok=True)
    tree = iso.with_suffix(".tree")
    contents = {**files, "boot/grub/grub.cfg": grub_cfg.encode(), "boot/grub/core.img": _grub_core(iso.parent)}
    for name, content in contents.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else pathlib.Path(content).read_bytes())
    _tool(["xorriso", "-as", "mkisofs", "-quiet", "-R", "-b", "boot/grub/core.img", "-no-emul-boot",
           "-boot-load-size", "4", "-boot-info-table", "-o", str(iso), str(tree)])


def bulkhead_iso(iso, config, files, options="", kernel=KERNEL):
    """An ISO that boots Bulkhead with this bulkhead.toml text, `files` (name in the configuration -> path) and the
    hypervisor's own `options`."""
    lines = [f"multiboot2 /boot/bulkhead.elf {options}".rstrip(), "module2 /bulkhead/bulkhead.toml bulkhead.toml"]
    lines += [f"module2 /bulkhead/{name} {name}" for name in files]
    disc = {"boot/bulkhead.elf": kernel, "bulkhead/bulkhead.toml": config.encode()}
    disc |= {f"bulkhead/{name}": path for name, path in files.items()}
    make_iso(iso, disc, "\n".join([*lines, "boot", ""]))


@dataclass
class Outcome:
    serial: str = ""
    status: int | None = None  # of the emulator; None: it was stopped by us
    timed_out: bool = False
    seconds: float = 0
    log: str = ""
    command: list = field(default_factory=list)


def _bochs_command(platform, iso, work, memory_mib, extra, commands):
    rc = work.with_suffix(".bochsrc")
    rc.write_text(BOCHSRC.format(model=platform.cpu, ignore_bad_msrs=int(platform.lenient), iso=iso, serial=work.with_suffix(".serial"),
                                 log=work.with_suffix(".bochslog"), memory=memory_mib) + "\n".join([*extra, ""]))
    debugger = work.with_suffix(".rc")
    debugger.write_text(commands)
    return ["bochs", "-q", "-f", str(rc), "-rc", str(debugger)]


def qemu_command(platform, boot, memory_mib, com1):
    """`com1` is the back end of the serial port: a -chardev argument without its id."""
    return ["qemu-system-x86_64", "-accel", platform.accel, "-machine", platform.machine, "-cpu", platform.cpu, "-m", str(memory_mib),
            "-display", "none", "-monitor", "none", "-nic", "none", "-no-user-config",
            "-device", f"isa-debug-exit,iobase={DEBUG_EXIT:#x}",
            "-chardev", f"{com1},id=com1", "-serial", "chardev:com1", *boot]


def run(platform, work, *, iso=None, boot=None, memory_mib=HOST_MEMORY_MIB, timeout=30, until=None, extra=(),
        commands="c\nq\n", monitor=()):
    """Boots `iso` (or the QEMU arguments `boot`) on `platform` and returns the Outcome when the emulator has
    ended, the serial text matches the regular expression `until`, or `timeout` seconds are over. `work` is the
    path, without suffix, of the files that belong to this run; `commands` are for Bochs's debugger, `monitor` for
    QEMU's: pairs of a regular expression and the command that is given when the serial text matches, in order."""
    work.parent.mkdir(parents=True, exist_ok=True)
    serial = work.with_suffix(".serial")
    serial.unlink(missing_ok=True)
    if platform.emulator == "bochs":
        command = _bochs_command(platform, iso, work, memory_mib, extra, commands)
    else:
        boot = boot or ["-drive", f"file={iso},format=raw,media=cdrom,readonly=on", "-boot", "d"]
        command = [*qemu_command(platform, boot, memory_mib, f"file,path={serial}"), *extra]
    if monitor:
        work.with_suffix(".monitor").unlink(missing_ok=True)
        command += ["-monitor", f"unix:{work.with_suffix('.monitor')},server=on,wait=off"]
    outcome = Outcome(command=command)
    start = time.monotonic()
    with open(work.with_suffix(".out"), "wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
                                   env={**os.environ, "TERM": "vt100"}, start_new_session=True)
        try:
            outcome.timed_out = not _watch(process, serial, start + timeout, until,
                                           _Monitor(work.with_suffix(".monitor"), monitor))
        finally:
            outcome.status = process.poll()
            if outcome.status is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    outcome.seconds = time.monotonic() - start
    outcome.serial = _text(serial)
    log = _text(work.with_suffix(".bochslog" if platform.emulator == "bochs" else ".out"))
    outcome.log = "".join(line for line in log.splitlines(True) if "TCG doesn't support" not in line)
    return outcome


class _Monitor:
    """Gives each command once, when its time has come."""
    def __init__(self, path, commands):
        self.path, self.commands, self.socket = path, list(commands), None

    def step(self, text):
        while self.commands and re.search(self.commands[0][0], text):
            if self.socket is None:
                self.socket = socket.socket(socket.AF_UNIX)
                self.socket.connect(str(self.path))
            self.socket.sendall(self.commands.pop(0)[1].encode() + b"\n")


def _watch(process, serial, deadline, until, monitor):
    """True when the run came to its end before the deadline."""
    while process.poll() is None:
        if time.monotonic() > deadline:
            return False
        monitor.step(_text(serial))
        if until and re.search(until, _text(serial)):
            return True
        time.sleep(POLL_SECONDS)
    return True


def _text(path):
    return path.read_text(errors="replace").replace("\r", "") if path.exists() else ""
