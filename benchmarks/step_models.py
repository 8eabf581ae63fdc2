"""The nets whose training step is timed; batches of 32 of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import nn

from fedtier.demo.net import ImuNet


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One net, and how it is compiled."""

    make: Callable[[], nn.Module]
    input_shape: tuple[int, ...]
    classes: int
    lowerings: tuple[str, ...] = ("conv",)  # those that differ for this net; the first is judged


class Recurrent(nn.Module):
    """The last state of a recurrent layer over windows of 6 channels."""

    def __init__(self, layer: type[nn.GRU] | type[nn.LSTM]) -> None:
        super().__init__()
        self.layer = layer(6, 32, batch_first=True)
        self.classify = nn.Linear(32, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, shape ``(batch, 7)``."""
        states, _ = self.layer(x.transpose(1, 2))
        logits: torch.Tensor = self.classify(states[:, -1])
        return logits


def _mlp() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 128), nn.ReLU(), nn.Linear(128, 10))


def _lenet() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(400, 120), nn.ReLU(), nn.Linear(120, 84), nn.ReLU(), nn.Linear(84, 10),
    )  # fmt: skip


def _cnn() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 32, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(32, 64, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(3136, 512), nn.ReLU(), nn.Linear(512, 10),
    )  # fmt: skip


IMAGE = (1, 28, 28)
CASES = {
    "MLP": Case(make=_mlp, input_shape=IMAGE, classes=10),
    "LeNet": Case(make=_lenet, input_shape=IMAGE, classes=10, lowerings=("conv", "taps")),
    "IMU net": Case(
        make=ImuNet, input_shape=(6, 128), classes=7, lowerings=("gemm", "conv", "taps")
    ),
    "GRU": Case(make=lambda: Recurrent(nn.GRU), input_shape=(6, 32), classes=7),
    "LSTM": Case(make=lambda: Recurrent(nn.LSTM), input_shape=(6, 32), classes=7),
    "CNN": Case(make=_cnn, input_shape=IMAGE, classes=10, lowerings=("conv", "taps")),
}
