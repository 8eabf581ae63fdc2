"""docs/bring-your-own.md, done word for word: from CSV folders to a model, in processes."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from testbed import REPOSITORY

PAGE = REPOSITORY / "docs" / "bring-your-own.md"
FENCE = re.compile(r"^```(sh|diff)\n(.*?)^```", re.MULTILINE | re.DOTALL)
HEADER = "time,vibration,current,pressure,state"
DAYS = ("monday", "tuesday", "wednesday", "thursday")  # one state a day, in the order of STATES
NO_AGENT = "no agent serves here: this is the model it accepted last\n"
STATES = {  # how much it shakes, and the levels of current and pressure
    "off": (0.02, 0.0, 0.5),
    "idle": (0.05, 1.0, 1.0),
    "pumping": (0.1, 4.0, 2.5),
    "cavitating": (0.6, 3.0, 1.5),
}


def write_recordings(home: Path) -> None:
    """Recordings of five pumps as the page describes them, of many lengths."""
    for pump in range(1, 6):
        folder = home / "recordings" / f"pump-{pump}"
        folder.mkdir(parents=True)
        rng = np.random.default_rng(pump)
        for day, (state, (shake, current, pressure)) in zip(DAYS, STATES.items(), strict=True):
            count = int(rng.integers(350, 700))
            rows = rng.normal(0, 1, size=(count, 3)) * [shake, 0.2, 0.1] + [0, current, pressure]
            lines = [HEADER]
            for number, row in enumerate(rows):
                values = ",".join(f"{value:.3f}" for value in row)
                lines.append(f"{number / 50:.2f},{values},{state}")
            (folder / f"{day}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def apply_change(directory: Path, change: str) -> None:
    """What a reader does with a block of `-` and `+` lines: the file's name is on its first."""
    head, *lines = change.splitlines()
    file = directory / head.removeprefix("--- ")
    old = "".join(f"{line[1:]}\n" for line in lines if line[0] in "- ")
    new = "".join(f"{line[1:]}\n" for line in lines if line[0] in "+ ")
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{file.name} does not hold what the page shows:\n{old}"
    file.write_text(text.replace(old, new), encoding="utf-8")


def test_the_page_leads_from_csv_folders_to_a_trained_model(short_path):
    pytest.importorskip("torch", reason="this test needs the extra: pip install -e '.[torch]'")
    write_recordings(short_path)
    programs = short_path / "bin"
    programs.mkdir()
    fedtier = programs / "fedtier"
    fedtier.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m fedtier "$@"\n')
    fedtier.chmod(0o755)
    environment = {
        **os.environ,
        "HOME": str(short_path),
        "PATH": f"{programs}:{os.environ['PATH']}:/usr/sbin",
    }
    place, said = short_path, ""
    for kind, block in FENCE.findall(PAGE.read_text(encoding="utf-8")):
        if kind == "diff":
            apply_change(place, block)
            continue
        done = subprocess.run(
            ["sh", "-ec", f"{block}\npwd"],
            cwd=place, env=environment, capture_output=True, text=True, check=False,
        )  # fmt: skip
        expected = NO_AGENT if "agent predict" in block else ""
        assert (done.returncode, done.stderr) == (0, expected), (block, done.stdout, done.stderr)
        *_, said, last = ["", *done.stdout.splitlines()]
        place = Path(last)
    assert place == short_path / "pumps"
    report = json.loads((place / "runs" / "demo-2" / "report.json").read_bytes())
    assert (report["devices"], report["federation"]) == (4, "example")
    assert report["accuracy_held_out_worst"]["group"] == "pump-5"
    # The four states lie far apart in all three channels; chance is a quarter.
    assert report["accuracy"] > 0.8
    # Of what the last block shows: the number, the class, how likely, and the model.
    assert re.fullmatch(r"0  off  [0-9.]+ %  \(round [0-9]+, [0-9a-f]{12}, float32\)", said)
