# SPDX-License-Identifier: Apache-2.0
"""Several VMs: each does its work and ends by itself, on CPUs of their own and on shared ones, with their lines
prefixed on one console."""
import re

import pexpect
import pytest

from emulators import BUILD, DEBUG_EXIT, KERNEL, PLATFORMS, STRESS_KERNEL, bulkhead_iso, qemu_command, run

WORK = BUILD / "vms-test"
GUEST = BUILD / "guest"
ENDED = r"bulkhead: all VMs ended\n"
MACHINE = f"""[machine]
console = ["serial"]
debug_exit = {DEBUG_EXIT:#x}
"""


def boot(platform, name, vms, files, extra, memory_mib=512, timeout=120):
    iso = WORK / f"{name}.iso"
    bulkhead_iso(iso, MACHINE + "\n".join(vms), {file: GUEST / file for file in files})
    outcome = run(PLATFORMS[platform], WORK / name, iso=iso, memory_mib=memory_mib, timeout=timeout, extra=extra,
                  until=ENDED)
    assert re.search(ENDED, outcome.serial), outcome.serial[-3000:]
    assert not re.search("bulkhead: (warn|error)", outcome.serial), outcome.serial[-3000:]
    return outcome.serial


def small(i, cpus=None):
    return (f'[[vm]]\nname = "small{i}"\nmemory = "1M"\nkernel = "realmode_io.bin"\ndebug_exit = 0xf4\n' +
            (f"cpus = {cpus}\n" if cpus else ""))


def bochs_cpus(platform, count):
    return [f"cpu: model={PLATFORMS[platform].cpu}, count={count}, ips=100000000, reset_on_triple_fault=0, "
            "ignore_bad_msrs=0"]


@pytest.mark.parametrize("platform, cpus, vms", [
    ("qemu-epyc", 1, 3),
    ("qemu-epyc", 2, 3),
    ("qemu-epyc", 4, 9),
    ("bochs-haswell", 1, 3),
    ("bochs-haswell", 2, 3),
    ("bochs-ryzen", 2, 3),
])
def test_small_guests(platform, cpus, vms):
    extra = ["-smp", str(cpus)] if platform.startswith("qemu") else bochs_cpus(platform, cpus)
    text = boot(platform, f"{platform}-{cpus}-{vms}", [small(i) for i in range(vms)], ["realmode_io.bin"], extra)
    for i in range(vms):
        assert re.search(rf"^small{i}\| - ports$", text, re.M), text[-3000:]
        assert re.search(rf'^bulkhead: vm "small{i}" stopped: debug-exit 0$', text, re.M)


def test_pinned_to_the_second_cpu():
    text = boot("qemu-epyc", "pinned", [small(0, [1])], ["realmode_io.bin"], ["-smp", "2"])
    assert re.search("^SUCCESS$", text, re.M)  # alone: its bytes as they are


def linux(i):
    run_this = "uname -s; sleep 2; cat /proc/uptime; grep LOC: /proc/interrupts"
    return (f'[[vm]]\nname = "linux{i}"\nmemory = "160M"\nkernel = "vmlinuz"\ninitrd = "initrd.img"\n'
            f'cmdline = "console=ttyS0 quiet bulkhead.run=\\"{run_this}\\""\n')


@pytest.mark.parametrize("cpus, vms", [(1, 2), (2, 2), (2, 4)])
def test_linuxes(cpus, vms):
    text = boot("qemu-epyc", f"linux-{cpus}-{vms}", [linux(i) for i in range(vms)], ["vmlinuz", "initrd.img"],
                ["-smp", str(cpus)], memory_mib=192 * vms + 128)
    for i in range(vms):
        assert re.search(rf"^linux{i}\| Linux$", text, re.M), text[-3000:]
        assert re.search(rf"^linux{i}\| [0-9.]+ [0-9.]+$", text, re.M)
        assert re.search(rf'^bulkhead: vm "linux{i}" stopped: poweroff$', text, re.M)
    assert not re.search("[Uu]nstable|soft lockup|rcu.*stall|Call Trace|bytes lost", text), text[-3000:]


