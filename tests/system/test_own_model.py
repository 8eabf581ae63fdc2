"""A model of one's own, from torch to a run directory: the example of docs/models.md."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from testbed import REPOSITORY

from fedtier.config.federation import load_federation
from fedtier.data.load import load_held_out

MODELS = REPOSITORY / "docs" / "models.md"
USE = REPOSITORY / "docs" / "run-directory.md"
ROWS = 640
STATES = {"ok": 0.2, "worn": 1.0, "broken": 3.0}
"""The classes, with how strongly the housing shakes, in g."""


def blocks(page: Path, kind: str) -> list[str]:
    """The fenced blocks of a kind, in order."""
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{kind}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def write_sessions(folder: Path, head: str, *, seed: int) -> None:
    """A session of each state: gravity on az, and a shaking whose strength is the state's."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for state, strength in STATES.items():
        shaking = rng.normal(scale=strength, size=(ROWS, 3))
        shaking[:, 2] += 1.0
        rows = [",".join(f"{value:.3f}" for value in row) for row in shaking]
        lines = [f"{number / 100:.2f},{row},{state}" for number, row in enumerate(rows)]
        (folder / f"{state}.csv").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def example(tmp_path_factory) -> Path:
    """The page's directory after its commands, word for word but for where they are installed."""
    directory = tmp_path_factory.mktemp("machines")
    (module,) = blocks(MODELS, "python")
    (preprocessing,) = blocks(MODELS, "json")
    (federation,) = blocks(MODELS, "toml")
    (csv,) = blocks(MODELS, "csv")
    (directory / "machine_net.py").write_text(module, encoding="utf-8")
    (directory / "preprocessing.json").write_text(preprocessing, encoding="utf-8")
    (directory / "federation.toml").write_text(federation, encoding="utf-8")
    for number in range(1, 5):
        write_sessions(
            directory / "readings" / f"machine-{number}", csv.splitlines()[0], seed=number
        )
    for block in blocks(MODELS, "sh"):
        for line in block.replace("\\\n", " ").splitlines():
            program, *arguments = shlex.split(line)
            assert program == "fedtier"
            done = subprocess.run(
                [sys.executable, "-m", "fedtier", *arguments],
                cwd=directory, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert done.returncode == 0, (line, done.stdout, done.stderr)
            assert "warning" not in done.stderr, done.stderr
    return directory


def test_the_example_trains_a_model_that_tells_the_states_apart(example):
    report = json.loads((example / "run" / "report.json").read_bytes())
    assert (report["devices"], report["rounds_trained"]) == (3, 10)
    # Strengths of 0.2, 1 and 3 g are far apart, and the fourth machine shakes as the others do.
    assert report["accuracy"] > 0.8
    held = json.loads((example / "models" / "machine" / "manifest.json").read_bytes())
    assert (held["name"], held["labels"]) == ("machine-net", list(STATES))


def test_the_lines_that_use_the_model_do_what_the_evaluation_does(example, monkeypatch, capsys):
    (lines,) = blocks(USE, "python")
    monkeypatch.chdir(example)
    names: dict[str, Any] = {}
    exec(lines, names)
    assert capsys.readouterr().out == "readings/machine-4/broken.csv broken\n"
    model = names["model"]
    assert (model["name"], model["labels"]) == ("machine-net", list(STATES))
    assert model["fitted_per_device"] == ["standardise"]
    federation = load_federation(example / "federation.toml")
    held_out = load_held_out(federation.evaluation, model["preprocessing"], where="here")
    ((group, examples),) = held_out.groups
    last = (ROWS - 64) // 32  # of the first session, whose windows come first
    assert (group, int(examples.y[last])) == ("machine-4", model["labels"].index("broken"))
    # Both standardise in float64 and round once; numpy's std may sum in another order.
    np.testing.assert_allclose(names["window"][0], examples.x[last], rtol=1e-6, atol=1e-6)
