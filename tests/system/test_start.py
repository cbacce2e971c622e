# SPDX-License-Identifier: Apache-2.0
"""The hypervisor itself by every way in, up to the end of a guest of 16 bytes, and what it says to wrong input
that only it can judge."""
import re
import subprocess

import pytest

import images
from emulators import BUILD, DEBUG_EXIT, GRUB_I386, KERNEL, PLATFORMS, Platform, bulkhead_iso, make_iso, run
from images import disk, ovmf

WORK = BUILD / "start-test"
QEMU = PLATFORMS["qemu-epyc"]
RYZEN = PLATFORMS["bochs-ryzen"]
HASWELL = PLATFORMS["bochs-haswell"]

# mov dx, 0x3f8; mov al, 'G'; out dx, al; mov al, 10; out dx, al; mov dx, 0xf4; xor al, al; out dx, al; hlt
GUEST = bytes.fromhex("baf803 b047 ee b00a ee baf400 30c0 ee f4")
LINES = ["[machine]", 'console = ["serial"]', f"debug_exit = {DEBUG_EXIT:#x}", "", "[[vm]]", 'name = "flat"',
         'memory = "4M"', 'kernel = "flat.bin"', f"debug_exit = {DEBUG_EXIT:#x}", ""]
CONFIG = "\n".join(LINES)
# Bochs has no debug-exit device: the machine powers off by ACPI there.
CONFIG_BOCHS = CONFIG.replace(LINES[2], 'on_idle = "poweroff"', 1)
HALTED = r"the machine is halted"
# The BOCHS BIOS locks IA32_FEATURE_CONTROL with VMX on, SeaBIOS leaves it 0.
SEABIOS = ["romimage: file=/usr/share/seabios/bios.bin"]


@pytest.fixture(scope="session")
def image():
    config = images.write_config(WORK / "config", CONFIG, {"flat.bin": GUEST})
    return images.made("mkimage", config, WORK / "start.img")


@pytest.fixture(scope="session")
def grub_image(image):
    return images.edited(image, WORK / "grub.img",
                         replace={"EFI/BOOT/BOOTX64.EFI": images.read(image, "EFI/BOOT/grubx64.efi")})


@pytest.fixture(scope="session")
def bochs_iso():
    config = images.write_config(WORK / "bochs", CONFIG_BOCHS, {"flat.bin": GUEST})
    return images.made("mkiso", config, WORK / "bochs.iso")


@pytest.fixture
def work(request):
    return WORK / re.sub(r"\W+", "-", request.node.name).strip("-")


def qemu(work, boot, memory_mib=512, machine="q35", cpu=QEMU.cpu, until=HALTED):
    return run(Platform("boot", "qemu", cpu), work, boot=[*boot, "-machine", machine, "-no-reboot"],
               memory_mib=memory_mib, timeout=40, until=until)


def started(outcome, loader):
    """The log of a whole run, from the first line to the end of the machine."""
    text = outcome.serial
    expected = [r"bulkhead: Bulkhead \d+\.\d+", rf"bulkhead: .*boot: by {loader}", r'bulkhead: vm "flat" starts', r"G",
                r'bulkhead: vm "flat" stopped: debug-exit 0']
    at = 0
    for line in expected:
        found = re.compile(rf"^.*{line}.*$", re.M).search(text, at)
        assert found, f"never seen: {line}\n{text[-3000:]}\n{outcome.log[-1000:]}"
        at = found.end()
    assert not outcome.timed_out, f"the machine did not end\n{text[-1000:]}"
    return text


EFI = r"bulkhead-efi 1"
GRUB = r"GRUB 2"


@pytest.mark.parametrize("machine, memory_mib", [("q35", 256), ("pc", 512), ("q35", 8192)])
def test_ovmf(image, work, machine, memory_mib):
    started(qemu(work, ovmf(work) + disk(image), memory_mib, machine), EFI)


def test_ovmf_usb_storage_behind_xhci(image, work):
    started(qemu(work, ovmf(work) + images.usb(image)), EFI)


