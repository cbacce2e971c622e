# SPDX-License-Identifier: Apache-2.0
"""tools/mkimage and tools/mkiso without an emulator: the partition table, the files, the same bytes twice, and
what a user is told about wrong input."""
import os
import re
import resource
import signal
import subprocess
import sys
import time

import pytest

import images
from emulators import BUILD, ROOT
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
    assert not list(tmp_path.glob("x.img*"))


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


@pytest.mark.parametrize("checker", [CHECKER, NO_CHECKER], ids=["checker", "alone"])
def test_missing_file_that_make_has_is_pointed_out(tmp_path, checker):
    advice = f"or give --files {os.path.relpath(BUILD / 'guest')}"
    for name, known in (("realboot.elf", True), ("nobody.elf", False)):
        config = images.write_config(tmp_path, GOOD.replace("k.bin", name), {})
        status, output = images.make("mkimage", config, tmp_path / "x.img", PROBE, checker)
        assert status == 1 and output.startswith(f"{config}:4:10: kernel") and (advice in output) == known, output


def test_options_travel_and_are_judged(tmp_path):
    config = images.write_config(tmp_path, GOOD, {"k.bin": b"\xf4", "options.txt": b"off=vpid\n"})
    image = images.made("mkimage", config, tmp_path / "x.img", PROBE, CHECKER)
    assert images.read(image, "bulkhead/options.txt") == b"off=vpid\n"
    image = images.made("mkimage", config, tmp_path / "x.img", PROBE, CHECKER, ["--options", "stress=save:3"])
    assert images.read(image, "bulkhead/options.txt") == b"stress=save:3\n"
    image.unlink()
    for extra, line in ((["--options", "of=vpid"], 'unknown option "of=vpid": there is '),
                        ([], f'{tmp_path}/options.txt:2:1: unknown option "of=vpid": there is ')):
        (tmp_path / "options.txt").write_text("off=vpid\nof=vpid\n")
        status, output = images.make("mkimage", config, image, PROBE, CHECKER, extra)
        assert status == 1 and output.startswith(line), output
        assert not image.exists()


# ---- where it cannot be written, and what is missing for it: one line, and nothing left behind ------------------

def unmade(tool, folder, line, out="out", before=None, env=None):
    """The tool's one line of failure; `folder` holds afterwards what it held before."""
    config = images.write_config(folder, GOOD, {"k.bin": b"x" * 5000})
    held = sorted(folder.rglob("*"))
    command = [sys.executable, str(ROOT / "tools" / tool), str(config), "-o", str(out if out[0] == "/" else folder / out),
               "--kernel", str(PROBE), "--checker", NO_CHECKER]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, preexec_fn=before, env=env)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    assert re.fullmatch(line + "\n", done.stderr), done.stderr
    assert sorted(folder.rglob("*")) == held


TOOLS = pytest.mark.parametrize("tool", ["mkimage", "mkiso"])


@TOOLS
@pytest.mark.parametrize("out, line", [
    ("/sys/x.img", r"/sys/x\.img: (Permission denied|Read-only file system)"),
    ("none/x.img", r".*/none/x\.img: No such file or directory"),
    ("k.bin/x.img", r".*/k\.bin/x\.img: Not a directory"),
    (".", r".*: is a directory; name the image file to write"),
    ("/dev/null", r"/dev/null: is not a regular file; write the image to a file and copy that \(dd\)"),
    ("k.bin", r".*/k\.bin: is one of the files that the image is made of"),
    ("test.toml", r".*/test\.toml: is one of the files that the image is made of"),
])
def test_output_that_cannot_be_is_named(tmp_path, tool, out, line):
    unmade(tool, tmp_path, line, out)


@TOOLS
def test_no_room_is_named(tmp_path, tool):
    # Files of this process and its children end at a size, as on a full disk: first the file system's image,
    # then the result.
    limit = lambda mib: lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (mib << 20, mib << 20))
    unmade(tool, tmp_path, r".*/esp\.img: File too large", before=limit(8))
    unmade(tool, tmp_path, r".*out: File too large" if tool == "mkimage" else r"xorriso: (exit status|ended by).+",
           before=limit(36))


@TOOLS
def test_missing_tools_are_all_named(tmp_path, tool):
    names = "mmd, mcopy, grub-mkimage" + (", xorriso" if tool == "mkiso" else "")
    unmade(tool, tmp_path, f"not installed: {names}: run tools/setup", env={"PATH": str(tmp_path)})


def test_interrupted_it_leaves_the_old_image(tmp_path):
    config = images.write_config(tmp_path, GOOD, {"k.bin": b"x" * (200 << 20)})
    out = tmp_path / "x.img"
    out.write_bytes(b"old")
    for number in (signal.SIGINT, signal.SIGTERM):
        process = subprocess.Popen([sys.executable, str(ROOT / "tools/mkimage"), str(config), "-o", str(out), "--kernel",
                                    str(PROBE), "--checker", NO_CHECKER], stderr=subprocess.PIPE, start_new_session=True)
        while len(list(tmp_path.glob("x.img*"))) < 2:
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(number)
        assert process.communicate(timeout=60)[1] == b""
        assert process.returncode == 130
        assert list(tmp_path.glob("x.img*")) == [out] and out.read_bytes() == b"old"


# ---- make image, make iso ------------------------------------------------------------------------------------

def make(*args):
    env = {name: value for name, value in os.environ.items() if name not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return subprocess.run(["make", *args], cwd=ROOT, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True)


@pytest.mark.parametrize("example", sorted((ROOT / "examples").glob("*.toml")), ids=lambda path: path.stem)
def test_make_image_finds_the_examples_files(tmp_path, example):
    done = make("image", f"CONFIG=examples/{example.name}", f"OUT={tmp_path}/x.img")
    assert done.returncode == 0, done.stdout + done.stderr
    assert images.read(tmp_path / "x.img", "bulkhead/bulkhead.toml") == example.read_bytes()
    for name in re.findall(r'(?m)^(?:kernel|initrd) *= "(.*?)"', example.read_text()):
        assert images.read(tmp_path / "x.img", f"bulkhead/{name}") == (BUILD / "guest" / name).read_bytes()


def test_make_iso_makes_one(tmp_path):
    done = make("iso", "CONFIG=examples/bootsector.toml", f"OUT={tmp_path}/x.iso")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / "x.iso").read_bytes()[0x8001:0x8006] == b"CD001"


@pytest.mark.parametrize("target", ["run", "image", "iso"])
def test_make_names_a_missing_configuration(target):
    done = make(target, "CONFIG=none.toml")
    assert done.returncode != 0
    assert done.stderr.splitlines()[0] == "none.toml: no such configuration file"


@pytest.mark.parametrize("target", ["run", "image", "iso", "bench", "check", "test"])
def test_every_command_installs_what_it_needs_first(target):
    lines = make("-n", target).stdout.splitlines()
    setup = lines.index("tools/setup")
    assert not [line for line in lines[:setup] if not line.startswith("[ -f")], lines[:setup]
