"""The least loss that a model can have."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from fedtier.artefact.loss import Loss


@pytest.mark.parametrize(("smoothing", "classes"), [(0.1, 7), (0.1, 2), (0.5, 10), (0.9, 3)])
def test_of_smoothed_targets_it_is_what_the_best_logits_have(smoothing, classes):
    """Those of the smoothed targets themselves; others have more, by Gibbs' inequality."""
    loss = Loss(kind="cross_entropy", smoothing=smoothing)
    targets = torch.full((1, classes), smoothing / classes, dtype=torch.float64)
    targets[0, 0] += 1 - smoothing
    best = targets.log()
    y = torch.tensor([0])
    least = functional.cross_entropy(best, y, label_smoothing=smoothing)
    assert loss.least(classes) == pytest.approx(float(least), rel=1e-12)
    other = functional.cross_entropy(best * 1.1, y, label_smoothing=smoothing)
    assert loss.least(classes) < float(other)


@pytest.mark.parametrize("kind", ["cross_entropy", "mse", "bce"])
def test_without_smoothing_nothing_is_known_but_nought(kind):
    assert Loss(kind=kind).least(5) == 0.0