@pytest.mark.parametrize("machine, memory_mib", [("pc", 256), ("q35", 512), ("pc", 8192)])
def test_grub_bios(image, work, machine, memory_mib):
    started(qemu(work, disk(image), memory_mib, machine), GRUB)


def test_grub_uefi(grub_image, work):
    started(qemu(work, ovmf(work) + disk(grub_image)), GRUB)


@pytest.mark.parametrize("platform", [RYZEN, HASWELL], ids=lambda p: p.name)
def test_grub_bochs(bochs_iso, work, platform):
    started(run(platform, work, iso=bochs_iso, timeout=90, until=HALTED), GRUB)


def test_vmx_control_left_unlocked_by_the_firmware(bochs_iso, work):
    started(run(HASWELL, work, iso=bochs_iso, timeout=90, until=HALTED, extra=SEABIOS), GRUB)


@pytest.mark.parametrize("platform", [RYZEN, HASWELL], ids=lambda p: p.name)
def test_ovmf_bochs(bochs_iso, work, platform):
    # OVMF gives no RSDP here: there is no way to power off, the machine halts.
    outcome = run(platform, work, iso=bochs_iso, memory_mib=512, extra=images.bochs_ovmf(platform.cpu), timeout=120,
                  until=r'(vm "flat" stopped: |machine is halted).*\n')
    started(outcome, EFI)


# Opteron_G4 and _G5 only with XSAVEOPT: without, QEMU 7.2 hangs, under bare Linux too (docs/QUIRKS.md).
@pytest.mark.parametrize("cpu", ["EPYC,+svm,+npt", "EPYC-Milan,+svm,+npt", "Opteron_G3,+svm,+npt", "max,+svm",
                                 "Opteron_G4,+xsaveopt,+svm,+npt", "Opteron_G5,+xsaveopt,+svm,+npt"])
def test_qemu_amd_cpu_models(image, work, cpu):
    started(qemu(work, disk(image), cpu=cpu), GRUB)


def test_entered_with_five_level_paging(work):
    iso = work.with_suffix(".iso")
    flat = work.with_suffix(".bin")
    flat.parent.mkdir(parents=True, exist_ok=True)
    flat.write_bytes(GUEST)
    bulkhead_iso(iso, CONFIG, {"flat.bin": flat}, kernel=BUILD / "bulkhead-la57.elf")
    text = started(qemu(work, ["-cdrom", str(iso)], cpu=QEMU.cpu + ",+la57"), GRUB)
    assert "5-level paging" in text


# ---- wrong inputs: the line that names the cause, then a stop -------------------------------------------

def refused(outcome, expected):
    assert re.search(rf"(?m)^.*bulkhead: .*{expected}", outcome.serial), outcome.serial[-3000:]
    assert re.search(HALTED, outcome.serial), outcome.serial[-3000:]
    assert 'vm "flat" starts' not in outcome.serial
    assert outcome.serial.count("bulkhead: Bulkhead ") == 1, "the machine started again"


def ways(image, work):
    return [ovmf(work) + disk(image), disk(image)]


@pytest.mark.parametrize("way", [0, 1], ids=["efi", "grub"])
def test_missing_file_is_named(image, work, way):
    bad = images.edited(image, work.with_suffix(".img"), ["bulkhead/flat.bin"])
    outcome = qemu(work, ways(bad, work)[way])
    refused(outcome, r'bulkhead\.toml:8:10: kernel file "flat\.bin" is missing')


@pytest.mark.parametrize("way", [0, 1], ids=["efi", "grub"])
def test_truncated_file_is_named(image, work, way):
    elf = bytes.fromhex("7f454c46010101") + bytes(20)  # the begin of an ELF header
    bad = images.edited(image, work.with_suffix(".img"), replace={"bulkhead/flat.bin": elf})
    outcome = qemu(work, ways(bad, work)[way])
    refused(outcome, r'bulkhead\.toml:8:10: kernel "flat\.bin"')


