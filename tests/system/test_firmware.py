# SPDX-License-Identifier: Apache-2.0
"""Firmware that is wrong, or right in a way that OVMF never is. efishim/ stands as BOOTX64.EFI on the stick, makes
the firmware below it so and starts the real loader; its words, and what they do, are listed at the end of its
source. The boot ends in the line that names the cause, or goes on to the end of a guest."""
import re
import shutil
import socket
import struct
import subprocess
import sys
import tempfile
import time

import pytest

import images
from emulators import BUILD, DEBUG_EXIT, KERNEL, ROOT, Platform, make_iso, qemu_command, run
from images import disk, ovmf

sys.path.insert(0, str(ROOT / "tools"))
import psf2c  # noqa: E402

WORK = BUILD / "firmware-test"
SHIM = BUILD / "efishim.efi"
FONT = "/usr/share/consolefonts/Unifont-APL8x16.psf.gz"
HALTED = r"the machine is (halted|stopped).*\n|efishim: the loader came back"

# Real mode at 0x7c00: writes the text behind it to COM1, then 0 to the debug-exit port.
RED_AND_BLUE = b"\x1b[31mred \x1b[34mblue\x1b[0m plain\r\n"
GUEST = bytes.fromhex("31c0 8ed8 be197c ac 84c0 7406 baf803 ee ebf5 baf400 30c0 ee f4") + RED_AND_BLUE + b"\0"
CONFIG = f"""\
[machine]
console = ["serial", "screen"]
debug_exit = {DEBUG_EXIT:#x}

[[vm]]
name = "flat"
memory = "4M"
kernel = "flat.bin"
debug_exit = {DEBUG_EXIT:#x}
"""


@pytest.fixture(scope="session")
def plain():
    config = images.write_config(WORK / "config", CONFIG, {"flat.bin": GUEST})
    return images.made("mkimage", config, WORK / "plain.img")


@pytest.fixture(scope="session")
def image(plain):
    return images.edited(plain, WORK / "shim.img", replace={
        "EFI/BOOT/BOOTX64.EFI": SHIM.read_bytes(), "EFI/BOOT/real.efi": images.read(plain, "EFI/BOOT/BOOTX64.EFI")})


@pytest.fixture
def work(request):
    return WORK / re.sub(r"\W+", "-", request.node.name).strip("-")


def qemu(work, boot, until=HALTED, cpu="EPYC,+svm,+npt"):
    return run(Platform("firmware", "qemu", cpu), work, boot=[*boot, "-no-reboot"], memory_mib=512, timeout=120, until=until)


@pytest.fixture
def boot(image, work):
    """A function that boots the stick with these words for the shim and returns the Outcome."""
    def start(words, extra=(), **how):
        stick = images.edited(image, work.with_suffix(".img"), replace={"EFI/BOOT/shim.txt": words.encode()})
        outcome = qemu(work, [*ovmf(work), *disk(stick), *extra], **how)
        stick.unlink()
        assert not re.search(r"efishim: (unknown|.*: (failed|no memory))", outcome.serial)
        return outcome

    return start


def happens(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.05)
    return condition()


def says(outcome, *lines):
    """These lines are in the log, in this order."""
    at = 0
    for line in lines:
        found = re.compile(rf"^.*{line}.*$", re.M).search(outcome.serial, at)
        assert found, f"never seen: {line}\n{outcome.serial[-4000:]}\n{outcome.log[-1000:]}"
        at = found.end()


def boots(outcome, *lines):
    """The boot went on to the guest's end, and these lines are in its log."""
    says(outcome, *lines)
    says(outcome, r"Bulkhead \d+\.\d+", r'vm "flat" starts', r"red .*blue", r'vm "flat" stopped: debug-exit 0')
    assert not outcome.timed_out and "panic" not in outcome.serial
    return outcome.serial


def refused(outcome, line):
    """The loader says this line, and the kernel was never entered."""
    says(outcome, line)
    assert "bulkhead: Bulkhead" not in outcome.serial and not outcome.timed_out


# ---- the loader -------------------------------------------------------------------------------------------

