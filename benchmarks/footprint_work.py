"""``footprint_work infer|cost fedtier|torch ARTEFACT DATA [STEPS]``: work without a network.

``infer`` evaluates a few times, says so and waits; ``cost`` trains and says what a step took.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np

import edge_agent.run  # noqa: F401 (all that an agent loads)
from edge_agent.graph_process import GraphProcess
from edge_agent.trainer_onnx import OnnxTrainer
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.evaluate import score
from fedtier.artefact.find import find_artefact
from fedtier.artefact.manifest import EVALUATE_FILE, TRAIN_FILE
from fedtier.artefact.open_graph import OpenGraph
from fedtier.artefact.schedule import Schedule
from fedtier.artefact.trainer import Trainer, TrainTask
from fedtier.data.examples import Examples
from fedtier.ids import IterationPath, NodeId

WARM_STEPS = 20


def main() -> None:
    """Do what the arguments say."""
    what, who, name, data, *rest = sys.argv[1:]
    artefact = find_artefact(name)
    examples = _examples(artefact, data)
    graphs = GraphProcess(artefact.files)
    if what == "infer":
        evaluate = _evaluation(who, artefact, graphs)
        for _ in range(5):
            score(evaluate, artefact.initial(), examples)
        sys.stdout.write("done\n")
        sys.stdout.flush()
        sys.stdin.readline()
    else:
        trainer = _trainer(who, artefact, graphs)
        _train(trainer, artefact, examples, WARM_STEPS)
        steps, before_ms = int(rest[0]), _cpu_ms(graphs)
        _train(trainer, artefact, examples, steps)
        cost = {"cpu_ms_per_step": (_cpu_ms(graphs) - before_ms) / steps}
        sys.stdout.write(json.dumps(cost) + "\n")
    graphs.end()


def _examples(artefact: Artefact, data: str) -> Examples:
    manifest = artefact.manifest
    if data != "random":
        with np.load(Path(data)) as content:
            return Examples(x=content["x"], y=content["y"])
    rng = np.random.default_rng(1)
    y = rng.integers(0, manifest.classes, 400)
    return Examples(x=rng.standard_normal((400, *manifest.input_shape), np.float32), y=y)


def _trainer(who: str, artefact: Artefact, graphs: GraphProcess) -> Trainer:
    if who == "fedtier":
        return OnnxTrainer(artefact, graph=graphs.graph(TRAIN_FILE))
    import torch

    from benchmarks.peers.lenet import make_lenet
    from edge_agent.trainer_torch import TorchTrainer

    torch.set_num_threads(1)
    return TorchTrainer(make_lenet, artefact.manifest)


def _evaluation(who: str, artefact: Artefact, graphs: GraphProcess) -> OpenGraph:
    if who == "fedtier":
        return graphs.graph(EVALUATE_FILE)
    import torch

    from benchmarks.peers.torch_agent import TorchEvaluation

    torch.set_num_threads(1)
    return TorchEvaluation(artefact.manifest.evaluate_batch)


def _train(trainer: Trainer, artefact: Artefact, examples: Examples, steps: int) -> None:
    task = TrainTask(
        model=artefact.initial(), seed=1, path=IterationPath((0,)), node=NodeId("d"), steps=steps,
        first_step=0, round_steps=steps, schedule=Schedule(kind="constant", mu=0.05),
    )  # fmt: skip
    trainer.train(task, examples, cancelled=lambda: False)


def _cpu_ms(graphs: GraphProcess) -> float:
    return 1e3 * time.process_time() + graphs.usage()[1]


if __name__ == "__main__":
    main()
