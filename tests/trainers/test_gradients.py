"""Gradients out of a training graph that only steps: of every optimiser, by both trainers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from test_trained_state import EVERYTHING, Net, Regularised, compiled, examples
from torch import nn

from edge_agent.trainer_onnx import OnnxTrainer
from edge_agent.trainer_torch import TorchTrainer
from fedtier.artefact.trainer import GradientTask
from fedtier.data.examples import Examples
from fedtier.errors import TrainingError
from fedtier.ids import NodeId

OPTIMISERS = [
    {}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"weight_decay": 1e-2},
    {"prox": 0.1}, {"correction": True}, EVERYTHING,
]  # fmt: skip


def measured(trainer, *models, data=None):
    task = GradientTask(models=models, seed=11, node=NodeId("d1"))
    return trainer.gradients(task, data or examples(), cancelled=lambda: False)


def autograd(artefact, model):
    """The gradient of the mean loss over all 20 examples, by torch in float64."""
    net = Net().double()
    w = torch.from_numpy(model.astype(np.float64)).requires_grad_()
    tensors, start = {}, 0
    for tensor in artefact.layout.tensors:
        tensors[tensor.name] = w[start : start + tensor.size].reshape(tensor.shape)
        start += tensor.size
    data = examples()
    outputs = torch.func.functional_call(net, tensors, (torch.from_numpy(data.x).double(),))
    loss = nn.functional.cross_entropy(outputs, torch.from_numpy(data.y))
    (gradient,) = torch.autograd.grad(loss, w)
    decay = artefact.manifest.optimiser.weight_decay
    return float(loss.detach()), gradient.numpy() + decay * model


@pytest.mark.parametrize("options", OPTIMISERS, ids=lambda o: " ".join(o) or "sgd")
def test_every_artefact_gives_the_gradient_that_its_steps_descend_on(options):
    """Five batches of four are all of the examples, so their mean is the whole gradient."""
    artefact = compiled(**options)
    model = artefact.initial()
    loss, gradient = autograd(artefact, model)
    for trainer in (OnnxTrainer(artefact), TorchTrainer(Net, artefact.manifest)):
        found = measured(trainer, model)
        # Sums of four rows in float32; the division by 2^20 adds one rounding of the same size.
        np.testing.assert_allclose(found.means[0], gradient, rtol=0, atol=1e-6)
        assert found.losses[0] == pytest.approx(loss, rel=1e-6)
        assert found.batches == 5


def test_the_variance_is_that_of_one_batch():
    """Of batches of one size drawn without replacement: the deviations from the mean of all."""
    artefact = compiled()
    model = artefact.initial()
    trainer = OnnxTrainer(artefact)
    whole = examples()
    found = measured(trainer, model)
    singles = []
    for rows in np.split(np.arange(20), 5):  # one partition; its sample variance is as unbiased
        part = Examples(x=whole.x[rows], y=whole.y[rows])
        singles.append(measured(trainer, model, data=part).means[0])
    mine = np.sum((np.array(singles) - found.means[0]) ** 2) / 4
    # Two sample variances of five batches each, of 83 coordinates: within a factor of two.
    assert mine / 2 < found.variances[0] < 2 * mine


def test_two_models_are_measured_on_the_same_examples_masks_and_all():
    artefact = compiled(Regularised)
    trainer, model = OnnxTrainer(artefact), artefact.initial()
    found = measured(trainer, model, model.copy())
    assert found.means[0].tobytes() == found.means[1].tobytes()
    assert found.losses[0] == found.losses[1]
    alone = measured(trainer, model)
    assert alone.means[0].tobytes() == found.means[0].tobytes(), "whatever else was asked"
    statistics = found.means[0][artefact.manifest.parameters :]
    assert statistics.size
    assert not statistics.any(), "no gradient moves a running statistic"


def test_a_device_with_less_than_a_batch_has_a_gradient():
    data = examples()
    few = Examples(x=data.x[:3], y=data.y[:3])
    artefact = compiled()
    found = measured(OnnxTrainer(artefact), artefact.initial(), data=few)
    assert found.batches == 2
    assert np.isfinite(found.means[0]).all()


def test_a_gradient_that_is_not_finite_is_refused_and_a_cancelled_one_is_none():
    artefact = compiled()
    trainer = OnnxTrainer(artefact)
    bad = np.full(artefact.manifest.dimension, np.float32(3e38))
    with pytest.raises(TrainingError, match="not finite"):
        measured(trainer, bad)
    task = GradientTask(models=(artefact.initial(),), seed=11, node=NodeId("d1"))
    assert trainer.gradients(task, examples(), cancelled=lambda: True) is None
