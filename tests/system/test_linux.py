# SPDX-License-Identifier: Apache-2.0
"""Debian's Linux as a guest on QEMU (SVM): a clean log, right clocks, a console that loses nothing, and every way
in which it ends or restarts its VM. What it logs is compared with the same kernel on the bare emulator."""
import calendar
import hashlib
import re
import time
from dataclasses import replace

import pexpect
import pytest

from emulators import BUILD, PLATFORMS, Platform, bulkhead_iso, qemu_command, run

WORK = BUILD / "linux-test"
GUEST = BUILD / "guest"
QEMU = PLATFORMS["qemu-epyc"]
PROMPT = "guest# "
BOOT_SECONDS = 60  # on a loaded machine; alone it takes 6
COMMAND_SECONDS = 40
HOST_MEMORY_MIB = 512
RESTARTED = 'bulkhead: vm "linux" restarted'
# The emulated CPU lacks what the mitigations for its model ask of microcode; a KVM guest on it says the same.
CPU_WARNINGS = re.compile(r"Speculative Return Stack Overflow|RETBleed|Spectre")
# Linux measures a clock by another for some milliseconds, in which the emulator may get no CPU or moves the PIT in
# steps that are too coarse. It then takes the PM timer's word, on bare QEMU too.
CALIBRATION = {"tsc: Unable to calibrate against PIT",
               "APIC calibration not consistent with PM-Timer: Nms instead of Nms"}
BROKEN = re.compile(r"[Uu]nstable|nobody cared|soft lockup|rcu.*stall|hung task|unchecked MSR|Call Trace|\bBUG: |"
                    r"bulkhead: (?:warn|error)|bytes lost")


def config(cmdline):
    cmdline = cmdline.replace("\\", "\\\\").replace('"', '\\"')
    return "\n".join(["[machine]", 'console = ["serial"]', 'on_idle = "poweroff"', "", "[[vm]]", 'name = "linux"',
                      'memory = "256M"', 'on_crash = "restart"', 'kernel = "vmlinuz"', 'initrd = "initrd.img"',
                      f'cmdline = "{cmdline}"', ""])


def disc(work, cmdline):
    iso = work.with_suffix(".iso")
    bulkhead_iso(iso, config(cmdline), {name: GUEST / name for name in ("vmlinuz", "initrd.img")})
    return iso


def boot(name, cmdline, script, extra=(), platform=QEMU):
    """A whole run, in which the guest's init does `script` and powers off."""
    work = WORK / name
    iso = disc(work, f'console=ttyS0 {cmdline} bulkhead.run="{script}"')
    return run(platform, work, iso=iso, memory_mib=HOST_MEMORY_MIB, timeout=BOOT_SECONDS, extra=extra)


def section(text, name):
    """What the guest's script printed after `echo NAME`, up to the next such line."""
    found = re.search(rf"^{name}\n(.*?)(?=^[A-Z]+\n|\Z)", text, re.M | re.S)
    assert found, f"the guest never printed {name}\n{text[-3000:]}"
    return found[1]


def warnings(text):
    """The texts, without times and numbers, of what the kernel logged as a warning or worse."""
    lines = re.findall(r"^<[0-4]>\[ *[0-9.]+\] (.*)$", section(text, "WARNINGS"), re.M)
    return {re.sub(r"\d+", "N", line) for line in lines if not CPU_WARNINGS.search(line)}


# ---- the log ---------------------------------------------------------------------------------------------

LOOK = ("echo WARNINGS; dmesg -r | grep -E ^.[0-4].; echo CLOCK; cd /sys/devices/system/clocksource/clocksource0; "
        "cat current_clocksource; cat available_clocksource; echo DEVICES; cat /proc/interrupts /proc/iomem; "
        "cat /sys/bus/pci/devices/*/class; echo END")


