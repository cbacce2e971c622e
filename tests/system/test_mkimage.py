# SPDX-License-Identifier: Apache-2.0
"""tools/mkimage and tools/mkiso without an emulator: the partition table, the files, the same bytes twice, and
what a user is told about wrong input."""
import re
import subprocess
import time

import pytest

import images
from emulators import BUILD
from images import PROBE

NO_CHECKER = ""
CHECKER = BUILD / "bulkhead-check"
GOOD = '[[vm]]\nname = "a"\nmemory = "16M"\nkernel = "k.bin"\n'


@pytest.mark.parametrize("tool", ["mkimage", "mkiso"])
def test_same_input_gives_same_bytes(tmp_path, tool):
    outs = []
    for name in ("one", "two"):
        config = images.write_config(tmp_path / name, GOOD, {"k.bin": b"x" * 100000})
        time.sleep(2.1 if outs else 0)  # FAT dates count in two seconds
        outs.append(images.made(tool, config, tmp_path / f"{name}.out", PROBE, NO_CHECKER).read_bytes())
    assert outs[0] == outs[1]
    config = images.write_config(tmp_path / "three", GOOD, {"k.bin": b"y" * 100000})
    changed = images.made(tool, config, tmp_path / "three.out", PROBE, NO_CHECKER).read_bytes()
    assert changed[:1024] != outs[0][:1024], "another content, the same disk GUID"


def test_partition_table_is_sound(tmp_path):
    config = images.write_config(tmp_path, GOOD, {"k.bin": b"x" * 50_000_000})
    image = images.made("mkimage", config, tmp_path / "x.img", PROBE, NO_CHECKER)
    done = subprocess.run(["/usr/sbin/sgdisk", "-v", "-p", str(image)], capture_output=True, text=True, check=True)
    assert "No problems found" in done.stdout
    assert re.search(r"(?m)^ +1 +2048 .* EF00  Bulkhead$", done.stdout)
    assert re.search(r"(?m)^ +2 +34 +2047 .* EF02 ", done.stdout)
    assert images.read(image, "bulkhead/k.bin") == b"x" * 50_000_000
    assert images.read(image, "bulkhead/bulkhead.toml") == GOOD.encode()
    assert 50_000_000 < image.stat().st_size < 64 << 20


def test_file_system_is_sound(tmp_path):
    config = images.write_config(tmp_path, GOOD, {"k.bin": b"x" * 5000})
    image = images.made("mkimage", config, tmp_path / "x.img", PROBE, NO_CHECKER)
    raw = image.read_bytes()
    (tmp_path / "esp").write_bytes(raw[1 << 20:37 << 20])
    subprocess.run(["/usr/sbin/fsck.vfat", "-n", str(tmp_path / "esp")], check=True, capture_output=True)


@pytest.mark.parametrize("text, files, expected", [
    ("[machine\n", {}, r"test\.toml:1:\d+: "),
    ("a = 1\na = 2\n", {}, r"test\.toml:2:\d+: "),
    ("# \xff\n", {}, None),  # replaced below by bytes that are not UTF-8
    (GOOD, {}, r'test\.toml:4:10: kernel: there is no file "k\.bin" beside the configuration'),
    (GOOD.replace("k.bin", "../k.bin"), {"k.bin": b""}, r"test\.toml:4:10: kernel: file name .* not a path inside"),
    (GOOD.replace("k.bin", "a b"), {"a b": b""}, r"test\.toml:4:10: kernel: file name .* character ' '"),
    (GOOD.replace("k.bin", "bulkhead.elf"), {"bulkhead.elf": b""}, r"test\.toml:4:10: .*hypervisor's own"),
    (GOOD + '[[vm]]\nkernel = "K.bin"\n', {"k.bin": b"", "K.bin": b""}, r"test\.toml:\d+:\d+: .*differ only in case"),
    ('x = ["' + '", "'.join(f"f{i}" for i in range(64)) + '"]\n', {f"f{i}": b"" for i in range(64)},
     r"test\.toml:1:1: it names 64 files, at most 63"),
])
def test_wrong_configuration_is_named(tmp_path, text, files, expected):
    config = images.write_config(tmp_path, text, files)
    if expected is None:
        config.write_bytes(b"# ok\n# \xff\n")
        expected = r"test\.toml:2:3: this is not UTF-8"
    status, output = images.make("mkimage", config, tmp_path / "x.img", PROBE, NO_CHECKER)
    assert status == 1 and re.search(expected, output), output
    assert "Traceback" not in output
    assert not (tmp_path / "x.img").exists() and not (tmp_path / "x.img.part").exists()


def test_missing_configuration_and_kernel_are_named(tmp_path):
    status, output = images.make("mkimage", tmp_path / "no.toml", tmp_path / "x.img", PROBE)
    assert status == 1 and output.endswith("no.toml: no such configuration file\n")
    config = images.write_config(tmp_path, GOOD, {"k.bin": b""})
    status, output = images.make("mkimage", config, tmp_path / "x.img", tmp_path / "no.elf", NO_CHECKER)
    assert status == 1 and output.endswith("no.elf: the kernel is not built\n")


def test_checker_judges_first(tmp_path):
    config = images.write_config(tmp_path, GOOD + "unknown = 1\n", {"k.bin": b"x"})
    status, output = images.make("mkimage", config, tmp_path / "x.img", PROBE, CHECKER)
    assert status == 1 and re.search(r"test\.toml:5:1: .*unknown", output), output