def test_too_old_firmware_is_named(boot):
    outcome = boot("old", until=r"press a key")
    refused(outcome, r"bulkhead-efi: this firmware is too old: EFI 1\.10, needed is UEFI 2\.0")


def test_stale_map_key_is_tried_again(boot):
    serial = boots(boot("stale=2"), r"ExitBootServices refused", r"ExitBootServices refused")
    assert serial.count("ExitBootServices refused") == 2


def test_boot_services_that_never_end_are_named(boot):
    outcome = boot("stale=1000", until=r"(?s)(the machine is stopped.*){2}")
    line = r"bulkhead-efi: the firmware does not let go of boot services: invalid parameter; the machine is stopped"
    refused(outcome, line)
    assert outcome.serial.count("ExitBootServices refused") == 8
    # On COM1 by itself first; then the firmware's console, screen included, gets its chance.
    assert len(re.findall(line, outcome.serial)) == 2


def test_memory_map_that_outgrows_its_buffer(boot):
    """The loader keeps room for 64 more ranges; here come 70 more from call to call, and again when ExitBootServices has
    failed."""
    small = r"efishim: the buffer is too small"
    boots(boot("grow=4 stale=1 again=2"), *[small] * 4, r"ExitBootServices refused", *[small] * 2)


def test_memory_map_that_always_outgrows_its_buffer_is_named(boot):
    outcome = boot("grow=1000", until=r"press a key")
    refused(outcome, r"bulkhead-efi: cannot read the memory map: buffer too small")


def test_memory_map_with_too_many_ranges_is_named(boot):
    outcome = boot("fragments=600", until=r"press a key")
    refused(outcome, r"bulkhead-efi: the firmware's memory map is unusable: it has more ranges than boot_info holds")


@pytest.mark.parametrize("words, line", [
    ("novolume", r"cannot open the volume this loader came from: not supported by this firmware"),
    ("poor=100", r"no memory for bulkhead\.elf \(\d{4} KiB\)"),
    ("read=error", r"bulkhead\.elf: cannot read it: the device reports an error"),
    ("read=short", r"bulkhead\.elf: it ends after 0 of \d{7} bytes: the file system is damaged"),
], ids=["volume", "memory", "read-error", "short-read"])
def test_what_stops_the_loader_is_named(boot, words, line):
    refused(boot(words, until=r"press a key"), f"bulkhead-efi: {line}")


# ---- what the loader hands on -------------------------------------------------------------------------------

def test_firmware_with_five_level_paging(boot):
    boots(boot("la57", cpu="EPYC,+svm,+npt,+la57"), r"efishim: 5-level paging", r"bulkhead: .*memory: .*5-level paging")


def test_overlaps_in_the_memory_map_are_named(boot):
    outcome = boot("overlap")
    first, second = (int(at, 16) for at in re.findall(r"0x[0-9a-f]+", re.search(
        r"efishim: overlaps at .*", outcome.serial)[0]))
    boots(outcome, r"bulkhead: .*memory: [2-9] overlaps in the firmware's map, the first at 0x[0-9a-f]+ and 0x[0-9a-f]+")
    named = [int(at, 16) for at in re.findall(r"0x[0-9a-f]+", re.search(r"overlaps in the firm.*", outcome.serial)[0])]
    assert min(first, second) in named, f"{first:#x}, {second:#x} were made, {named} is named"


# ---- ACPI -------------------------------------------------------------------------------------------------

def acpi(table):
    return rf"bulkhead: .*acpi: {table} at 0x[0-9a-f]+ ignored: bad checksum"


def secure(state):
    return rf"bulkhead: .*boot: by bulkhead-efi 1, .*Secure Boot {state},"


LEGACY = r"one CPU, legacy addresses"


