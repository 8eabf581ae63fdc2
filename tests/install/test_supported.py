"""What cannot run fedtier is told so before pip downloads or builds anything."""

from __future__ import annotations

import ast
import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
SUPPORTED = REPOSITORY / "requirements" / "supported.py"

complaint = runpy.run_path(str(SUPPORTED))["complaint"]
HERE = {
    "system": "linux", "machine": "aarch64", "pointer_bits": 64, "version": (3, 11),
    "python": "/usr/bin/python3",
}  # fmt: skip


def of(**differs):
    return complaint(**{**HERE, **differs})


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
@pytest.mark.parametrize("version", [(3, 11), (3, 14), (4, 0)])
def test_what_is_supported_is_let_pass(machine, version):
    assert of(machine=machine, version=version) == ""


@pytest.mark.parametrize("machine", ["armv6l", "armv7l", "armv8l"])
def test_32_bit_arm_is_named_with_what_to_install_and_on_which_boards(machine):
    reason = of(machine=machine, pointer_bits=32)
    for part in (f"32-bit ARM ({machine})", "not supported", "(64-bit)", "Zero 2 W"):
        assert part in reason


def test_a_32_bit_python_on_a_64_bit_kernel_is_named_as_such():
    reason = of(pointer_bits=32)
    assert reason.startswith("/usr/bin/python3 is a 32-bit program, though the kernel is aarch64")
    assert "Install a 64-bit system" in reason


@pytest.mark.parametrize("machine", ["riscv64", "i686", "ppc64le"])
def test_other_machines_are_told_which_are_supported(machine):
    assert of(machine=machine).startswith(f"{machine} is not supported")
    assert "x86_64 and aarch64" in of(machine=machine)


def test_an_old_python_is_told_which_is_needed():
    assert "/usr/bin/python3 is Python 3.9, not 3.11 or newer" in of(version=(3, 9))


def test_other_systems_are_not_judged():
    assert of(system="darwin", machine="arm64") == ""


def test_a_python_too_old_for_the_rest_can_read_it():
    ast.parse(SUPPORTED.read_text(encoding="utf-8"), feature_version=(3, 7))


@pytest.fixture
def on_armv7(tmp_path: Path) -> dict[str, str]:
    """An environment whose Python believes in another kernel, and whose pip must not be run."""
    site = tmp_path / "site"
    (site / "pip").mkdir(parents=True)
    (site / "pip" / "__init__.py").write_text('raise SystemExit("pip was run")\n')
    (site / "sitecustomize.py").write_text(
        "import platform\nplatform.machine = lambda: 'armv7l'\n", encoding="utf-8"
    )
    return {**os.environ, "PYTHONPATH": str(site)}


def test_the_file_by_itself_refuses_with_exit_code_1(on_armv7):
    command = [sys.executable, str(SUPPORTED)]
    done = subprocess.run(command, env=on_armv7, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("error: this is 32-bit ARM (armv7l)")
    here = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (here.returncode, here.stdout, here.stderr) == (0, "", "")


@pytest.mark.parametrize("target", ["demo", "setup", "test"])
def test_make_refuses_before_it_makes_or_downloads_anything(on_armv7, tmp_path, target):
    make = shutil.which("make")
    if make is None:
        pytest.skip("this test needs make: apt-get install -y make")
    variables = (f"VENV={tmp_path / 'venv'}", f"CACHE={tmp_path / 'cache'}")
    done = subprocess.run(
        [make, "-C", str(REPOSITORY), f"PYTHON={sys.executable}", *variables, target],
        env=on_armv7, capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert done.returncode == 2
    assert "error: this is 32-bit ARM (armv7l)" in done.stderr
    assert "pip was run" not in done.stdout + done.stderr
    assert not (tmp_path / "venv").exists()
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("page", ["README.md", "firmware_configs/README.md"])
def test_the_lines_for_a_machine_of_ones_own_ask_before_pip(page):
    lines = (REPOSITORY / page).read_text(encoding="utf-8").splitlines()
    asks = next(n for n, line in enumerate(lines) if "requirements/supported.py" in line)
    installs = [n for n, line in enumerate(lines) if "/bin/pip install" in line]
    assert installs
    assert asks < min(installs)
