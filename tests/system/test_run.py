# SPDX-License-Identifier: Apache-2.0
"""tools/run, the command of a new user: with a terminal and without one, with what is good and what is bad. Its
demonstration guest is the Linux of tools/fetch-guest."""
import re
import subprocess
import sys
import time

import pexpect
import pytest

from emulators import BUILD, ROOT

WORK = BUILD / "run-test"
LINUX = ROOT / "examples/linux.toml"
SECONDS = 120


def run(config, *flags):
    done = subprocess.run([sys.executable, "tools/run", str(config), *flags], cwd=ROOT, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, timeout=2 * SECONDS)
    return done.returncode, done.stdout, done.stderr


def config(name, text):
    WORK.mkdir(parents=True, exist_ok=True)
    path = WORK / f"{name}.toml"
    path.write_text(text)
    return path


def guest(name, kernel, memory="64M"):
    return config(name, f'[[vm]]\nname = "{name}"\nmemory = "{memory}"\nkernel = "{kernel}"\ndebug_exit = 0xf4\n')


def test_without_a_terminal_it_asks_linux_and_powers_off():
    status, out, err = run(LINUX)
    assert status == 0, out + err
    assert "bulkhead: Bulkhead " in out
    assert "x86_64 GNU/Linux\n" in out
    assert "MemTotal:" in out
    assert 'bulkhead: vm "linux" stopped: poweroff\n' in out
    assert "warning" not in out.lower() + err.lower()
    assert "\x1b" not in out


def test_two_guests_are_asked_one_after_the_other():
    status, out, err = run(ROOT / "examples/two-linux.toml")
    assert status == 0, out + err
    for name in ("left", "right"):
        assert re.search(rf"^{name}\| Linux guest .*GNU/Linux$", out, re.M), out[-3000:]
        assert f'bulkhead: vm "{name}" stopped: poweroff\n' in out
    assert 'bulkhead: input goes to vm "right"' in out and "bulkhead: info smp: 2 of 2 CPUs" in out


@pytest.mark.parametrize("way", ["poweroff", "ctrl-a x"])
def test_with_a_terminal_the_shell_is_the_users(way):
    with open(WORK.parent / "run-terminal.log", "wb") as log:
        child = pexpect.spawn(sys.executable, ["tools/run", str(LINUX)], cwd=ROOT, timeout=SECONDS, logfile=log,
                              dimensions=(40, 110))
        child.expect("Ctrl-a x ends QEMU, `poweroff -f` the guest")
        child.expect("guest# ")
        child.send("sleep 1000\r")
        child.expect("sleep 1000\r")
        child.send("\x03")  # Ctrl-C is the guest's
        child.expect("guest# ")
        child.send("echo $((6 * 7))\r")
        child.expect("\n42\r")
        child.expect("guest# ")
        if way == "poweroff":
            child.send("poweroff -f\r")
            child.expect('vm "linux" stopped: poweroff')
        else:
            child.send("\x01x")
        child.expect(pexpect.EOF)
        child.close()
        assert child.exitstatus == 0


def test_another_guest_comes_to_its_end():
    status, out, err = run(ROOT / "examples/bootsector.toml")
    assert status == 0, out + err
    assert 'vm "bootsector" stopped: debug-exit 0\n' in out


def test_a_crash_is_a_failure():
    status, out, err = run(guest("crash", "triple_fault.elf"))
    assert status == 1
    assert 'vm "crash" stopped: triple-fault' in out
    assert err.startswith('run: vm "crash" stopped: triple-fault')


def test_a_guest_without_end_is_a_failure():
    WORK.mkdir(parents=True, exist_ok=True)
    (WORK / "spin.bin").write_bytes(b"\xeb\xfe")  # jmp $
    status, _, err = run(guest("spin", "spin.bin", "1M"), "--timeout", "15")
    assert (status, err) == (1, "run: the time is over\n")


def test_a_refusal_ends_the_run_at_once_and_is_the_reason():
    began = time.monotonic()
    status, out, err = run(LINUX, "--memory", "200", "--timeout", str(SECONDS))
    assert status == 1 and time.monotonic() - began < SECONDS / 2, out + err
    assert "the machine is halted" in out and "time is over" not in err
    assert re.fullmatch(r'run: error [^\n]*memory[^\n]*\n', err), err


@pytest.mark.parametrize("text, expected", [
    ('[[vm]]\nname = "a"\nmemroy = "1M"\n', ":3:1: "),
    ('[[vm]]\nname = "a"\nmemory = "1M"\nkernel = "none"\n', ':4:10: '),
    ('[[vm]\n', ":1:"),
])
def test_an_error_names_the_users_own_file(text, expected):
    path = config("wrong", text)
    status, out, err = run(path)
    assert (status, out) == (1, "")
    assert err.startswith(f"{path}{expected}"), err


def test_a_missing_configuration_is_named():
    assert run(WORK / "none.toml") == (1, "", f"{WORK / 'none.toml'}: no such configuration file\n")


@pytest.mark.parametrize("flag, value", [("--memory", "-5"), ("--memory", "0"), ("--cpus", "0"), ("--cpus", "256"),
                                         ("--timeout", "-1"), ("--timeout", "x")])
def test_a_number_out_of_range_is_refused_with_the_range(flag, value):
    status, out, err = run(LINUX, f"{flag}={value}")
    assert (status, out) == (2, "")
    assert re.search(rf"error: argument {flag}: '{value}' is no number from \d+ to \d+\n$", err), err


@pytest.mark.parametrize("words, status", [(["--help"], 0), (["--again", "--hlep"], 2), (["-x"], 2), (["a", "b"], 2),
                                           (["--for"], 2)])
def test_fetch_guest_takes_no_unknown_word_for_its_folder(words, status, tmp_path):
    done = subprocess.run([ROOT / "tools/fetch-guest", *words], cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == status and (done.stdout + done.stderr).startswith("usage: tools/fetch-guest ")
    assert list(tmp_path.iterdir()) == []
