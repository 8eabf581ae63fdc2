"""A model of 1.6 million parameters for the tests, cheap to train: two wide layers."""

from __future__ import annotations

from torch import nn

ARTEFACT = {
    "name": "big-net",
    "input_shape": [64],
    "labels": [f"class {number}" for number in range(7)],
    "batch": 4,
    "evaluate_batch": 8,
    "preprocessing": [],
    "augmentation": [],
}


class BigNet(nn.Sequential):
    """64 -> 1230 -> 1230 -> 7: 1,602,697 parameters."""

    def __init__(self) -> None:
        super().__init__(
            nn.Linear(64, 1230), nn.ReLU(), nn.Linear(1230, 1230), nn.ReLU(), nn.Linear(1230, 7)
        )