BEAT = ('[[vm]]\nname = "beat"\nmemory = "160M"\nkernel = "vmlinuz"\ninitrd = "initrd.img"\ncpus = [1]\n'
        'cmdline = "console=ttyS0 quiet bulkhead.run=\\"while :; do echo beat; usleep 50000; done\\""\n')
LAST = "the machine is halted"


# A guest on the other CPU goes on writing until the machine stops as a whole, and then no more.
@pytest.mark.parametrize("how", ["halt-machine", "panic"])
def test_all_cpus_stop(how):
    iso = WORK / f"stop-{how}.iso"
    files = ["vmlinuz", "initrd.img"]
    if how == "panic":
        options, kernel = "stress=fault:ud", STRESS_KERNEL
        victim = 'name = "victim"\nmemory = "64M"\nkernel = "cpuid.elf"\ncpus = [0]\n'
    else:
        # A guest that ends itself some seconds after its start.
        options, kernel = "", KERNEL
        victim = ('name = "victim"\nmemory = "160M"\nkernel = "vmlinuz"\ninitrd = "initrd.img"\ncpus = [0]\n'
                  'on_crash = "halt-machine"\ncmdline = "console=ttyS0 quiet reboot=t bulkhead.run=\\"sleep 2; echo 1 > '
                  '/proc/sys/kernel/sysrq; echo b > /proc/sysrq-trigger\\""\n')
    bulkhead_iso(iso, MACHINE + "[[vm]]\n" + victim + BEAT,
                 {file: GUEST / file for file in [*files, "cpuid.elf"]}, options, kernel)
    outcome = run(PLATFORMS["qemu-epyc"], WORK / f"stop-{how}", iso=iso, memory_mib=640, timeout=20,
                  extra=["-smp", "2"])
    before, halted, after = outcome.serial.partition(LAST)
    assert halted, outcome.serial[-3000:]
    assert outcome.timed_out and after.count("\n") == 1, after
    if how == "halt-machine":
        assert "beat| beat" in before, before[-2000:]


# The events of one VM are another's on no account: guests that wait for NMIs, timers and interrupts share one CPU.
@pytest.mark.parametrize("platform", ["qemu-epyc", "bochs-haswell", "bochs-ivybridge"])
def test_events_of_vms_that_share_a_cpu(platform):
    names = ["nmi", "hlt_wake", "self_ipi", "irq_window"]
    vms = [f'[[vm]]\nname = "{name}"\nmemory = "16M"\nkernel = "{name}.elf"\ndebug_exit = 0xf4\n'
           f'cmdline = "host={"tcg" if platform.startswith("qemu") else "bochs"}"\n' for name in names]
    text = boot(platform, f"events-{platform}", vms, [f"{name}.elf" for name in names], [], timeout=200)
    for name in names:
        assert re.search(rf'^bulkhead: vm "{name}" stopped: debug-exit 0$', text, re.M), text[-4000:]


# The first VM has the input and reads none of it; more than it has room for must not shut the menu key out.
def test_input_that_nobody_reads_locks_nobody_out():
    iso = WORK / "mute.iso"
    (WORK / "mute.bin").parent.mkdir(parents=True, exist_ok=True)
    (WORK / "mute.bin").write_bytes(b"\xfa\xf4\xeb\xfc")  # cli; hlt
    bulkhead_iso(iso, MACHINE + '[[vm]]\nname = "mute"\nmemory = "1M"\nkernel = "mute.bin"\n'
                 '[[vm]]\nname = "linux"\nmemory = "160M"\nkernel = "vmlinuz"\ninitrd = "initrd.img"\n'
                 'cmdline = "console=ttyS0 quiet"\n',
                 {"mute.bin": WORK / "mute.bin", "vmlinuz": GUEST / "vmlinuz", "initrd.img": GUEST / "initrd.img"})
    command = qemu_command(PLATFORMS["qemu-epyc"], ["-cdrom", str(iso)], 384, "stdio,signal=off")
    child = pexpect.spawn(command[0], command[1:], timeout=60, maxread=65536)
    try:
        child.expect(r"linux\| guest# ")
        child.send("a" * 600 + "\x1d")
        child.expect("bytes of input lost")
        child.expect('input goes to vm "linux"')
        child.send("echo $((6 * 7))\r")
        child.expect(r"linux\| 42\r")
    finally:
        child.close(force=True)
