"""The default server step."""

from __future__ import annotations

import numpy as np

from fedtier.model import ServerStep, add


def test_the_default_step_adds_the_mean_in_float32_and_leaves_the_model_as_it_was():
    step: ServerStep = add
    model, mean = np.array([1, 2], np.float32), np.array([2.0**-24, -2], np.float32)
    stepped = step(model, mean)
    assert stepped.dtype == np.float32
    assert stepped.tolist() == [1, 0]
    assert model.tolist() == [1, 2]
