"""On the same batches both trainers learn alike: nearer to one another than two seeds are."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from benchmarks.learning_curves import compare, end_of
from benchmarks.learning_nets import GruNet, LeNet
from cloud.compiler.compile import compile_module
from edge_agent.trainer_onnx import OnnxTrainer
from edge_agent.trainer_torch import TorchTrainer
from fedtier.artefact.schedule import Schedule
from fedtier.artefact.trainer import TrainTask
from fedtier.data.examples import Examples
from fedtier.ids import IterationPath, NodeId

STEPS = 12
NETS = {"lenet": (LeNet, (1, 28, 28), 0.1), "gru": (GruNet, (6, 8), 0.5)}


@pytest.fixture(autouse=True)
def _one_thread():
    """Threads of torch that wait for one another make such small steps slow on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def examples(shape):
    """Noise around one pattern per class."""
    rng = np.random.default_rng(1)
    y = rng.integers(0, 7, 200)
    patterns = rng.standard_normal((7, *shape))
    return Examples(x=(patterns[y] + rng.standard_normal((200, *shape))).astype(np.float32), y=y)


def curve(trainer, model, given, *, seed, mu):
    """The training loss of every step."""
    losses = []
    for step in range(STEPS):
        task = TrainTask(
            model=model, seed=seed, path=IterationPath((step,)), node=NodeId("d"), steps=1,
            first_step=step, round_steps=STEPS, schedule=Schedule(kind="constant", mu=mu),
        )  # fmt: skip
        trained = trainer.train(task, given, cancelled=lambda: False)
        model = trained.model
        losses.append(trained.loss_sum)
    return losses


@pytest.mark.parametrize("name", NETS)
def test_the_same_seed_by_the_other_trainer_is_nearer_than_another_seed(name):
    net, shape, mu = NETS[name]
    torch.manual_seed(1)
    labels = list("abcdefghij"[: 10 if net is LeNet else 7])
    artefact = compile_module(
        net(), name=name, input_shape=shape, labels=labels, batch=8, out=None
    ).artefact
    given = examples(shape)
    ours, theirs = (
        [curve(trainer, artefact.initial(), given, seed=seed, mu=mu) for seed in (1, 2, 3)]
        for trainer in (OnnxTrainer(artefact), TorchTrainer(net, artefact.manifest))
    )
    seeds = min(rms(a, b) for a, b in combinations(theirs, 2))
    # A dozen steps leave a rounding, 1e-7 of a loss, little time to grow.
    assert max(rms(a, b) for a, b in zip(ours, theirs, strict=True)) < 1e-3 * seeds


def rms(first, second):
    """Root mean square difference of two curves."""
    return float(np.sqrt(np.mean((np.asarray(first) - np.asarray(second)) ** 2)))


# The yardstick


def test_the_end_is_the_mean_of_the_last_fifth():
    assert end_of(range(10)) == 8.5
    assert end_of([3.0, 4.0]) == 4.0


def test_a_trainer_that_is_worse_is_told_from_seeds_that_differ():
    theirs = [[1.0] * 5, [2.0] * 5, [4.0] * 5]
    found = compare([[one + 0.5 for one in curve] for curve in theirs], theirs)
    error = np.std([1, 2, 4], ddof=1) * (2 / 3) ** 0.5  # of a difference of two means of three
    for what in ("ends", "curves"):
        assert found[what]["apart"] == 0.5
        assert found[what]["standard_errors"] == pytest.approx(0.5 / error)


def test_curves_that_only_change_places_between_seeds_are_alike():
    theirs = [[1.0] * 5, [2.0] * 5, [4.0] * 5]
    found = compare(theirs[::-1], theirs)
    assert found["ends"]["standard_errors"] == found["curves"]["standard_errors"] == 0
