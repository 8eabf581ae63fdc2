"""Losses: compiled as torch has them, and scored for what they are."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from cloud.compiler.compile import compile_module
from cloud.compiler.gate import ERROR_MAX, check_gradient
from edge_agent.trainer_onnx import OnnxTrainer
from edge_agent.trainer_torch import TorchTrainer
from fedtier.artefact.evaluate import Score, predict, score
from fedtier.artefact.manifest import ArtefactManifest
from fedtier.artefact.schedule import Schedule
from fedtier.artefact.trainer import TrainTask
from fedtier.data.examples import Examples
from fedtier.errors import ConfigError
from fedtier.ids import IterationPath, NodeId

TORCHS = {
    "mse": functional.mse_loss,
    "bce": functional.binary_cross_entropy_with_logits,
}


class Net(nn.Sequential):
    """6 numbers to 3."""

    def __init__(self):
        super().__init__(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


class Images(nn.Sequential):
    """An image to an image of two channels."""

    def __init__(self):
        super().__init__(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 2, 1))


class Words(nn.Sequential):
    """Five numbers that name something to three."""

    def __init__(self):
        super().__init__(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(20, 3))


class Squashed(Net):
    """The outputs of ``Net`` after one more operation, in a shape of their own or not."""

    def __init__(self, squash, *, reshaped=False):
        super().__init__()
        self.squash, self.reshaped = squash, reshaped

    def forward(self, x):
        found = self.squash(super().forward(x))
        return found.reshape(-1, 1, 3).flatten(1) if self.reshaped else found


SOFTMAX, LOG_SOFTMAX = nn.Softmax(dim=1), nn.LogSoftmax(dim=1)


@pytest.mark.parametrize(
    ("kind", "squash", "warned"),
    [
        ("cross_entropy", SOFTMAX, "output is that of softmax, and the loss cross_entropy applies"),
        ("cross_entropy", LOG_SOFTMAX, ""),  # of a logarithm of shares it is the same once more
        ("cross_entropy", nn.Sigmoid(), ""),
        ("cross_entropy", nn.Identity(), ""),
        ("bce", nn.Sigmoid(), "output is that of sigmoid, and the loss bce applies sigmoid itself"),
        ("bce", nn.Identity(), ""),
        ("mse", SOFTMAX, ""),
        ("mse", nn.Sigmoid(), ""),
    ],
)
@pytest.mark.parametrize("reshaped", [False, True])
def test_an_output_squashed_before_a_loss_that_squashes_is_warned_of(
    kind, squash, warned, reshaped
):
    found = compile_module(
        Squashed(squash, reshaped=reshaped), name="net", input_shape=[6], labels=list("abc"),
        batch=4, loss=kind, out=None,
    )  # fmt: skip
    assert len(found.warnings) == bool(warned)
    assert all(warned in warning for warning in found.warnings)


def compiled(factory, kind, *, shape, labels, **options):
    torch.manual_seed(3)
    module = factory()
    artefact = compile_module(
        module, name="net", input_shape=shape, labels=list(labels), batch=4, evaluate_batch=6,
        loss=kind, out=None, **options,
    ).artefact  # fmt: skip
    return module, artefact


def examples(count=20, *, kind):
    rng = np.random.default_rng(5)
    x = rng.standard_normal((count, 6)).astype(np.float32)
    y = np.stack([x[:, 0], x[:, 1] * x[:, 2], x[:, 3:].sum(axis=1)], axis=1)
    return Examples(x=x, y=(y > 0).astype(np.float32) if kind == "bce" else y)


def task(artefact, *, steps):
    return TrainTask(
        model=artefact.initial(), seed=11, path=IterationPath.parse("r0.0"), node=NodeId("d1"),
        steps=steps, first_step=0, round_steps=steps, schedule=Schedule(kind="constant", mu=0.05),
    )  # fmt: skip


@pytest.mark.parametrize("kind", ["mse", "bce"])
@pytest.mark.parametrize(
    ("factory", "shape", "labels", "target"),
    [(Net, [6], "abc", (3,)), (Images, [1, 5, 4], "ab", (2, 5, 4))],
)
def test_a_compiled_loss_is_torchs_and_so_is_its_gradient(kind, factory, shape, labels, target):
    module, artefact = compiled(factory, kind, shape=shape, labels=labels)
    assert check_gradient(module, artefact).gradient <= ERROR_MAX
    manifest = artefact.manifest
    assert (manifest.target_shape, manifest.output_shape) == (target, target)
    assert ArtefactManifest.parse(manifest.to_bytes(), where="here") == manifest
    rng = np.random.default_rng(1)
    x = rng.standard_normal((4, *shape)).astype(np.float32)
    y = rng.random((4, *target)).astype(np.float32)
    feed = {"w": artefact.initial(), "x": x, "y": y, "mu": np.asarray(0.1, np.float32)}
    (loss,) = artefact.train_session().run(["loss"], feed)
    with torch.no_grad():
        expected = TORCHS[kind](module(torch.from_numpy(x)), torch.from_numpy(y))
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)  # a few float32 roundings


@pytest.mark.parametrize("kind", ["mse", "bce"])
def test_numbers_are_learnt_of_numbers_that_name_something(kind):
    _, artefact = compiled(
        Words, kind, shape=[5], labels="abc", input_dtype="int64", vocabulary=9, momentum=0.5
    )
    rng = np.random.default_rng(5)
    x = rng.integers(0, 9, (20, 5))
    y = np.stack([x[:, 0] > 4, x[:, 1] > x[:, 2], x[:, 3] > 4], axis=1).astype(np.float32)
    given = Examples(x=x, y=y)
    start, trained = task(artefact, steps=20), []
    for trainer in (OnnxTrainer(artefact), TorchTrainer(Words, artefact.manifest)):
        trained.append(trainer.train(start, given, cancelled=lambda: False).model)
    # Smooth, values of about 1, twenty steps of a few roundings each.
    np.testing.assert_allclose(trained[0], trained[1], rtol=0, atol=1e-5)
    session = artefact.evaluate_session()
    before, after = (score(session, model, given, kind=kind) for model in (start.model, trained[0]))
    assert after.loss < before.loss


def test_logits_of_any_size_have_a_finite_binary_cross_entropy():
    _, artefact = compiled(Net, "bce", shape=[6], labels="abc")
    parameters = artefact.layout.unflatten(np.zeros_like(artefact.initial()))
    parameters["2.bias"][:] = [1e4, -1e4, 0]
    feed = {
        "w": artefact.layout.flatten(parameters),
        "x": np.zeros((4, 6), np.float32),
        "y": np.tile(np.array([1, 1, 1], np.float32), (4, 1)),
        "mu": np.asarray(0.1, np.float32),
    }
    loss, w = artefact.train_session().run(["loss", "w_next"], feed)
    assert float(loss) == pytest.approx((0 + 1e4 + math.log(2)) / 3, rel=1e-6)
    assert np.isfinite(w).all()


@pytest.mark.parametrize("kind", ["mse", "bce"])
def test_both_trainers_lower_a_loss_alike(kind):
    _, artefact = compiled(Net, kind, shape=[6], labels="abc", momentum=0.9)
    given, start = examples(kind=kind), task(artefact, steps=100)
    trained = [
        trainer.train(start, given, cancelled=lambda: False)
        for trainer in (OnnxTrainer(artefact), TorchTrainer(Net, artefact.manifest))
    ]
    # Smooth, values of about 1, a hundred steps of a few roundings each.
    np.testing.assert_allclose(trained[0].model, trained[1].model, rtol=0, atol=1e-4)
    session = artefact.evaluate_session()
    before, after = (
        score(session, model, given, kind=kind) for model in (start.model, trained[0].model)
    )
    assert after.loss < 0.7 * before.loss


def test_mean_squares_are_scored_without_an_accuracy():
    _, artefact = compiled(Net, "mse", shape=[6], labels="abc")
    session, given = artefact.evaluate_session(), examples(kind="mse")
    found = score(session, artefact.initial(), given, kind="mse")
    outputs = predict(session, artefact.initial(), given.x).astype(float)
    each = ((outputs - given.y) ** 2).mean(axis=1)
    assert (found.examples, found.judged, found.correct, found.accuracy) == (20, 0, 0, None)
    assert found.loss_units == sum(round(loss * 2**20) for loss in each.tolist())
    empty = Examples(x=given.x[:0], y=given.y[:0])
    assert score(session, artefact.initial(), empty, kind="mse") == Score(
        examples=0, correct=0, loss_units=0
    )


def test_binary_cross_entropy_is_judged_output_by_output():
    _, artefact = compiled(Net, "bce", shape=[6], labels="abc")
    session, given = artefact.evaluate_session(), examples(kind="bce")
    found = score(session, artefact.initial(), given, kind="bce")
    logits = predict(session, artefact.initial(), given.x).astype(float)
    share = 1 / (1 + np.exp(-logits))
    each = -(given.y * np.log(share) + (1 - given.y) * np.log(1 - share)).mean(axis=1)
    assert (found.examples, found.judged) == (20, 60)
    assert found.correct == int(((share >= 0.5) == (given.y == 1)).sum())
    # The last bits of exp and log may tip a rounding of each example.
    assert abs(found.loss_units - each.sum() * 2**20) <= 20
    assert found.accuracy == found.correct / 60


@pytest.mark.parametrize(
    ("kind", "labels", "options", "message"),
    [
        ("hinge", "abc", {}, "loss 'hinge' is unknown. Use one of cross_entropy, mse, bce"),
        ("mse", "abc", {"smoothing": 0.1}, "smoothing = 0.1 is of cross_entropy, the loss is mse"),
        ("mse", "ab", {}, r"shape \(4, 3\), the labels ask for \(4, 2\).*second axis"),
    ],
)
def test_a_loss_that_cannot_be_is_named(kind, labels, options, message):
    with pytest.raises(ConfigError, match=message):
        compiled(Net, kind, shape=[6], labels=labels, **options)


def test_an_output_without_an_axis_for_names_is_refused():
    with pytest.raises(ConfigError, match=r"shape \(4,\), the labels ask for \(4, 1\)"):
        compiled(
            lambda: nn.Sequential(nn.Linear(6, 1), nn.Flatten(0)), "mse", shape=[6], labels="a"
        )
