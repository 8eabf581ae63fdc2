"""``python -m benchmarks.peers.torch_agent FILE``: the agent, but torch trains, in its process.

Broker, protocol, data, outbox and log are the agent's own. Its graph process is never asked.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.peers.lenet import make_lenet
from edge_agent.kit import Opened, make_kit
from edge_agent.run import main
from edge_agent.trainer_torch import TorchTrainer
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.open_graph import Array, Slot
from fedtier.artefact.trainer import Trainer
from fedtier.config.board import BoardTable
from fedtier.model.layout import Vector
from fedtier.outermost import exit_with


@dataclass(frozen=True)
class _Input:
    name: str
    shape: tuple[int, ...]
    type: str = "tensor(float)"


class TorchEvaluation:
    """The net's outputs, asked for as of an evaluation graph."""

    def __init__(self, batch: int) -> None:
        self._module = make_lenet().eval()
        self._batch = batch

    def run(self, output_names: Sequence[str], input_feed: Mapping[str, Array]) -> list[Array]:
        """Logits of one batch."""
        with torch.no_grad():
            torch.nn.utils.vector_to_parameters(
                torch.from_numpy(np.array(input_feed["w"])), self._module.parameters()
            )
            return [self._module(torch.from_numpy(input_feed["x"])).numpy()]

    def get_inputs(self) -> Sequence[Slot]:
        """The model and a batch."""
        return [_Input("w", ()), _Input("x", (self._batch, 1, 28, 28))]

    def get_outputs(self) -> Sequence[Slot]:
        """The logits."""
        return [_Input("logits", (self._batch, 10))]


class NoGraphs:
    """Torch needs no process of its own."""

    def usage(self) -> tuple[int, int]:
        """Nothing beside this process."""
        return 0, 0

    def end(self) -> None:
        """There is nothing to give back."""


@dataclass(frozen=True)
class TorchTrainers:
    """Torch's trainer, whatever lowering a plan names."""

    torch: Trainer

    def trainer(
        self, asked: str, model: Vector, *, cancelled: Callable[[], bool] = lambda: False
    ) -> Trainer | None:
        """The only one."""
        return self.torch


def opened_by_torch(artefact: Artefact, board: BoardTable) -> Opened:
    """Torch's trainer and evaluation in place of the artefact's graphs."""
    torch.set_num_threads(board.threads)
    return Opened(
        graphs=NoGraphs(),
        trainers=TorchTrainers(TorchTrainer(make_lenet, artefact.manifest)),
        evaluate=TorchEvaluation(artefact.manifest.evaluate_batch),
    )


if __name__ == "__main__":
    equip = partial(make_kit, opening=opened_by_torch)
    exit_with(lambda: main(Path(sys.argv[1]), equip=equip))
