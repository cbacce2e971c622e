# SPDX-License-Identifier: Apache-2.0
"""Both boot paths up to the kernel's entry, told by the boot probe (bootprobe/): it is linked as the kernel is,
checks what it was handed and prints it. So what fails here is a loader, an image or the entry contract."""
import re
import zlib

import pytest

import images
from emulators import BUILD, PLATFORMS, run
from images import PROBE, disk, ovmf

WORK = BUILD / "boot-test"
QEMU = PLATFORMS["qemu-epyc"]
RYZEN = PLATFORMS["bochs-ryzen"]
HASWELL = PLATFORMS["bochs-haswell"]
NO_RESET = ["-no-reboot"]

CONFIG = """\
# The loader must not stumble over this file's "quotes.
[machine]
console = ["serial"]

[[vm]]
name   = "probe"
memory = "64M"
kernel = "kernel.bin"
initrd = 'sub/initrd.img'
"""
FILES = {"kernel.bin": bytes(range(256)) * 1200 + b"end", "sub/initrd.img": b"initrd" * 200001}


@pytest.fixture(scope="session")
def image():
    config = images.write_config(WORK / "config", CONFIG, FILES)
    return images.made("mkimage", config, WORK / "boot.img", PROBE, "")


@pytest.fixture(scope="session")
def iso():
    config = images.write_config(WORK / "config", CONFIG, FILES)
    return images.made("mkiso", config, WORK / "boot.iso", PROBE, "")


@pytest.fixture(scope="session")
def grub_image(image):
    """The same stick with GRUB as the program that UEFI starts."""
    return images.edited(image, WORK / "grub.img",
                         replace={"EFI/BOOT/BOOTX64.EFI": images.read(image, "EFI/BOOT/grubx64.efi")})


@pytest.fixture
def work(request):
    return WORK / re.sub(r"\W+", "-", request.node.name).strip("-")


def qemu(work, boot, memory_mib=512, machine="q35", timeout=40, until=None):
    return run(QEMU, work, boot=[*boot, "-machine", machine, *NO_RESET], memory_mib=memory_mib, timeout=timeout,
               until=until)


def probed(outcome, path, secure):
    """Judges a probe run; returns its lines, joined."""
    text = "\n".join(re.findall(r"bootprobe: (.*)", outcome.serial))
    assert text.endswith("SUCCESS"), f"{text or outcome.serial[-2000:]}\n{outcome.log[-1000:]}"
    assert f"path {path} " in text
    assert f"secure {secure}" in text
    assert "tsc taken" in text
    files = {"bulkhead.toml": CONFIG.encode(), **FILES}
    for name, content in files.items():
        assert f"file {name} {len(content)} bytes crc {zlib.crc32(content):08x}" in text
    assert len(re.findall(r"(?m)^file ", text)) == len(files)
    return text


def by_efi(outcome):
    # OVMF without keys is in setup mode: 3.
    return probed(outcome, 1, 3)


def by_grub(outcome):
    return probed(outcome, 2, 0)


def usable_mib(text):
    return int(re.search(r"usable (\d+) MiB", text).group(1))


# ---- the ways in ---------------------------------------------------------------------------------------

@pytest.mark.parametrize("machine, memory_mib", [("q35", 256), ("q35", 8192), ("pc", 1024)])
def test_ovmf(image, work, machine, memory_mib):
    text = by_efi(qemu(work, ovmf(work) + disk(image), memory_mib, machine))
    assert memory_mib - 64 < usable_mib(text) < memory_mib
    assert "rsdp revision 2" in text
    assert re.search(r"fb \d+x\d+ pitch \d+ format [12]", text)


def test_ovmf_usb_storage_behind_xhci(image, work):
    by_efi(qemu(work, ovmf(work) + images.usb(image)))


@pytest.mark.parametrize("machine, memory_mib", [("pc", 256), ("q35", 8192)])
def test_grub_bios(image, work, machine, memory_mib):
    text = by_grub(qemu(work, disk(image), memory_mib, machine))
    assert memory_mib - 8 < usable_mib(text) <= memory_mib
    assert "rsdp revision 0" in text


def test_grub_bios_graphics(image, work):
    """A BIOS machine starts with its text screen, and with the graphics mode that grub.cfg is edited to ask for."""
    assert "fb 0x0 " in by_grub(qemu(work, disk(image)))
    cfg = images.read(image, "EFI/BOOT/grub.cfg").replace(b"gfxpayload=text", b"gfxpayload=1024x768x32")
    edited = images.edited(image, work.with_suffix(".img"), replace={"EFI/BOOT/grub.cfg": cfg})
    assert re.search(r"fb 1024x768 pitch \d+ format 1", by_grub(qemu(work, disk(edited))))


def test_grub_bios_usb_storage_behind_xhci(image, work):
    by_grub(qemu(work, images.usb(image)))


