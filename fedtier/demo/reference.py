"""What the demo is measured against: one process with all the data, and each device alone.

Both use the devices' own trainer, net, data, augmentation, schedule and number of local steps.
"""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from fedtier.artefact.artefact import Artefact
from fedtier.artefact.evaluate import score
from fedtier.artefact.find import find_artefact
from fedtier.artefact.schedule import Schedule
from fedtier.artefact.trainer import Trained, Trainer, TrainTask
from fedtier.artefact.trainers import load_trainer
from fedtier.config.federation import Federation
from fedtier.data.examples import Examples
from fedtier.data.load import load_device, load_held_out
from fedtier.errors import TrainingError
from fedtier.ids import IterationPath, NodeId
from fedtier.model.layout import Vector
from fedtier.show.summary import plain_table, print_table
from fedtier.storage.durable import write_durably

STEP_SIZES = (0.1, 0.3, 1.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One training to compare with; small, so that it can be handed to another process."""

    federation: Federation
    devices: tuple[NodeId, ...]  # all at once, in step; or a single one
    mu: float
    steps: int
    seed: int


def compare(
    console: Console, federation: Federation, report: Mapping[str, Any], *, directory: Path
) -> None:
    """Train the references, print them beside the run, and write ``reference.json``.

    Args:
        console: Where to.
        federation: What was trained.
        report: The run's report.
        directory: The run directory.

    Raises:
        StorageError: If the disk does not take the file.
    """
    console.print("\ntraining the references: one process with all data, and each device alone ...")
    seed, rounds = report["seed"], report["rounds"]
    reached = train_references(federation, seed=seed, rounds=rounds)
    document = {
        "federation": report["federation"],
        "run": report["run"],
        "seed": seed,
        "rounds": rounds,
        "local_steps": rounds * math.prod(federation.plan.tau),
        "accuracy": report["accuracy"],
        **reached,
        "behind_one_process": _difference(reached["one_process_best"], report["accuracy"]),
        "ahead_of_alone": _difference(report["accuracy"], reached["alone_best"]),
    }
    write_durably(directory / "reference.json", (json.dumps(document, indent=2) + "\n").encode())
    _print(console, document)


def train_references(
    federation: Federation, *, seed: int, rounds: int, workers: int | None = None
) -> dict[str, Any]:
    """Held-out accuracies of one process with all data, and of each device alone.

    Args:
        federation: The devices, their data, and the plan.
        seed: In place of the plan's.
        rounds: In place of the plan's; with tau they make the number of local steps.
        workers: Processes that train at the same time; by default one for each processor.

    Returns:
        ``one_process`` by step size and ``alone`` by device, None where training diverged; and
        the best and the mean of those that did not.
    """
    plan, devices = federation.plan, federation.topology.devices()
    members = [(mu, devices) for mu in STEP_SIZES]
    members += [(plan.schedule.mu, (device,)) for device in devices]
    steps = rounds * math.prod(plan.tau)
    tasks = [
        Task(federation=federation, devices=each, mu=mu, seed=seed, steps=steps)
        for mu, each in members
    ]
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        found = list(pool.map(accuracy_of, tasks))
    together, alone = found[: len(STEP_SIZES)], found[len(STEP_SIZES) :]
    finished = [accuracy for accuracy in alone if accuracy is not None]
    return {
        "one_process": dict(zip(map(str, STEP_SIZES), together, strict=True)),
        "one_process_best": max((a for a in together if a is not None), default=None),
        "alone": dict(zip(devices, alone, strict=True)),
        "alone_best": max(finished, default=None),
        "alone_mean": statistics.mean(finished) if finished else None,
    }


def _difference(of: float | None, less: float | None) -> float | None:
    return None if of is None or less is None else of - less


def accuracy_of(task: Task) -> float | None:
    """Train, and score the last model on the held-out data; None where training diverged."""
    federation = task.federation
    artefact = find_artefact(federation.artefact)
    preprocessing = artefact.manifest.preprocessing
    assert federation.evaluation is not None, "a comparison needs held-out data"
    examples = {
        device: load_device(
            federation.nodes[device].data or {}, preprocessing, node=device, where=federation.where
        ).train
        for device in task.devices
    }
    try:
        trainer = load_trainer(artefact, lowering=federation.plan.lowering)
        model = train_in_step(artefact, trainer, examples, task)
    except TrainingError:
        return None
    held_out = load_held_out(federation.evaluation, preprocessing, where=federation.where)
    session = artefact.evaluate_session()
    kind = artefact.manifest.loss.kind
    scores = [score(session, model, group, kind=kind) for _, group in held_out.groups]
    return sum(s.correct for s in scores) / sum(s.judged for s in scores)


def train_in_step(
    artefact: Artefact, trainer: Trainer, examples: Mapping[NodeId, Examples], task: Task
) -> Vector:
    """Synchronous SGD: each step is the mean of one batch's step on every device.

    With one device this is plain training, run in one piece.
    """
    schedule = Schedule(
        kind=task.federation.plan.schedule.kind,
        mu=task.mu,
        floor=task.federation.plan.schedule.floor,
        factor=task.federation.plan.schedule.factor,
        milestones=task.federation.plan.schedule.milestones,
    )
    model = artefact.initial()
    pieces = [task.steps] if len(examples) == 1 else [1] * task.steps
    first_step, velocity = 0, None
    for piece, steps in enumerate(pieces):
        ends = [
            _trained(
                trainer,
                TrainTask(
                    model=model, seed=task.seed, path=IterationPath((piece,)), node=device,
                    steps=steps, first_step=first_step, round_steps=task.steps, schedule=schedule,
                    velocity=velocity,
                ),
                data,
            )
            for device, data in examples.items()
        ]  # fmt: skip
        model = _mean([end.model for end in ends])
        # Of devices that start alike, the mean of the velocities is that of the mean gradient.
        velocities = [end.velocity for end in ends if end.velocity is not None]
        velocity = _mean(velocities) if velocities else None
        first_step += steps
    return model


def _mean(vectors: Sequence[Vector]) -> Vector:
    return np.asarray(np.mean(vectors, axis=0, dtype=np.float64), np.float32)


def _trained(trainer: Trainer, task: TrainTask, examples: Examples) -> Trained:
    trained = trainer.train(task, examples, cancelled=lambda: False)
    assert trained is not None, "nobody cancels a reference"
    return trained


def _print(console: Console, reference: Mapping[str, Any]) -> None:
    table = plain_table("Beside it", "trained by", "held-out accuracy")
    table.add_row("this federation", _percent(reference["accuracy"], "–"), style="bold")
    for mu, accuracy in reference["one_process"].items():
        name = f"one process, all data, synchronous SGD, mu = {mu}"
        table.add_row(name, _percent(accuracy, "diverged"))
    table.add_row("each device alone: best", _percent(reference["alone_best"], "diverged"))
    table.add_row("each device alone: mean", _percent(reference["alone_mean"], "diverged"))
    console.print()
    print_table(console, table)
    console.print()


def _percent(accuracy: float | None, otherwise: str) -> str:
    return otherwise if accuracy is None else f"{100 * accuracy:.1f} %"