# The CPU and the chipset below the hypervisor are nothing that its guest could see.
@pytest.mark.parametrize("quiet, machine, cpu", [
    ("", "q35", "EPYC,+svm,+npt"),
    ("quiet", "q35", "max,+svm"),
    ("quiet", "pc", "EPYC,+svm,+npt"),
    ("quiet", "pc", "max,+svm"),
], ids=["verbose-q35-epyc", "quiet-q35-max", "quiet-pc-epyc", "quiet-pc-max"])
def test_log_is_that_of_a_healthy_guest(quiet, machine, cpu):
    platform = Platform(f"{machine}-{cpu.split(',')[0]}", "qemu", cpu, machine=machine)
    outcome = boot(f"log-{platform.name}", quiet, LOOK, platform=platform)
    text = outcome.serial
    assert not outcome.timed_out, text[-3000:]
    # The guest's own board has no extended configuration space, like pc (docs/GUEST.md).
    alike = replace(platform, bare=True, cpu=cpu.split(",")[0], machine="pc")
    bare = run(alike, WORK / f"bare-{platform.name}", memory_mib=HOST_MEMORY_MIB, timeout=BOOT_SECONDS,
               boot=["-kernel", str(GUEST / "vmlinuz"), "-initrd", str(GUEST / "initrd.img"),
                     "-append", f'console=ttyS0 quiet bulkhead.run="{LOOK}"'])
    assert warnings(text) <= warnings(bare.serial)
    assert not BROKEN.search(text), BROKEN.search(text)[0]
    assert section(text, "CLOCK").split()[0] == "kvm-clock"
    assert {"kvm-clock", "tsc", "acpi_pm"} <= set(section(text, "CLOCK").split())
    devices = section(text, "DEVICES")
    assert re.search(r"^ *4: .*IO-APIC.*ttyS0", devices, re.M) and re.search(r"IOAPIC 0", devices)
    assert re.search(r"PCI Bus 0000:00", devices) and re.search(r"^0x060000$", devices, re.M)
    assert re.search(r"^ERR: +0$", devices, re.M) and re.search(r"^MIS: +0$", devices, re.M)
    if not quiet:
        assert "Hypervisor detected: KVM" in text and "x2apic enabled" in text
        assert "PCI: Using configuration type 1" in text
    assert re.search(r'^bulkhead: vm "linux" stopped: poweroff$', text, re.M)


# ---- clocks ------------------------------------------------------------------------------------------------

# Linux judges one clock by another. In an emulator that gets no CPU for a moment ticks are missing and an exit takes
# as long as a PM timer read may, so here the machine's time is the count of its instructions, which no load disturbs.
COUNTED = ["-icount", "shift=0,sleep=off", "-rtc", "base=2027-03-04T05:06:07,clock=vm"]
COUNTED_BASE = calendar.timegm((2027, 3, 4, 5, 6, 7))


@pytest.mark.parametrize("cmdline, clock", [
    ("no-kvmclock", "tsc"),
    ("clocksource=tsc hpet=disable", "tsc"),
    ("clocksource=acpi_pm lapic=notscdeadline", "acpi_pm"),
], ids=["no-kvmclock", "tsc", "acpi_pm-lapic"])
def test_time_passes_by_every_clock(cmdline, clock):
    script = ("echo WARNINGS; dmesg -r | grep -E ^.[0-4].; echo TIME; date +%s; cat /proc/uptime; hwclock -u; sleep 3; "
              "cat /proc/uptime; date +%s; cat /sys/devices/system/clocksource/clocksource0/current_clocksource; "
              "echo END")
    outcome = boot(re.sub(r"\W+", "-", cmdline), f"quiet {cmdline}", script, COUNTED)
    text = outcome.serial
    assert not outcome.timed_out, text[-3000:]
    assert not BROKEN.search(text), BROKEN.search(text)[0]
    assert warnings(text) <= CALIBRATION
    lines = section(text, "TIME").split("\n")
    date, later = int(lines[0]), int(lines[4])
    up, slept = float(lines[1].split()[0]), float(lines[3].split()[0])
    assert COUNTED_BASE <= date - up <= COUNTED_BASE + BOOT_SECONDS, "the date is not the RTC's"
    assert 3 <= slept - up < 3.2 and later - date in (3, 4), lines
    assert re.fullmatch(rf"{clock}(-early)?", lines[5]), lines[5]
    assert "2027" in lines[2], lines[2]


def test_date_is_that_of_the_world():
    begin = time.time()
    text = boot("date", "quiet", "echo TIME; date +%s; echo END").serial
    assert begin - 2 <= int(section(text, "TIME")) <= time.time() + 2


# ---- the console -------------------------------------------------------------------------------------------

class Shell:
    """A guest with a shell on this side of its serial port."""

    def __init__(self, name):
        work = WORK / name
        iso = disc(work, "console=ttyS0 quiet")
        command = qemu_command(QEMU, ["-cdrom", str(iso)], HOST_MEMORY_MIB, "stdio,signal=off")
        self.child = pexpect.spawn(command[0], [*command[1:], "-no-reboot"], timeout=COMMAND_SECONDS, maxread=65536)
        self.log = open(work.with_suffix(".serial"), "wb")
        self.child.logfile_read = self.log
        self.prompt(BOOT_SECONDS)
        self.ask("stty cols 200")

    def prompt(self, seconds=COMMAND_SECONDS):
        self.child.expect_exact(PROMPT, timeout=seconds)
        return re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", self.child.before.decode(errors="replace").replace("\r", ""))

    def ask(self, line, read_after=0.0):
        """The output of a command; read_after: seconds for which nobody takes it."""
        self.child.sendline(line)
        time.sleep(read_after)
        text = self.prompt()
        return text[text.index(line) + len(line):].lstrip("\n")

    def end(self):
        self.child.sendline("poweroff -f")
        self.child.expect(pexpect.EOF)
        return self.child.before.decode(errors="replace").replace("\r", "")

    def close(self):
        self.child.close(force=True)
        self.log.close()


