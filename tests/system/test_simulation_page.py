"""What the page on simulation tells to type works as it stands."""

from __future__ import annotations

import re
import subprocess
import sys

from testbed import REPOSITORY

PAGE = (REPOSITORY / "docs" / "simulation.md").read_text(encoding="utf-8")


def block(language: str) -> str:
    (found,) = re.findall(rf"```{language}\n(.*?)```", PAGE, re.S)
    return found


def test_the_lines_of_python_simulate_a_federation(write_federation):
    file = write_federation(rounds=3)
    done = subprocess.run(
        [sys.executable, "-c", block("python")],
        cwd=file.parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *_, last = done.stdout.splitlines()
    assert last.startswith("1 "), "the second of two rounds"


def test_the_tables_are_taken_as_they_stand(tmp_path):
    shipped = REPOSITORY / "firmware_configs" / "federations" / "wearables-3-tier.toml"
    file = tmp_path / "federation.toml"
    file.write_text(shipped.read_text(encoding="utf-8") + "\n" + block("toml"))
    checked = subprocess.run(
        [sys.executable, "-m", "fedtier", "config", "check", str(file)],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stderr
