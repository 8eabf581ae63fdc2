"""What `fedtier new` writes trains as it stands, in real processes on the embedded broker.

Here with `.npz` files; the page that tests/system/test_bring_your_own.py follows does it with CSV.
"""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from fedtier.starter.write import write_starter


def test_a_new_federation_trains_unedited(tmp_path: Path):
    pytest.importorskip("torch", reason="this test needs the extra: pip install -e '.[torch]'")
    pytest.importorskip("iotcore", reason="this test needs the extra: pip install -e '.[embedded]'")
    for command in write_starter(tmp_path / "my", data="npz"):
        program, *arguments = shlex.split(command)
        assert program == "fedtier"
        more = ["--out", "run", "--broker", "embedded"] if arguments[0] == "demo" else []
        done = subprocess.run(
            [sys.executable, "-m", "fedtier", *arguments, *more],
            cwd=tmp_path / "my", capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        assert done.stderr == ""
    report = json.loads((tmp_path / "my" / "run" / "report.json").read_bytes())
    assert (report["devices"], report["rounds_trained"]) == (4, 12)
    # Three activities whose swings differ twofold and more: a person nobody trained on is
    # told apart nearly always, and chance is a third.
    assert report["accuracy"] > 0.8
