"""A federation that learns numbers: a loss everywhere, an accuracy nowhere."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from cloud.compiler.compile import compile_module
from fedtier.errors import ConfigError

ROWS = 120
WEIGHTS = np.random.default_rng(1).normal(size=(4, 2))


@pytest.fixture(scope="module")
def artefact_dir(tmp_path_factory):
    directory = tmp_path_factory.mktemp("regression")
    torch.manual_seed(3)
    compile_module(
        nn.Linear(4, 2), name="line", input_shape=[4], labels=["height", "width"], batch=8,
        loss="mse", out=directory,
    )  # fmt: skip
    return directory


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
    """Numbers that hang together linearly, but for a noise of variance 0.01."""
    directory = tmp_path_factory.mktemp("lines")
    for seed, device in enumerate(("w-0", "w-1", "e-0", "held-out")):
        rng = np.random.default_rng(seed)
        x = rng.normal(size=(ROWS, 4))
        y = x @ WEIGHTS + rng.normal(scale=0.1, size=(ROWS, 2))
        np.savez(directory / f"{device}.npz", x=x.astype(np.float32), y=y.astype(np.float32))
    return directory


def test_a_linear_relation_is_found_and_reported_by_its_loss(testbed):
    bed = testbed(rounds=6, tau=(8, 2))
    bed.start_fleet()
    report = bed.run()
    assert (report["accuracy"], report["accuracy_held_out_worst"]) == (None, None)
    assert report["accuracy_devices"] == {"mean": None, "p10": None, "worst": None}
    # The noise alone costs 0.01; 96 steps on two outputs of four features come close to it.
    assert 0.005 < report["loss"] < 0.03
    assert 0.005 < report["loss_devices"] < 0.03
    rows = bed.rows(bed.directory / "run-1")
    assert rows[-1]["loss"] < rows[0]["loss"]
    assert {row["accuracy"] for row in rows} == {None}
    model = json.loads((bed.directory / "run-1" / "model.json").read_bytes())
    assert (model["loss"], model["labels"]) == ("mse", ["height", "width"])
    assert model["output"]["shape"] == [1, 2]
    assert "accuracy" not in bed.nodes["w-0"].log


def test_a_comparison_of_accuracies_is_refused_before_anything_starts(write_federation, tmp_path):
    out = tmp_path / "run"
    done = subprocess.run(
        [
            sys.executable, "-m", "fedtier", "demo", "--reference", "--out", str(out),
            "--federation", str(write_federation()),
        ],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == ConfigError.exit_code, done.stderr
    assert "--reference compares accuracies, and line, which is trained by mse" in done.stderr
    assert not out.exists()
