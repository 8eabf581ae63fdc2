"""Small classifiers that the compiler's tests compile."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from fedtier.demo.net import ImuNet


class Mlp(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Flatten(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 5))


class LeNet(nn.Sequential):
    """LeNet-5 with either of its usual nonlinearities and poolings."""

    def __init__(self, activation: Callable[[], nn.Module], pool: Callable[[int], nn.Module]):
        super().__init__(
            nn.Conv2d(1, 6, 5, padding=2),
            activation(),
            pool(2),
            nn.Conv2d(6, 16, 5),
            activation(),
            pool(2),
            nn.Flatten(),
            nn.Linear(16 * 5 * 5, 120),
            activation(),
            nn.Linear(120, 84),
            activation(),
            nn.Linear(84, 10),
        )


class Silu(nn.Sequential):
    """An operation that only torch's own decompositions reduce to what the compiler knows."""

    def __init__(self) -> None:
        super().__init__(nn.Linear(12, 16), nn.SiLU(), nn.Linear(16, 4))


class Strided(nn.Module):
    """A convolution whose stride leaves places over, and a kernel shorter than its stride."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv1d(3, 4, 4, stride=3, padding=1, bias=False)
        self.second = nn.Conv1d(4, 5, 2, stride=3)
        self.last = nn.Linear(5, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(torch.sigmoid(self.second(torch.tanh(self.first(x)))).mean(-1))


class Dilated(nn.Sequential):
    """Taps that lie apart, among padding, so that a place is in none, one or two patches."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv1d(3, 4, 3, stride=2, padding=4, dilation=3),
            nn.Tanh(),
            nn.Conv1d(4, 5, 2, dilation=5),
            nn.Tanh(),
            nn.Flatten(),
            nn.Linear(5 * 13, 3),
        )


def model(name: str) -> tuple[nn.Module, tuple[int, ...], int]:
    """A freshly seeded module, the shape of its input, its number of classes."""
    torch.manual_seed(3)
    match name:
        case "imu":
            return ImuNet(), (6, 128), 7
        case "mlp":
            return Mlp(), (8, 8), 5
        case "lenet-tanh-average":
            return LeNet(nn.Tanh, nn.AvgPool2d), (1, 28, 28), 10
        case "lenet-relu-max":
            return LeNet(nn.ReLU, nn.MaxPool2d), (1, 28, 28), 10
        case "silu":
            return Silu(), (12,), 4
        case "strided":
            return Strided(), (3, 33), 3
        case "dilated":
            return Dilated(), (3, 33), 3
    raise AssertionError(name)
