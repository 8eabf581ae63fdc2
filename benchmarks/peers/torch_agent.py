"""``python -m benchmarks.peers.torch_agent FILE``: the agent, but torch trains, in its process.

Broker, protocol, data, outbox and log are the agent's own. Its graph process is never asked.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import edge_agent.run
from benchmarks.peers.lenet import make_lenet
from edge_agent.graph_process import GraphProcess
from edge_agent.kit import Kit
from edge_agent.lowerings import Trainers
from edge_agent.trainer_torch import TorchTrainer
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.open_graph import Array, Slot
from fedtier.artefact.trainer import Trainer
from fedtier.config.node_file import NodeFile
from fedtier.model.layout import Vector
from fedtier.outermost import exit_with

make_kit = edge_agent.kit.make_kit


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


class NoGraphs(GraphProcess):
    """A graph process that is never started."""

    def slots(self, name: str, side: str) -> list[edge_agent.graph_process.ToldSlot]:
        """Nothing: nobody asks what these graphs take."""
        return []


class TorchTrainers(Trainers):
    """Torch's trainer, whatever lowering a plan names."""

    def __init__(self, trainer: Trainer) -> None:
        self._torch = trainer

    def trainer(
        self, asked: str, model: Vector, *, cancelled: Callable[[], bool] = lambda: False
    ) -> Trainer | None:
        """The only one."""
        return self._torch


def torch_kit(file: NodeFile, artefact: Artefact, *, where: str) -> Kit:
    """What the agent makes of an artefact, its trainer and its evaluation exchanged for torch's."""
    torch.set_num_threads(file.board.threads)
    return dataclasses.replace(
        make_kit(file, artefact, where=where),
        trainers=TorchTrainers(TorchTrainer(make_lenet, artefact.manifest)),
        evaluate=TorchEvaluation(artefact.manifest.evaluate_batch),
    )


if __name__ == "__main__":
    vars(edge_agent.kit).update(GraphProcess=NoGraphs, make_kit=torch_kit)
    vars(edge_agent.run).update(make_kit=torch_kit)
    exit_with(lambda: edge_agent.run.main(Path(sys.argv[1])))