@pytest.mark.parametrize("words, lines", [
    ("noacpi secure=1 setup=0", [secure("on"), rf"acpi: no RSDP: {LEGACY}"]),
    ("bad=RSDP secure=0 setup=0", [secure("off"), acpi("RSDP"), rf"acpi: no usable XSDT or RSDT: {LEGACY}"]),
    ("bad=RSDPx bad=APIC secure=0 setup=1",  # the RSDT leads on, to the MADT
     [secure("in setup mode"), acpi("RSDP"), acpi("MADT")]),
    ("bad=XSDT bad=DSDT secure=none", [secure("unknown"), acpi("XSDT"), acpi("DSDT")]),
    ("bad=FACP bad=HPET bad=MCFG screen=mask565",
     [acpi("FADT"), acpi("HPET"), acpi("MCFG"), r"boot: no screen to write to"]),
], ids=["noacpi", "RSDP", "RSDPx-MADT", "XSDT-DSDT", "FADT-HPET-MCFG"])
def test_bad_acpi_is_named_and_costs_its_feature(boot, words, lines):
    """In the same runs: each state of Secure Boot, and a screen whose pixels cannot be written, are shown."""
    outcome = boot(words)
    assert "not found" not in outcome.serial
    for line in lines:
        boots(outcome, line)
    assert outcome.serial.count("ignored: bad checksum") == words.count("bad=")


# ---- the screen -------------------------------------------------------------------------------------------

CELL = 8, 16
INK = {"red": 0xAA0000, "blue": 0x0000AA, "plain": 0xC0C0C0}


def screen_lines(pixels, width, height, pitch):
    """The text of a screen, and beside it the colour of each character's dots, both line by line."""
    font = psf2c.load(FONT)
    known = {bytes(glyph): chr(0x20 + i) for i, glyph in enumerate(font)}
    for top in range(0, height - CELL[1] + 1, CELL[1]):
        text, inks = "", []
        for left in range(0, width, CELL[0]):
            dots, ink = bytearray(), 0
            for y in range(top, top + CELL[1]):
                row = struct.unpack_from(f"<{CELL[0]}I", pixels, y * pitch + left * 4)
                ink = max(ink, *row)
                dots.append(sum(0x80 >> x for x, pixel in enumerate(row) if pixel))
            text += known.get(bytes(dots), "?")
            inks.append(ink)
        yield text, inks


LOW_BYTES = 2 << 30  # what q35 puts below 4 GiB when there is more


@pytest.fixture
def drawn(boot, work, request):
    """A function as `boot`, with the machine's memory in a file: a framebuffer that is memory can be read afterwards.
    Returns (outcome, screen_lines, bytes behind the ends of the lines)."""
    memory = work.with_suffix(".memory")
    memory.unlink(missing_ok=True)
    request.addfinalizer(lambda: memory.unlink(missing_ok=True))

    def start(words, memory_mib, **how):
        outcome = boot(words, extra=[
            "-m", str(memory_mib), "-machine", "q35,memory-backend=ram",
            "-object", f"memory-backend-file,id=ram,size={memory_mib}M,mem-path={memory},share=on"], **how)
        width, height, pitch, base = (int(n, 0) for n in re.search(
            r"efishim: screen (\d+)x(\d+) stride (\d+) at (\S+)$", outcome.serial, re.M).groups())
        with open(memory, "rb") as file:
            file.seek(base if base < LOW_BYTES else base - (4 << 30) + LOW_BYTES)
            pixels = file.read(pitch * height)
        beyond = {pixels[y * pitch + width * 4:(y + 1) * pitch] for y in range(height)}
        assert beyond == {b"\x5a" * (pitch - width * 4)}, "something was written behind the end of a line"
        return outcome, base, list(screen_lines(pixels, width, height, pitch))

    return start


def shown(lines):
    """The screen's text; what was wrapped at its right edge is one line again."""
    return "".join(text if len(text.rstrip()) == len(text) else text.rstrip() + "\n" for text, _ in lines)


@pytest.mark.parametrize("kind, swapped", [("rgb", True), ("bgr", False), ("mask", True)])
def test_screen_above_4_gib_is_drawn_on(drawn, kind, swapped):
    outcome, base, lines = drawn(f"screen={kind}", 3072)
    boots(outcome)
    assert base >= 4 << 30
    assert re.search(r"Bulkhead \d", shown(lines)) and 'vm "flat" stopped: debug-exit 0' in shown(lines), shown(lines)
    text, inks = next(line for line in lines if line[0].startswith("red blue plain"))
    for word, colour in INK.items():
        order = struct.unpack(">I", struct.pack("<I", colour << 8))[0] if swapped else colour
        assert inks[text.index(word)] == order, f"{word}: {inks[text.index(word)]:#x}"


