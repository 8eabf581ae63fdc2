"""What the demo is measured against: one process with all the data, and each device alone.

Both use the devices' own trainer, net, data, augmentation, schedule and number of local steps.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from fedtier.artefact.artefact import Artefact
from fedtier.artefact.evaluate import score
from fedtier.artefact.find import find_artefact
from fedtier.artefact.schedule import Schedule
from fedtier.artefact.trainer import Trainer, TrainTask
from fedtier.artefact.trainers import load_trainer
from fedtier.config.federation import Federation
from fedtier.data.examples import Examples
from fedtier.data.load import load_device, load_held_out
from fedtier.errors import TrainingError
from fedtier.ids import IterationPath, NodeId
from fedtier.model.layout import Vector

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
    console: Console,
    federation: Federation,
    report: Mapping[str, Any],
    *,
    seed: int | None,
    rounds: int,
) -> dict[str, Any]:
    """Train the references, print them beside the run, and return their accuracies.

    Args:
        console: Where to.
        federation: What was trained.
        report: The run's report.
        seed: The run's seed; the federation file's by default.
        rounds: The run's rounds.
    """
    plan = federation.plan
    steps = rounds * math.prod(plan.tau)
    devices = federation.topology.devices()
    common = {
        "federation": federation, "steps": steps, "seed": plan.seed if seed is None else seed,
    }  # fmt: skip
    together = [Task(devices=devices, mu=mu, **common) for mu in STEP_SIZES]  # type: ignore[arg-type]
    alone = [Task(devices=(d,), mu=plan.schedule.mu, **common) for d in devices]  # type: ignore[arg-type]
    console.print("\ntraining the references: one process with all data, and each device alone ...")
    with ProcessPoolExecutor() as pool:
        accuracies = list(pool.map(accuracy_of, [*together, *alone]))
    found = {
        "one_process": dict(zip(map(str, STEP_SIZES), accuracies, strict=False)),
        "alone": dict(zip(devices, accuracies[len(together) :], strict=True)),
    }
    _print(console, report, found)
    return found


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
        model = train_in_step(artefact, load_trainer(artefact), examples, task)
    except TrainingError:
        return None
    held_out = load_held_out(federation.evaluation, preprocessing, where=federation.where)
    session = artefact.evaluate_session()
    scores = [score(session, model, group) for _, group in held_out.groups]
    return sum(s.correct for s in scores) / sum(s.examples for s in scores)


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
    )
    model = artefact.initial()
    pieces = [task.steps] if len(examples) == 1 else [1] * task.steps
    first_step = 0
    for piece, steps in enumerate(pieces):
        ends = [
            _end(
                trainer,
                TrainTask(
                    model=model, seed=task.seed, path=IterationPath((piece,)), node=device,
                    steps=steps, first_step=first_step, round_steps=task.steps, schedule=schedule,
                ),
                data,
            )
            for device, data in examples.items()
        ]  # fmt: skip
        model = np.asarray(np.mean(ends, axis=0, dtype=np.float64), np.float32)
        first_step += steps
    return model


def _end(trainer: Trainer, task: TrainTask, examples: Examples) -> Vector:
    trained = trainer.train(task, examples, cancelled=lambda: False)
    assert trained is not None, "nobody cancels a reference"
    return trained.model


def _print(console: Console, report: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    alone: Sequence[float] = [a for a in found["alone"].values() if a is not None]
    table = Table(title="Beside it", title_justify="left", title_style="bold", header_style="dim")
    table.add_column("trained by")
    table.add_column("held-out accuracy", justify="right")
    table.add_row("this federation", f"{100 * report['accuracy']:.1f} %", style="bold")
    for mu, accuracy in found["one_process"].items():
        table.add_row(
            f"one process, all data, synchronous SGD, mu = {mu}",
            "diverged" if accuracy is None else f"{100 * accuracy:.1f} %",
        )
    if alone:
        table.add_row("each device alone: best", f"{100 * max(alone):.1f} %")
        table.add_row("each device alone: mean", f"{100 * sum(alone) / len(alone):.1f} %")
    console.print(table)
