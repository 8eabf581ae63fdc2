"""The nets whose learning curves are compared, besides the demo's own."""

from __future__ import annotations

import torch
from torch import nn


class LeNet(nn.Sequential):
    """LeNet-5 on small grey images, with ReLU and max pooling: 61,706 parameters.

    Input ``(batch, 1, 28, 28)``; output ``(batch, 10)``.
    """

    def __init__(self) -> None:
        super().__init__(
            nn.Conv2d(1, 6, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 16, 5), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(16 * 5 * 5, 120), nn.ReLU(),
            nn.Linear(120, 84), nn.ReLU(),
            nn.Linear(84, 10),
        )  # fmt: skip


class GruNet(nn.Module):
    """The mean over time of what a GRU says, and a linear layer: 4,071 parameters.

    Input ``(batch, 6, length)``: accelerometer and gyroscope; output ``(batch, 7)``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(6, 32, batch_first=True)
        self.classify = nn.Linear(32, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, shape ``(batch, 7)``."""
        states, _ = self.gru(x.transpose(1, 2))
        logits: torch.Tensor = self.classify(states.mean(dim=1))
        return logits