@pytest.mark.parametrize("machine, memory_mib", [("q35", 8192), ("pc", 256)])
def test_grub_uefi(grub_image, work, machine, memory_mib):
    text = by_grub(qemu(work, ovmf(work) + disk(grub_image), memory_mib, machine))
    assert "rsdp revision 2" in text
    assert re.search(r"fb \d+x\d+ pitch \d+ format [12]", text)


@pytest.mark.parametrize("attach", [images.cdrom, disk], ids=["cd", "disk"])
def test_iso(iso, work, attach):
    by_grub(qemu(work, attach(iso)))
    by_efi(qemu(work, ovmf(work) + attach(iso)))


def test_grub_bochs(image, work):
    by_grub(run(RYZEN, work, iso="none", extra=images.bochs_disk(image), timeout=60))


def test_grub_bochs_cd(iso, work):
    by_grub(run(HASWELL, work, iso=iso, timeout=60))


def test_ovmf_bochs(iso, work):
    text = by_efi(run(HASWELL, work, iso=iso, memory_mib=512, extra=images.bochs_ovmf(HASWELL.cpu), timeout=120))
    assert "rsdp none" in text


# ---- wrong inputs ---------------------------------------------------------------------------------------

def broken_elf(image, how):
    elf = bytearray(images.read(image, "bulkhead/bulkhead.elf"))
    if how == "truncated":
        return bytes(elf[: len(elf) * 2 // 3])
    if how == "no-elf":
        return b"MZ" + bytes(elf[2:])
    assert how == "entry"
    elf[24:32] = bytes(8)
    return bytes(elf)


WRONG = {
    "no-toml": (["bulkhead/bulkhead.toml"], None, r"bulkhead\.toml is not on this volume"),
    "no-kernel": (["bulkhead/bulkhead.elf"], None, r"bulkhead\.elf is not on this volume"),
    "truncated": ([], "truncated", r"bulkhead\.elf.*(cut short|is broken)"),
    "no-elf": ([], "no-elf", r"bulkhead\.elf.*(is not an ELF file|is broken)"),
}


def damaged(image, work, case):
    remove, how, expected = WRONG[case]
    replace = {"bulkhead/bulkhead.elf": broken_elf(image, how)} if how else None
    return images.edited(image, work.with_suffix(".img"), remove, replace), expected


@pytest.mark.parametrize("case", WRONG)
def test_efi_wrong_input_is_named(image, work, case):
    bad, expected = damaged(image, work, case)
    outcome = qemu(work, ovmf(work) + disk(bad), until=r"press a key")
    assert re.search(f"bulkhead-efi: .*{expected}", outcome.serial), outcome.serial[-2000:]
    # OVMF's console is on COM1 already: nobody reads the line twice.
    assert len(re.findall(expected, outcome.serial)) == 1
    assert not outcome.timed_out


def test_efi_gives_control_back(image, work):
    bad, _ = damaged(image, work, "no-toml")
    outcome = qemu(work, ovmf(work) + disk(bad), until=r"Shell>|BdsDxe: failed to start")
    assert not outcome.timed_out, outcome.serial[-2000:]
    assert outcome.serial.count("bulkhead-efi: press a key") == 1


def test_efi_entry_outside_code_is_named(image, work):
    bad = images.edited(image, work.with_suffix(".img"),
                        replace={"bulkhead/bulkhead.elf": broken_elf(image, "entry")})
    outcome = qemu(work, ovmf(work) + disk(bad), until=r"press a key")
    assert "bulkhead.elf: its entry point lies in no executable segment" in outcome.serial


@pytest.mark.parametrize("case", WRONG)
def test_grub_wrong_input_is_named(image, work, case):
    bad, expected = damaged(image, work, case)
    outcome = qemu(work, disk(bad), until=r"bulkhead: not started: .*\n")
    assert re.search(f"bulkhead: not started: .*{expected}", outcome.serial), outcome.serial[-2000:]
    assert not outcome.timed_out


def test_file_missing_from_the_stick_is_left_to_the_kernel(image, work):
    """The loaders hand over what is there; the kernel's parser says which line names a missing file."""
    bad = images.edited(image, work.with_suffix(".img"), ["bulkhead/kernel.bin"])
    for boot in (ovmf(work) + disk(bad), disk(bad)):
        text = qemu(work, boot).serial
        assert "bootprobe: SUCCESS" in text and "file sub/initrd.img" in text and "file kernel.bin" not in text


def test_grub_hands_over_a_file_added_later(image, work):
    changed = images.edited(image, work.with_suffix(".img"), replace={"bulkhead/Extra_File-1.txt": b"added"})
    assert "file Extra_File-1.txt 5 bytes" in qemu(work, disk(changed)).serial


def test_efi_reads_a_changed_configuration(image, work):
    changed = images.edited(image, work.with_suffix(".img"),
                            replace={"bulkhead/new name.bin": b"added",
                                     "bulkhead/bulkhead.toml": b"[[vm]]\nkernel = \"new name.bin\"\n"})
    text = qemu(work, ovmf(work) + disk(changed)).serial
    assert "file new name.bin 5 bytes" in text and "bootprobe: SUCCESS" in text
    assert "file kernel.bin" not in text
