"""On the same batches both trainers learn alike: nearer to one another than two seeds are."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.learning_curves import compare, distance, end_of
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
    found = compare(ours, theirs)
    # Found below 1e-4 for both: a dozen steps leave a rounding little time to grow.
    assert found["ends"]["ratio"] < 0.1
    assert found["curves"]["ratio"] < 0.1


# The yardstick


def test_the_end_is_the_mean_of_the_last_fifth():
    assert end_of(range(10)) == 8.5
    assert end_of([3.0, 4.0]) == 4.0


def test_curves_are_as_far_apart_as_their_root_mean_square_difference():
    assert distance([0.0, 0.0], [3.0, 4.0]) == pytest.approx(12.5**0.5)


def test_trainers_are_compared_at_one_seed_and_seeds_within_torch():
    theirs = [[1.0] * 5, [2.0] * 5, [4.0] * 5]
    ours = [[1.5] * 5, [2.0] * 5, [4.0] * 5]
    found = compare(ours, theirs)
    assert found["curves"] == {"apart": 0.5, "seed_noise": 1.0, "ratio": 0.5}
    assert found["ends"]["apart"] == 0.5
    assert found["ends"]["seed_noise"] == pytest.approx(np.std([1, 2, 4], ddof=1))