@pytest.mark.parametrize("words, cpu, line", [
    ("nomemory", "EPYC,+svm,+npt", r"boot: no memory management without a usable memory map"),
    ("", "EPYC,-svm", r"neither VMX nor SVM"),
], ids=["memory", "cpu"])
def test_refusal_is_on_the_screen(drawn, words, cpu, line):
    """Before and after the hypervisor's own page tables."""
    outcome, _, lines = drawn(f"{words} screen=low", 512, cpu=cpu)
    says(outcome, rf"bulkhead: .*{line}", r"the machine is halted; nothing was started")
    assert re.search(line, shown(lines)) and "nothing was started" in shown(lines), shown(lines)


def test_refusal_is_on_the_text_screen(work):
    """By GRUB and a BIOS, without the one file that must be there. QEMU's monitor reads the screen's memory."""
    make_iso(work.with_suffix(".iso"), {"boot/bulkhead.elf": KERNEL},
             "multiboot2 /boot/bulkhead.elf\nset gfxpayload=text\nboot\n")
    serial, cells = work.with_suffix(".serial"), work.with_suffix(".cells")
    for old in (serial, cells):
        old.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        boot = ["-cdrom", str(work.with_suffix(".iso")), "-no-reboot", "-monitor",
                f"unix:{folder}/monitor,server=on,wait=off"]
        with subprocess.Popen(qemu_command(Platform("text", "qemu", "EPYC,+svm,+npt"), boot, 256, f"file,path={serial}"),
                              stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as machine:
            try:
                assert happens(lambda: serial.exists() and "nothing was started" in serial.read_text(errors="replace"))
                with socket.socket(socket.AF_UNIX) as monitor:
                    monitor.connect(f"{folder}/monitor")
                    monitor.sendall(f"pmemsave 0xb8000 4000 \"{cells}\"\n".encode())
                    assert happens(lambda: cells.exists() and cells.stat().st_size == 4000)
            finally:
                machine.kill()
    text = cells.read_bytes()[::2].decode("cp437")
    for line in (r"Bulkhead \d", r"no module is named bulkhead\.toml", r"nothing was started"):
        assert re.search(line, text), text


# ---- Secure Boot with keys --------------------------------------------------------------------------------

SNAKEOIL = "/usr/share/ovmf/PkKek-1-snakeoil"  # the test key that Debian's firmware variables are made with


def enforcing(work):
    """Firmware with Secure Boot on, which needs system management mode."""
    variables = work.with_suffix(".vars")
    shutil.copyfile("/usr/share/OVMF/OVMF_VARS_4M.snakeoil.fd", variables)
    return ["-machine", "q35,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on",
            "-drive", "if=pflash,format=raw,unit=0,readonly=on,file=/usr/share/OVMF/OVMF_CODE_4M.secboot.fd",
            "-drive", f"if=pflash,format=raw,unit=1,file={variables}"]


def test_secure_boot_starts_the_loader_when_it_is_signed(plain, work):
    key, loader, signed = (work.with_suffix(suffix) for suffix in (".key", ".efi", ".signed"))
    loader.write_bytes(images.read(plain, "EFI/BOOT/BOOTX64.EFI"))
    subprocess.run(["openssl", "rsa", "-in", f"{SNAKEOIL}.key", "-passin", "pass:snakeoil", "-out", key], check=True,
                   capture_output=True)
    subprocess.run(["sbsign", "--key", key, "--cert", f"{SNAKEOIL}.pem", "--output", signed, loader], check=True,
                   capture_output=True)
    stick = images.edited(plain, work.with_suffix(".img"), replace={"EFI/BOOT/BOOTX64.EFI": signed.read_bytes()})
    boots(qemu(work, [*enforcing(work), *disk(stick)]), secure("on"))


def test_secure_boot_refuses_the_loader_when_it_is_not_signed(plain, work):
    outcome = qemu(work, [*enforcing(work), *disk(plain)], until=r"failed to load .*HARDDISK.*\n")
    says(outcome, r"failed to load .*HARDDISK.*Access Denied")
    assert "bulkhead" not in outcome.serial
