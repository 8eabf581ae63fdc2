"""The demo's model, for whoever compiles it; devices run the artefact in ``artefact/`` beside it.

That artefact is made, byte for byte, by::

    fedtier compile fedtier.demo.net:ImuNet --out fedtier/demo/artefact

The name, sizes, labels, transforms and seed are this module's ``ARTEFACT``.
"""

from __future__ import annotations

import torch
from torch import nn

ARTEFACT: dict[str, object] = {
    "name": "imu-net",
    "input_shape": [6, 128],
    "labels": [  # PEN, ABD, FEL, IR, ER, TRAP, ROW in the data
        "pendulum",
        "abduction",
        "forward elevation",
        "internal rotation",
        "external rotation",
        "trapezius extension",
        "upright row",
    ],
    "batch": 32,
    "evaluate_batch": 32,
    "smoothing": 0.1,
    "lowering": "gemm",
    "seed": 1,
    "preprocessing": [
        {"name": "mirror", "trait": "side", "equals": 1, "signs": [-1, 1, 1, 1, -1, -1]},
        {"name": "standardise"},
        {"name": "window", "length": 128, "stride": 32},
    ],
    "augmentation": [
        {"name": "gain", "std": 0.10},
        {"name": "rotation", "std_rad": 0.15, "triples": [[0, 1, 2], [3, 4, 5]]},
        {"name": "time_scale", "std": 0.10},
        {"name": "noise", "std": 0.05},
    ],
}
"""What ``compile_module`` is told besides the module."""


class ImuNet(nn.Module):
    """Three strided convolutions over time, a mean and a linear layer: 24,807 parameters.

    Input ``(batch, 6, 128)``: accelerometer and gyroscope, 128 samples; output ``(batch, 7)``.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv1d(6, 32, 7, stride=2, padding=3),
            nn.GroupNorm(4, 32),
            nn.ReLU(),
            nn.Conv1d(32, 64, 5, stride=2, padding=2),
            nn.GroupNorm(8, 64),
            nn.ReLU(),
            nn.Conv1d(64, 64, 3, stride=2, padding=1),
            nn.GroupNorm(8, 64),
            nn.ReLU(),
        )
        self.classify = nn.Linear(64, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Logits, shape ``(batch, 7)``."""
        logits: torch.Tensor = self.classify(self.features(x).mean(dim=-1))
        return logits
