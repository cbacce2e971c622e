# SPDX-License-Identifier: Apache-2.0
"""Boot images for the system tests: made by tools/mkimage and tools/mkiso as a user makes them, then, for the
wrong inputs, damaged as a user damages a stick: by files removed from or changed in its file system."""
import pathlib
import shutil
import subprocess
import sys

from emulators import BUILD, ROOT

PROBE = BUILD / "bootprobe.elf"
ESP = "@@1M"  # where mkimage puts the EFI system partition, as mtools say it
OVMF_CODE = pathlib.Path("/usr/share/OVMF/OVMF_CODE_4M.fd")
OVMF_VARS = pathlib.Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
OVMF_BOCHS = pathlib.Path("/usr/share/ovmf/OVMF.fd")


def write_config(folder, text, files):
    """folder/test.toml and the files (name -> bytes or path) beside it; returns the configuration's path."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else pathlib.Path(content).read_bytes())
    config = folder / "test.toml"
    config.write_text(text)
    return config


def make(tool, config, out, kernel=None, checker=None, extra=()):
    """Runs tools/mkimage or tools/mkiso, with `extra` arguments; returns (exit status, output)."""
    command = [sys.executable, str(ROOT / "tools" / tool), str(config), "-o", str(out)]
    command += ["--kernel", str(kernel)] if kernel else []
    command += ["--checker", str(checker)] if checker is not None else []
    command += extra
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    return done.returncode, done.stdout + done.stderr


def made(tool, config, out, kernel=None, checker=None, extra=()):
    status, output = make(tool, config, out, kernel, checker, extra)
    assert status == 0, output
    return out


def edited(image, out, remove=(), replace=None):
    """A copy of a USB image without the files `remove` and with those of `replace` (path -> bytes)."""
    shutil.copyfile(image, out)
    for path in remove:
        subprocess.run(["mdel", "-i", f"{out}{ESP}", f"::{path}"], check=True)
    for path, content in (replace or {}).items():
        subprocess.run(["mcopy", "-o", "-i", f"{out}{ESP}", "-", f"::{path}"], input=content, check=True)
    return out


def read(image, path):
    """The bytes of a file in a USB image's file system."""
    return subprocess.run(["mtype", "-i", f"{image}{ESP}", f"::{path}"], check=True, capture_output=True).stdout


# ---- QEMU arguments ----------------------------------------------------------------------------------

def ovmf(work):
    """UEFI firmware with variables of its own, as it leaves the factory."""
    variables = work.with_suffix(".vars")
    variables.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(OVMF_VARS, variables)
    return ["-drive", f"if=pflash,format=raw,unit=0,readonly=on,file={OVMF_CODE}",
            "-drive", f"if=pflash,format=raw,unit=1,file={variables}"]


def disk(path):
    return ["-drive", f"file={path},format=raw,snapshot=on"]


def cdrom(path):
    return ["-drive", f"file={path},format=raw,media=cdrom,readonly=on"]


def usb(path):
    return ["-device", "qemu-xhci", "-drive", f"if=none,id=stick,file={path},format=raw,snapshot=on",
            "-device", "usb-storage,drive=stick,removable=on"]


# ---- lines of a bochsrc, after those of emulators.py --------------------------------------------------

def bochs_disk(path):
    return [f"ata0-master: type=disk, path={path}, mode=volatile", "boot: disk"]


def bochs_ovmf(model):
    return [f"romimage: file={OVMF_BOCHS}", f"cpu: model={model}, count=1, ips=100000000, ignore_bad_msrs=1"]