def test_bad_configuration_is_named(image, work):
    bad = images.edited(image, work.with_suffix(".img"),
                        replace={"bulkhead/bulkhead.toml": CONFIG.replace("memory =", "memroy =").encode()})
    refused(qemu(work, disk(bad)), r"bulkhead\.toml:7:1: ")


def test_memory_beyond_the_machine_is_named(image, work):
    bad = images.edited(image, work.with_suffix(".img"),
                        replace={"bulkhead/bulkhead.toml": CONFIG.replace("4M", "3G").encode()})
    refused(qemu(work, disk(bad)), r"bulkhead\.toml:7:10: ")


def test_memory_in_too_many_pieces_is_named(work):
    # GRUB takes a page out of every 4 MiB above 32 MiB: 120 pieces, of which a VM may have 64.
    holes = [(at << 20) + 0x3ff000 for at in range(32, 512, 4)]
    grub_cfg = "\n".join(["insmod /boot/grub/mmap.mod", *(f"cutmem {at:#x} {at + 0x1000:#x}" for at in holes),
                          "multiboot2 /boot/bulkhead.elf", "module2 /bulkhead.toml bulkhead.toml",
                          "module2 /flat.bin flat.bin", "boot", ""])
    files = {"boot/bulkhead.elf": KERNEL, "boot/grub/mmap.mod": GRUB_I386 / "mmap.mod", "flat.bin": GUEST,
             "bulkhead.toml": CONFIG.replace("4M", "300M").encode()}
    iso = work.with_suffix(".iso")
    make_iso(iso, files, grub_cfg)
    outcome = qemu(work, ["-cdrom", str(iso)], 512)
    refused(outcome, r'vm "flat" cannot be built: its memory, page tables and records \(out of memory\)')
    refused(outcome, r"memory: 300 MiB asked; 4\d\d MiB free for VMs, \d+ MiB in one piece \(a VM has at most 64 "
                     r"pieces\); \d+ KiB free for the hypervisor")


def test_cpu_without_virtualisation_is_named(image, work):
    refused(qemu(work, disk(image), cpu="qemu64,-svm"), r"neither VMX nor SVM")


def test_vmx_without_what_is_needed_is_named(bochs_iso, work):
    platform = Platform("refused", "bochs", "core2_penryn_t9600", vendor="vmx")
    refused(run(platform, work, iso=bochs_iso, timeout=90, until=HALTED),
            r"has VMX but .*: extended page tables \(EPT\)")


def test_svm_without_nested_paging_is_named(bochs_iso, work):
    platform = Platform("refused", "bochs", "turion64_tyler")
    refused(run(platform, work, iso=bochs_iso, timeout=90, until=HALTED), r"has SVM but .*nested paging")


def test_vmx_locked_off_by_the_firmware_is_named(work):
    grub_cfg = ("insmod /boot/grub/wrmsr.mod\nwrmsr 0x3a 0x1\nmultiboot2 /boot/bulkhead.elf\n"
                "module2 /bulkhead.toml bulkhead.toml\nboot\n")
    files = {"boot/bulkhead.elf": KERNEL, "boot/grub/wrmsr.mod": GRUB_I386 / "wrmsr.mod",
             "bulkhead.toml": CONFIG_BOCHS.encode()}
    make_iso(work.with_suffix(".iso"), files, grub_cfg)
    outcome = run(HASWELL, work, iso=work.with_suffix(".iso"), timeout=90, until=HALTED, extra=SEABIOS)
    refused(outcome, r"VMX is disabled by the firmware .*locked")


def test_text_is_within_its_bar():
    sizes = subprocess.run(["size", "-A", str(KERNEL)], capture_output=True, text=True, check=True).stdout
    text = int(re.search(r"^\.text\s+(\d+)", sizes, re.M).group(1))
    assert text <= 160 * 1024, f"{text} bytes of text, 163840 are allowed (docs/BENCH.md)"
