"""Both trainers: the same steps, the same bits wherever they run, and clear refusals."""

from __future__ import annotations

import hashlib
import itertools
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import fedtier.demo
from edge_agent.trainer_onnx import OnnxTrainer
from edge_agent.trainer_torch import TorchTrainer
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.schedule import Schedule
from fedtier.artefact.trainer import TrainTask
from fedtier.data.examples import Examples
from fedtier.demo.net import ImuNet
from fedtier.errors import ConfigError, TrainingError
from fedtier.ids import IterationPath, NodeId

SHIPPED = Path(fedtier.demo.__file__).parent / "artefact"


@pytest.fixture(scope="module")
def artefact():
    return Artefact.load(SHIPPED)


@pytest.fixture(scope="module")
def onnx_trainer(artefact):
    return OnnxTrainer(artefact)


@pytest.fixture(scope="module")
def torch_trainer(artefact):
    return TorchTrainer(ImuNet, artefact.manifest)


def examples(count=100):
    rng = np.random.default_rng(7)
    y = rng.integers(0, 7, count)
    x = rng.standard_normal((count, 6, 128)).astype(np.float32)
    x += np.sin(np.arange(128) * (1 + y[:, None]) / 9).astype(np.float32)[:, None, :]
    return Examples(x=x, y=y)


def task(artefact, *, steps=4, mu=0.05, first_step=0, round_steps=100, path="r3.1"):
    return TrainTask(
        model=artefact.initial(),
        seed=11,
        path=IterationPath.parse(path),
        node=NodeId("d1"),
        steps=steps,
        first_step=first_step,
        round_steps=round_steps,
        schedule=Schedule(kind="cosine", mu=mu),
    )


def never():
    return False


def test_the_compiled_trainer_and_the_oracle_agree(artefact, onnx_trainer, torch_trainer):
    given = task(artefact)
    ours = onnx_trainer.train(given, examples(), cancelled=never)
    oracle = torch_trainer.train(given, examples(), cancelled=never)
    moved = np.linalg.norm(oracle.model - given.model)
    assert moved > 1e-2
    # One gradient errs by some 1e-6 of its norm in either; a ReLU at its kink may add one element
    # of some 30,000, and four steps let that grow a little.
    assert np.linalg.norm(ours.model - oracle.model) <= 1e-3 * moved
    assert ours.loss_sum == pytest.approx(oracle.loss_sum, rel=1e-4)
    assert (ours.steps, ours.examples_seen) == (oracle.steps, oracle.examples_seen) == (4, 128)
    assert ours.model.dtype == oracle.model.dtype == np.float32


def test_training_lowers_the_loss(artefact, onnx_trainer):
    start = onnx_trainer.train(task(artefact, steps=1), examples(), cancelled=never)
    trained = onnx_trainer.train(task(artefact, steps=60), examples(), cancelled=never)
    assert trained.loss_sum / 60 < 0.9 * start.loss_sum


def test_a_task_leaves_its_model_untouched_and_can_be_done_again(artefact, onnx_trainer):
    given = task(artefact)
    first = onnx_trainer.train(given, examples(), cancelled=never)
    onnx_trainer.train(task(artefact, path="r9.0"), examples(), cancelled=never)
    again = onnx_trainer.train(given, examples(), cancelled=never)
    assert first.model.tobytes() == again.model.tobytes()
    assert first.loss_sum == again.loss_sum
    assert given.model.tobytes() == artefact.initial().tobytes()


def test_every_part_of_the_address_changes_the_result(artefact, onnx_trainer):
    given = task(artefact, steps=1)
    others = [
        given,
        replace(given, seed=12),
        replace(given, node=NodeId("d2")),
        replace(given, path=IterationPath.parse("r3.2")),
        replace(given, first_step=50),  # another step size
    ]
    models = [onnx_trainer.train(t, examples(), cancelled=never).model.tobytes() for t in others]
    assert len(set(models)) == len(models)


def test_the_schedule_runs_on_from_the_iterations_before(artefact, onnx_trainer):
    early = onnx_trainer.train(task(artefact, steps=1), examples(), cancelled=never)
    late = onnx_trainer.train(task(artefact, steps=1, first_step=99), examples(), cancelled=never)
    start = artefact.initial().astype(np.float64)
    share = np.linalg.norm(late.model - start) / np.linalg.norm(early.model - start)
    schedule = Schedule(kind="cosine", mu=0.05)
    # The same gradient times another mu; each model is rounded once to float32.
    assert share == pytest.approx(schedule.mu_at(99, 100) / schedule.mu_at(0, 100), rel=1e-3)


def test_fewer_examples_than_a_batch_are_taken_around_again(artefact, onnx_trainer):
    trained = onnx_trainer.train(task(artefact), examples(5), cancelled=never)
    assert np.isfinite(trained.model).all()
    assert trained.examples_seen == 4 * 32


PROGRAM = """
import hashlib, json, sys
sys.path[:0] = json.loads(sys.argv[1])
from test_trainers import artefact_digest
print(artefact_digest())
"""


def artefact_digest():
    """Train for a few steps from scratch; the digest of what came of it."""
    artefact = Artefact.load(SHIPPED)
    trained = OnnxTrainer(artefact).train(task(artefact, steps=6), examples(), cancelled=never)
    return hashlib.sha256(trained.model.tobytes()).hexdigest()


def test_another_process_finds_the_same_bits():
    paths = json.dumps([str(Path(__file__).parent), *sys.path])
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM, paths],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert found.stdout.strip() == artefact_digest()


@pytest.mark.parametrize("name", ["onnx_trainer", "torch_trainer"])
def test_cancelling_is_noticed_before_the_next_step(artefact, name, request):
    asked = itertools.count()
    trainer = request.getfixturevalue(name)
    assert trainer.train(task(artefact), examples(), cancelled=lambda: next(asked) == 2) is None
    assert next(asked) == 3


@pytest.mark.parametrize("name", ["onnx_trainer", "torch_trainer"])
def test_what_is_not_finite_is_an_error_that_names_the_step(artefact, name, request):
    trainer = request.getfixturevalue(name)
    # Group normalisation keeps even enormous steps finite, so the start must be bad.
    given = task(artefact)
    given.model[-7:] = [3e38, -3e38, 3e38, -3e38, 0, 0, 0]
    with pytest.raises(TrainingError, match=r"d1 r3\.1: the loss is not finite after local step 1"):
        trainer.train(given, examples(), cancelled=never)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            Examples(x=np.zeros((0, 6, 128), np.float32), y=np.zeros(0, np.int64)),
            "there is no example",
        ),
        (
            Examples(x=np.zeros((3, 6, 64), np.float32), y=np.zeros(3, np.int64)),
            r"examples have shape \(6, 64\), the artefact imu-net takes \(6, 128\)",
        ),
        (
            Examples(x=np.zeros((2, 6, 128), np.float32), y=np.array([0, 7])),
            "labels run from 0 to 7, the artefact imu-net has classes 0 to 6",
        ),
    ],
)
def test_data_the_artefact_was_not_made_for_is_refused(artefact, onnx_trainer, given, message):
    with pytest.raises(ConfigError, match=message):
        onnx_trainer.train(task(artefact), given, cancelled=never)
