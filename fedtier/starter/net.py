"""The model, and how recordings become its examples.

``fedtier compile net.py:Net --out artefact`` makes of it what devices train, without torch on any
of them. Do that again after every change here.
"""

from __future__ import annotations

from torch import nn

CHANNELS = 3  # values in a row of a recording: the columns of "features" in federation.toml
LABELS = ["still", "walking", "running"]  # the classes: as "labels" in federation.toml
WINDOW = 32  # so many rows, one after another, are an example; here 1.3 seconds

ARTEFACT = {
    "name": "activity-net",
    "input_shape": [CHANNELS, WINDOW],  # of one example
    "labels": LABELS,
    "batch": 16,  # examples in one local step
    # From recordings to examples, in this order:
    "preprocessing": [
        {"name": "standardise"},  # every device brings its own channels to mean 0, deviation 1
        {"name": "window", "length": WINDOW, "stride": WINDOW // 2},  # each half old, half new
    ],
    # Random changes, anew in every batch, so that few recordings go a longer way:
    "augmentation": [
        {"name": "gain", "std": 0.1},
        {"name": "noise", "std": 0.05},
    ],
}


class Net(nn.Sequential):
    """Takes ``(batch, CHANNELS, WINDOW)``, gives ``(batch, len(LABELS))``; made without arguments.

    GroupNorm in place of BatchNorm: it keeps no statistics that differ from device to device.
    """

    def __init__(self) -> None:
        super().__init__(
            nn.Conv1d(CHANNELS, 16, 5, padding=2),
            nn.GroupNorm(1, 16),
            nn.ReLU(),
            nn.MaxPool1d(2),
            nn.Conv1d(16, 32, 5, padding=2),
            nn.GroupNorm(1, 32),
            nn.ReLU(),
            nn.AdaptiveAvgPool1d(1),
            nn.Flatten(),
            nn.Linear(32, len(LABELS)),
        )
