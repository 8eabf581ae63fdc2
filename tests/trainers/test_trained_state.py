"""What an optimiser keeps between steps, by both trainers: in, out, and addressed by the task."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from cloud.compiler.compile import compile_module
from edge_agent.graph_process import GraphProcess
from edge_agent.trainer_onnx import OnnxTrainer
from edge_agent.trainer_torch import TorchTrainer
from fedtier.artefact.manifest import TRAIN_FILE
from fedtier.artefact.schedule import Schedule
from fedtier.artefact.trainer import TrainTask
from fedtier.data.examples import Examples
from fedtier.errors import ConfigError
from fedtier.ids import IterationPath, NodeId

EVERYTHING = {
    "momentum": 0.9,
    "nesterov": True,
    "weight_decay": 1e-2,
    "prox": 0.1,
    "correction": True,
}


class Net(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


class Regularised(nn.Sequential):
    """With statistics that no optimiser moves, and masks that a device draws."""

    def __init__(self):
        super().__init__(
            nn.Linear(6, 8), nn.BatchNorm1d(8), nn.Tanh(), nn.Dropout(0.25), nn.Linear(8, 3)
        )


def compiled(factory=Net, **options):
    torch.manual_seed(3)
    return compile_module(
        factory(), name="net", input_shape=[6], labels=list("abc"), batch=4, out=None, **options
    ).artefact


def examples():
    rng = np.random.default_rng(5)
    x = rng.standard_normal((20, 6)).astype(np.float32)
    return Examples(x=x, y=rng.integers(0, 3, 20))


def task(artefact, *, steps=5, path="r1.0", **given):
    return TrainTask(
        model=artefact.initial(),
        seed=11,
        path=IterationPath.parse(path),
        node=NodeId("d1"),
        steps=steps,
        first_step=0,
        round_steps=10,
        schedule=Schedule(kind="constant", mu=0.1),
        **given,
    )


def train(trainer, given):
    return trainer.train(given, examples(), cancelled=lambda: False)


def drawn(artefact, seed):
    rng = np.random.default_rng(seed)
    return rng.standard_normal(artefact.manifest.parameters).astype(np.float32) / 10


@pytest.mark.parametrize("factory", [Net, Regularised])
def test_the_compiled_trainer_and_the_oracle_agree_on_every_term(factory):
    artefact = compiled(factory, **EVERYTHING)
    given = task(artefact, velocity=drawn(artefact, 1), correction=drawn(artefact, 2))
    ours = train(OnnxTrainer(artefact), given)
    oracle = train(TorchTrainer(factory, artefact.manifest), given)
    # Smooth activations, values of about 1, five steps: some ten float32 roundings each, which a
    # division by the deviation of four rows makes a few times larger.
    atol = 2e-6 if factory is Net else 1e-5
    np.testing.assert_allclose(ours.model, oracle.model, rtol=0, atol=atol)
    np.testing.assert_allclose(ours.velocity, oracle.velocity, rtol=0, atol=atol)
    assert ours.loss_sum == pytest.approx(oracle.loss_sum, rel=1e-5)


def test_without_a_velocity_training_starts_at_rest():
    artefact = compiled(momentum=0.9)
    zero = np.zeros(artefact.manifest.parameters, np.float32)
    trainer = OnnxTrainer(artefact)
    first = train(trainer, task(artefact))
    again = train(trainer, task(artefact, velocity=zero))
    assert first.model.tobytes() == again.model.tobytes()
    assert np.linalg.norm(first.velocity) > 0
    assert not zero.any(), "what a task gives is never written to"


def test_a_velocity_that_is_given_back_goes_on_where_it_was():
    artefact = compiled(momentum=0.9)
    trainer = OnnxTrainer(artefact)
    moved = train(trainer, task(artefact))
    reset = train(trainer, replace(task(artefact, path="r1.1"), model=moved.model))
    carried = train(
        trainer, replace(task(artefact, path="r1.1"), model=moved.model, velocity=moved.velocity)
    )
    assert np.linalg.norm(carried.model - reset.model) > 1e-3


def test_the_anchor_is_the_iterations_starting_model():
    near, free = compiled(prox=5.0), compiled()
    pulled, loose = (train(OnnxTrainer(a), task(a, steps=10)) for a in (near, free))
    start = free.initial()
    assert np.linalg.norm(pulled.model - start) < 0.7 * np.linalg.norm(loose.model - start)
    one, other = (train(OnnxTrainer(a), task(a, steps=1)) for a in (near, free))
    assert one.model.tobytes() == other.model.tobytes(), "at the anchor itself nothing pulls"


def test_without_momentum_there_is_no_velocity():
    artefact = compiled()
    assert train(OnnxTrainer(artefact), task(artefact)).velocity is None


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("velocity", r"d1 r1\.0: the task gives a velocity.*Compile it with momentum"),
        ("correction", r"the task gives a correction.*Compile it with correction"),
    ],
)
def test_a_vector_that_the_artefact_does_not_take_is_refused(given, message):
    artefact = compiled()
    vector = {given: drawn(artefact, 1)}
    with pytest.raises(ConfigError, match=message):
        train(OnnxTrainer(artefact), task(artefact, **vector))


def test_steps_that_the_graph_process_does_together_give_the_same_bits_one_by_one():
    artefact = compiled(Regularised, **EVERYTHING)
    given = task(artefact, steps=9, velocity=drawn(artefact, 1), correction=drawn(artefact, 2))
    here = train(OnnxTrainer(artefact), given)
    graphs = GraphProcess(artefact.files, keep_s=60)
    graph = graphs.graph(TRAIN_FILE)
    for _ in range(2):  # at first one step, which is timed, and then the others
        there = train(OnnxTrainer(artefact, graph=graph), given)
        assert there.model.tobytes() == here.model.tobytes()
        assert there.velocity.tobytes() == here.velocity.tobytes()
        assert there.loss_sum == here.loss_sum
    graphs.end()
    assert graph.stretch > 1