@pytest.fixture(scope="module")
def shell():
    guest = Shell("shell")
    yield guest
    guest.close()


def test_shell_echoes(shell):
    assert shell.ask("echo hello; uname -s") == "hello\nLinux\n"


def test_date_is_the_hosts(shell):
    begin = time.time()
    date = int(shell.ask("date +%s"))
    assert begin - 2 <= date <= time.time() + 2


def test_sleep_takes_its_time(shell):
    begin = time.monotonic()
    shell.ask("sleep 3")
    assert 2.9 <= time.monotonic() - begin < 6


def test_control_c_interrupts(shell):
    shell.child.sendline("sleep 100; echo status $?")
    time.sleep(0.5)
    begin = time.monotonic()
    shell.child.send("\x03")
    shell.prompt()
    assert time.monotonic() - begin < 10
    assert shell.ask("echo $?") != "0\n"


def test_lines_of_output_arrive_whole(shell):
    assert shell.ask("seq 1 4000").split() == [str(i) for i in range(1, 4001)]


# More than all buffers between: nobody reads for some time, so that the guest has to wait.
def test_output_to_a_slow_reader_arrives_whole(shell):
    text = shell.ask("dd if=/dev/zero bs=1k count=200 2>/dev/null | tr '\\0' x; echo", read_after=4)
    assert text == "x" * 200 * 1024 + "\n"


def test_pasted_input_arrives_whole(shell):
    text = "".join(f"line {i:03} of what somebody has pasted into it\n" for i in range(90))
    shell.child.sendline("stty -echo; cat > /tmp/pasted; stty echo")
    time.sleep(1)
    shell.child.send(text + "\x04")
    shell.prompt()
    assert shell.ask("md5sum < /tmp/pasted").split()[0] == hashlib.md5(text.encode()).hexdigest()


def test_no_warning_after_all_that(shell):
    assert not BROKEN.search(shell.ask("dmesg"))
    assert shell.ask("cat /sys/devices/system/clocksource/clocksource0/current_clocksource") == "kvm-clock\n"


# By the ACPI register, the keyboard controller, port 0xCF9 and a triple fault: Linux is told which to try first.
@pytest.mark.parametrize("how, stopped", [("acpi", "reset"), ("kbd", "reset"), ("pci", "reset"),
                                          ("triple", "triple-fault")])
def test_reboot_gives_a_new_guest(shell, how, stopped):
    shell.ask("stty cols 200")
    shell.ask(f"echo kept > /tmp/file; echo {how} > /sys/kernel/reboot/type; echo 1 > /sys/kernel/reboot/force")
    assert shell.ask("cat /sys/kernel/reboot/type") == f"{how}\n"
    shell.child.sendline("reboot -f")
    text = shell.prompt(BOOT_SECONDS)
    assert f'bulkhead: vm "linux" stopped: {stopped}' in text and RESTARTED in text
    assert shell.ask("ls /tmp") == ""
    assert float(shell.ask("cut -d' ' -f1 /proc/uptime")) < 30
    begin = time.time()
    assert begin - 2 <= int(shell.ask("date +%s")) <= time.time() + 2


def test_poweroff_ends_the_machine(shell):
    text = shell.end()
    assert 'bulkhead: vm "linux" stopped: poweroff\n' in text and "bulkhead: all VMs ended\n" in text


# mov dx, PM1 control; mov ax, SLP_TYP 5 and SLP_EN; out dx, ax; hlt
POWEROFF = bytes.fromhex("ba0406 b80034 ef f4")


@pytest.mark.parametrize("on_idle", ["reboot", "halt"])
def test_on_idle(on_idle):
    work = WORK / f"idle-{on_idle}"
    kernel = work.with_suffix(".bin")
    kernel.parent.mkdir(parents=True, exist_ok=True)
    kernel.write_bytes(POWEROFF)
    bulkhead_iso(work.with_suffix(".iso"), "\n".join([
        "[machine]", 'console = ["serial"]', f'on_idle = "{on_idle}"', "", "[[vm]]", 'name = "flat"', 'memory = "4M"',
        'kernel = "flat.bin"', ""]), {"flat.bin": kernel})
    outcome = run(QEMU, work, iso=work.with_suffix(".iso"), timeout=BOOT_SECONDS, extra=["-no-reboot"],
                  until=r"all VMs ended\n" if on_idle == "halt" else None)
    assert 'vm "flat" stopped: poweroff' in outcome.serial and "all VMs ended" in outcome.serial
    # QEMU ends at a reboot (-no-reboot), and goes on with a halted CPU.
    assert (outcome.status is None) == (on_idle == "halt")
    assert not outcome.timed_out
