# SPDX-License-Identifier: Apache-2.0
"""The guest tests and Linux on a CPU's own VMX or SVM, nested under KVM, where /dev/kvm offers that; elsewhere one
skip that says what is missing."""
import os
import pathlib
import re

import pytest

import guests
import test_parity
from emulators import PLATFORMS

KVM = PLATFORMS["kvm-host"]


def why_not(device="/dev/kvm", cpuinfo="/proc/cpuinfo", modules="/sys/module"):
    """What keeps a guest of KVM on this machine from being a hypervisor; None: nothing."""
    if not pathlib.Path(device).exists():
        return "no /dev/kvm"
    if not os.access(device, os.R_OK | os.W_OK):
        return "/dev/kvm is not accessible"
    flags = set(pathlib.Path(cpuinfo).read_text().split())
    module = "kvm_intel" if "vmx" in flags else "kvm_amd" if "svm" in flags else None
    if module is None:
        return "/dev/kvm without nested VMX or SVM: the CPU has neither"
    nested = pathlib.Path(modules) / module / "parameters" / "nested"
    if not nested.exists() or nested.read_text().strip() not in ("Y", "1"):
        return f"/dev/kvm without nested VMX or SVM: {module} is not loaded with nested=1"
    return None


@pytest.mark.parametrize("flags, nested, expected", [
    ("fpu vmx sse", ("kvm_intel", "Y"), None),
    ("fpu svm sse", ("kvm_amd", "1"), None),
    ("fpu vmx sse", ("kvm_intel", "N"), "kvm_intel is not loaded with nested=1"),
    ("fpu svm sse", ("kvm_intel", "Y"), "kvm_amd is not loaded with nested=1"),
    ("fpu sse", ("kvm", "Y"), "the CPU has neither"),
    ("fpu vmx", None, "no /dev/kvm"),
])
def test_why_not(tmp_path, flags, nested, expected):
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: {flags}\n")
    if nested:
        (tmp_path / "device").touch()
        (tmp_path / nested[0] / "parameters").mkdir(parents=True)
        (tmp_path / nested[0] / "parameters" / "nested").write_text(f"{nested[1]}\n")
    reason = why_not(tmp_path / "device", tmp_path / "cpuinfo", tmp_path)
    assert reason is None if expected is None else reason.endswith(expected)


MISSING = why_not()
if MISSING:
    def test_nested_under_kvm():
        pytest.skip(MISSING)
else:
    @pytest.mark.parametrize("guest", guests.GUESTS, ids=lambda g: f"{g.name}-{KVM.name}")
    def test_guest(guest):
        reason = guests.skip_reason(guest, KVM)
        if reason:
            pytest.skip(reason)
        outcome = guests.boot(guest, KVM)
        try:
            skipped = guests.judge(guest, KVM, outcome)
        except guests.Verdict as verdict:
            pytest.fail(f"{verdict}\n{outcome.serial[-3000:]}\n{outcome.log[-1000:]}", pytrace=False)
        if skipped is not None:
            pytest.skip(skipped)

    @pytest.mark.parametrize("platform", [KVM.name])
    def test_linux(platform):
        text = test_parity.linux_runs(PLATFORMS[platform], test_parity.disc("kvm"))
        assert re.search(r"arch: (VMX|SVM)\b", text)
