"""A batch by parts: the gradient graph, what it is exact for, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from compiled_models import LeNet
from torch import nn

from cloud.compiler.compile import compile_module
from fedtier.artefact.accumulate import accumulated_step
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.manifest import GRADIENT_FILE
from fedtier.errors import ConfigError


def compiled(module, shape, classes, **options):
    return compile_module(
        module, name="parts", input_shape=shape, labels=[str(n) for n in range(classes)],
        **{"batch": 8, "microbatch": 2, "out": None} | options,
    ).artefact  # fmt: skip


def lenet(**options):
    torch.manual_seed(3)
    return compiled(LeNet(nn.ReLU, nn.MaxPool2d), (1, 28, 28), 10, smoothing=0.1, **options)


@pytest.mark.parametrize("microbatch", [1, 2, 4, 8])
def test_a_step_by_parts_is_the_whole_step_to_rounding(microbatch):
    artefact = lenet(microbatch=microbatch)
    rng = np.random.default_rng(1)
    x = rng.standard_normal((8, 1, 28, 28)).astype(np.float32)
    feed = {
        "w": artefact.initial(), "x": x, "y": rng.integers(0, 10, 8),
        "mu": np.asarray(0.5, np.float32),
    }  # fmt: skip
    loss, w = artefact.train_session().run(["loss", "w_next"], feed)
    in_parts = accumulated_step(artefact.gradient_session(), feed)
    by_parts = in_parts["w_next"]
    moved = np.linalg.norm(w - feed["w"])
    assert moved > 0.01
    # Two float32 orders of one sum, some 1e-6 of the gradient; w itself rounds to 1e-7 of it.
    assert np.linalg.norm(by_parts - w) <= 1e-5 * moved
    assert float(in_parts["loss"]) == pytest.approx(float(loss), rel=1e-6)
    assert by_parts.dtype == np.float32


def test_an_artefact_with_parts_is_written_and_read_back(tmp_path):
    artefact = lenet(out=tmp_path)
    assert (tmp_path / GRADIENT_FILE).exists()
    found = Artefact.load(tmp_path)
    assert found.manifest == artefact.manifest
    assert found.manifest.microbatch == 2


def test_without_parts_nothing_of_an_artefact_changes():
    artefact = lenet(microbatch=None)
    assert GRADIENT_FILE not in artefact.files
    assert b"microbatch" not in artefact.manifest.to_bytes()
    assert lenet().files["train.onnx"] == artefact.files["train.onnx"]


@pytest.mark.parametrize("microbatch", [0, -2, 3, 16])
def test_parts_that_do_not_make_up_a_batch_are_refused(microbatch):
    with pytest.raises(ConfigError, match=rf"microbatch = {microbatch} does not .* 1, 2, 4\."):
        lenet(microbatch=microbatch)


class Mixing(nn.Module):
    """Centres its features over the batch, as batch normalisation does."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(12, 6, bias=False), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = self.first(x)
        return self.last(torch.tanh(h - h.mean(0, keepdim=True)))


def test_a_model_whose_rows_see_one_another_is_refused_with_parts_and_compiles_without():
    torch.manual_seed(3)
    compiled(Mixing(), (12,), 3, microbatch=None)
    with pytest.raises(ConfigError, match=r"a row.s loss depends on others\. Leave microbatch"):
        compiled(Mixing(), (12,), 3)


@pytest.mark.parametrize(
    ("module", "options", "message"),
    [
        (nn.Linear(4, 2), {"momentum": 0.9}, "an optimiser other than plain descent"),
        (nn.Sequential(nn.Dropout(), nn.Linear(4, 2)), {}, "dropout"),
        (nn.Sequential(nn.BatchNorm1d(4), nn.Linear(4, 2)), {}, "running statistics"),
    ],
)
def test_what_no_parts_give_is_refused(module, options, message):
    with pytest.raises(ConfigError, match=message):
        compiled(module, (4,), 2, **options)
