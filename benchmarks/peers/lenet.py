"""LeNet, as every peer trains it: 61,706 parameters, batches of 32 grey images of 28 x 28."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

BATCH = 32
MU = 0.05
LABELS = [str(label) for label in range(10)]


def make_lenet() -> nn.Sequential:
    """The net with fresh parameters: input ``(n, 1, 28, 28)``, output ``(n, 10)``."""
    layers = {
        "conv1": nn.Conv2d(1, 6, 5, padding=2), "relu1": nn.ReLU(), "pool1": nn.MaxPool2d(2),
        "conv2": nn.Conv2d(6, 16, 5), "relu2": nn.ReLU(), "pool2": nn.MaxPool2d(2),
        "flatten": nn.Flatten(),
        "linear1": nn.Linear(16 * 5 * 5, 120), "relu3": nn.ReLU(),
        "linear2": nn.Linear(120, 84), "relu4": nn.ReLU(),
        "linear3": nn.Linear(84, 10),
    }  # fmt: skip
    return nn.Sequential(OrderedDict(layers))
