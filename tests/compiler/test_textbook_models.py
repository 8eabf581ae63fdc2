"""Models as textbooks write them compile unchanged, and train as torch trains them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from textbook_models import (
    BatchNormCnn,
    DepthwiseCnn,
    LstmClassifier,
    TabularMlp,
    TransformerClassifier,
)

from cloud.compiler.compile import compile_module
from edge_agent.trainer_onnx import OnnxTrainer
from edge_agent.trainer_torch import TorchTrainer
from fedtier.artefact.evaluate import score
from fedtier.artefact.schedule import Schedule
from fedtier.artefact.trainer import TrainTask
from fedtier.data.examples import Examples
from fedtier.ids import IterationPath, NodeId

BATCH, STEPS = 16, 30
TOKENS = {"input_dtype": "int64", "vocabulary": 20}
SGD = {"momentum": 0.9, "weight_decay": 5e-4}
MODELS = {
    "mlp": (TabularMlp, (10,), 3, 0.1, {}),
    "cnn": (BatchNormCnn, (3, 12, 12), 4, 0.03, SGD),
    "cnn by taps": (BatchNormCnn, (3, 12, 12), 4, 0.03, {**SGD, "lowering": "taps"}),
    "depthwise cnn": (DepthwiseCnn, (3, 12, 12), 4, 0.1, {}),
    "depthwise cnn by taps": (DepthwiseCnn, (3, 12, 12), 4, 0.1, {"lowering": "taps"}),
    "lstm": (LstmClassifier, (8,), 3, 0.5, TOKENS),
    "transformer": (TransformerClassifier, (8,), 3, 0.1, TOKENS),
}


def examples(shape, classes, *, tokens):
    """Noise with something in it that tells the class."""
    rng = np.random.default_rng(3)
    y = rng.integers(0, classes, 96)
    if tokens:
        x = rng.integers(classes + 1, 20, (96, *shape))
        x[:, ::2] = 1 + y[:, None]
    else:
        signs = rng.choice([-1.0, 1.0], (classes, *shape))
        x = (signs[y] + rng.standard_normal((96, *shape))).astype(np.float32)
    return Examples(x=x, y=y)


def curve(trainer, artefact, given, mu):
    """The training loss of every step, and the model after the last."""
    model, velocity, losses = artefact.initial(), None, []
    for step in range(STEPS):
        task = TrainTask(
            model=model,
            seed=5,
            path=IterationPath.parse(f"r1.{step}"),
            node=NodeId("d1"),
            steps=1,
            first_step=step,
            round_steps=STEPS,
            schedule=Schedule(kind="constant", mu=mu),
            velocity=velocity,
        )
        trained = trainer.train(task, given, cancelled=lambda: False)
        model, velocity = trained.model, trained.velocity
        losses.append(trained.loss_sum)
    return np.array(losses), model


@pytest.mark.parametrize("name", MODELS)
def test_a_textbook_model_compiles_and_trains_as_in_torch(name):
    factory, shape, classes, mu, options = MODELS[name]
    torch.manual_seed(4)
    artefact = compile_module(
        factory(), name=name, input_shape=shape, labels=[f"class {i}" for i in range(classes)],
        batch=BATCH, out=None, **options,
    ).artefact  # fmt: skip
    given = examples(shape, classes, tokens="vocabulary" in options)
    ours, model = curve(OnnxTrainer(artefact), artefact, given, mu)
    theirs, oracle = curve(TorchTrainer(factory, artefact.manifest), artefact, given, mu)
    assert ours[-5:].mean() < 0.6 * ours[:5].mean()
    # Found: 3e-7 and 5e-7, since one gradient errs by some 1e-7 of its norm in either. Elsewhere a
    # ReLU at its kink may take another side, and thirty steps let that grow.
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-3)
    moved = np.linalg.norm(oracle - artefact.initial())
    assert np.linalg.norm(model - oracle) <= 1e-3 * moved
    # What was learnt serves: with running statistics, where there are any.
    assert score(artefact.evaluate_session(), model, given).accuracy > 1.5 / classes
