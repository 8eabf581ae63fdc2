"""Do compiled artefacts learn as torch does? Learning curves of both trainers, seed by seed.

Three tasks, each a federation as nested loops in one process, with its links' quantizers: the
demo's net and tree on the motion of wrists, LeNet on Fashion-MNIST, a GRU on the wrists. From the
same initial model, with the same batches, augmentation and rounding draws, once with the artefact's
training graph and once with torch's autograd::

    python -m benchmarks.learning_curves --out benchmarks/results/learning_curves.json

Both sum the same products in another order, so their models part by a rounding at the first step
and drift from there: in nets with ReLU and pooling as far as torch drifts from itself when it
begins one rounding away, which is as far as two seeds are apart. So curves of one seed cannot be
compared one by one. What can is whether a trainer is better or worse than the other: the mean over
seeds of their difference, in standard errors of such a mean where only chance tells them apart,
``s sqrt(2 / seeds)`` with ``s`` the standard deviation between seeds of one trainer. More seeds see
smaller differences.

- *ends*: the mean over the last fifth of the evaluations; at most 3 standard errors.
- *curves*: the root mean square over all evaluations of the difference, by that of the standard
  errors; 1 is what chance alone gives, at most 2.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import product
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from benchmarks.federations import Document, federation_of, read, with_plan
from benchmarks.learning_nets import GruNet, LeNet
from benchmarks.measure import Gate, Record, arguments_of, progress
from benchmarks.one_process import HeldOut, Tree, total
from cloud.compiler.compile import compile_module
from edge_agent.trainer_onnx import OnnxTrainer
from edge_agent.trainer_torch import TorchTrainer
from fedtier.artefact.find import find_artefact
from fedtier.artefact.trainer import Gradients, GradientTask, Trained, Trainer, TrainTask
from fedtier.data.examples import Examples
from fedtier.demo.net import ARTEFACT, ImuNet

SEEDS = (1, 2, 3, 4, 5)
LAST = 5  # the ends are the last fifth of the evaluations
STANDARD_ERRORS_MAX = {"ends": 3.0, "curves": 2.0}
CLOTHES = (
    "t-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip
MEASURES = ("accuracy", "loss", "training_loss")

Kind = Literal["compiled", "torch"]
KINDS: tuple[Kind, ...] = ("compiled", "torch")
Curves = Mapping[str, Sequence[float]]
"""By measure, a value after each round."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """What is learnt."""

    net: Callable[[], nn.Module]
    artefact: Mapping[str, Any]  # what it is compiled with; empty: it is shipped
    document: Document  # the federation, but for [model]
    rounds: int


def tasks() -> dict[str, Task]:
    """The three tasks, by name."""
    wrists = {key: ARTEFACT[key] for key in ("labels", "batch", "smoothing", "augmentation")}
    mirror, standardise, window = _list(ARTEFACT["preprocessing"])
    demo = read()
    return {
        "demo": Task(net=ImuNet, artefact={}, document=demo, rounds=30),
        "lenet on fashion-mnist": Task(
            net=LeNet,
            artefact={
                "name": "lenet", "input_shape": [1, 28, 28], "labels": CLOTHES, "batch": 32,
                "preprocessing": [{"name": "scale", "divide_by": 255}],
            },
            document=_one_cell(
                demo, plan={"tau": [12], "schedule": {"kind": "cosine", "mu": 0.1, "floor": 0.05}},
                data={
                    "source": "fashion-mnist", "partition": "dirichlet", "alpha": 1.0,
                    "devices": 4, "seed": 1,
                },
                node=[{"id": "device-{0..3}", "data": {"index": "$1"}}],
                evaluation={"source": "fashion-mnist", "first": 2000},
            ),
            rounds=40,
        ),
        "gru on wrists": Task(
            net=GruNet,
            artefact={
                **wrists, "name": "gru", "input_shape": [6, 64],
                "preprocessing": [mirror, standardise, {**window, "length": 64}],
            },
            document=_one_cell(
                demo, plan={"tau": [8], "schedule": {"kind": "cosine", "mu": 0.5, "floor": 0.05}},
                node=[{"id": "watch-{1,3,5,7}-0", "data": {"subject": "$1", "side": 0}}],
            ),
            rounds=40,
        ),
    }  # fmt: skip


def _list(value: object) -> list[Any]:
    assert isinstance(value, list), value
    return value


def _one_cell(document: Document, *, plan: Mapping[str, Any], **tables: Any) -> Document:  # noqa: ANN401 (any table)
    """Four devices below the cloud, with the first link of another federation and its data."""
    ids = tables["node"][0]["id"]
    return {
        **document, **tables, "tree": {"cloud": [ids]}, "link": document["link"][:1],
        "plan": {**document["plan"], **plan},
    }  # fmt: skip


def compiled(task: Task, directory: Path) -> Document:
    """The task's federation with its artefact, compiled into a directory where it is not shipped.

    Raises:
        ConfigError: If the net cannot be compiled.
    """
    if not task.artefact:
        return task.document
    torch.manual_seed(1)
    compile_module(task.net(), out=directory, **task.artefact)
    return {**task.document, "model": {"artefact": str(directory)}}


class Listener:
    """A trainer that passes on every task, and adds up the training losses."""

    def __init__(self, trainer: Trainer) -> None:
        self._trainer = trainer
        self._loss_sum, self._steps = 0.0, 0

    def train(
        self, task: TrainTask, examples: Examples, *, cancelled: Callable[[], bool]
    ) -> Trained | None:
        """As the trainer does."""
        trained = self._trainer.train(task, examples, cancelled=cancelled)
        if trained is not None:
            self._loss_sum += trained.loss_sum
            self._steps += trained.steps
        return trained

    def gradients(
        self, task: GradientTask, examples: Examples, *, cancelled: Callable[[], bool]
    ) -> Gradients | None:
        """As the trainer does."""
        return self._trainer.gradients(task, examples, cancelled=cancelled)

    def mean_loss(self) -> float:
        """Of the steps since it was last asked, in nats."""
        mean = self._loss_sum / self._steps
        self._loss_sum, self._steps = 0.0, 0
        return mean


def curves(name: str, document: Document, kind: Kind) -> Curves:
    """Train one task with one trainer; held-out accuracy and loss, and the training loss.

    Args:
        name: The task's, which has the net.
        document: The federation, with artefact, seed and rounds.
        kind: Which trainer.
    """
    torch.set_num_threads(1)
    federation = federation_of(document, where=name)
    artefact = find_artefact(federation.artefact)
    trainer: Trainer = (
        OnnxTrainer(artefact)
        if kind == "compiled"
        else TorchTrainer(tasks()[name].net, artefact.manifest)
    )
    listener, held_out = Listener(trainer), HeldOut(federation)
    found: dict[str, list[float]] = {measure: [] for measure in MEASURES}
    for model in Tree.load(federation, trainer=listener).rounds():
        score = total(held_out.scores(model))
        assert score.accuracy is not None, "classes are right or wrong"
        for measure, value in zip(
            MEASURES, (score.accuracy, score.loss, listener.mean_loss()), strict=True
        ):
            found[measure].append(value)
    ends = "  ".join(f"{measure} {end_of(found[measure]):.4f}" for measure in MEASURES)
    progress(f"{name}, seed {document['plan']['seed']}, {kind:8s}  {ends}")
    return found


def end_of(curve: Sequence[float]) -> float:
    """The mean over the last fifth of the evaluations, over one at least."""
    return statistics.fmean(curve[-max(1, len(curve) // LAST) :])


def compare(
    ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]
) -> dict[str, dict[str, float]]:
    """One measure's curves of both trainers, against the noise between seeds.

    Args:
        ours: The compiled artefact's, one for each seed, of two at least.
        theirs: Torch's, in the same order.

    Returns:
        For ``ends`` and ``curves``: how far the trainers are ``apart`` in the mean of the seeds,
        the ``standard_error`` of that, and their ratio.
    """
    curves = np.asarray([ours, theirs], np.float64)  # trainer, seed, evaluation
    ends = np.asarray([[[end_of(each)] for each in trainer] for trainer in (ours, theirs)])
    return {"ends": _apart(ends), "curves": _apart(curves)}


def _apart(values: npt.NDArray[np.float64]) -> dict[str, float]:
    """Of values by trainer, seed and evaluation: root mean squares over the evaluations."""
    seeds = values.shape[1]
    difference = values[0].mean(axis=0) - values[1].mean(axis=0)
    variance = values.var(axis=1, ddof=1).mean(axis=0)
    apart = float(np.sqrt(np.mean(difference**2)))
    error = float(np.sqrt(np.mean(variance) * 2 / seeds))
    return {"apart": apart, "standard_error": error, "standard_errors": apart / error}


def judge(of_kind: Mapping[Kind, Sequence[Curves]]) -> dict[str, Any]:
    """One task's result, from the curves of both trainers in the order of the seeds."""
    compared = {
        measure: compare(*([each[measure] for each in of_kind[kind]] for kind in KINDS))
        for measure in MEASURES
    }
    return {"compared": compared, "curves": of_kind}


def main() -> int:
    """Train every task with both trainers and every seed, then judge."""
    parser = arguments_of(__doc__)
    parser.add_argument("--tasks", nargs="+", choices=list(tasks()), default=list(tasks()))
    parser.add_argument("--rounds", type=int, help="of every task, in place of its own")
    parser.add_argument("--seeds", type=int, nargs="+", default=list(SEEDS))
    parser.add_argument("--workers", type=int, default=2, help="processes that train")
    chosen = parser.parse_args()
    record = Record("learning_curves", chosen)
    with tempfile.TemporaryDirectory(prefix="fedtier-benchmark-") as scratch:
        work: list[tuple[str, Document, Kind]] = []
        for number, name in enumerate(chosen.tasks):
            task = tasks()[name]
            progress(f"compiling: {name}")
            document = compiled(task, Path(scratch) / str(number))
            for seed, kind in product(chosen.seeds, KINDS):
                rounds = chosen.rounds or task.rounds
                work.append((name, with_plan(document, rounds=rounds, seed=seed), kind))
        with ProcessPoolExecutor(chosen.workers, mp_context=get_context("spawn")) as pool:
            found = list(pool.map(curves, *zip(*work, strict=True)))
    results: dict[str, Any] = {}
    gates: list[Gate] = []
    for name in chosen.tasks:
        of_kind = {
            kind: [c for w, c in zip(work, found, strict=True) if (w[0], w[2]) == (name, kind)]
            for kind in KINDS
        }
        results[name] = judged = judge(of_kind)
        gates += [
            Gate(
                name=f"{name}: {measure}, {what}",
                value=each["standard_errors"],
                at_most=STANDARD_ERRORS_MAX[what],
            )
            for measure, of_what in judged["compared"].items()
            for what, each in of_what.items()
        ]
    complete = (
        chosen.rounds is None
        and set(chosen.tasks) == set(tasks())
        and set(chosen.seeds) >= set(SEEDS)
    )
    return record.close(results, gates=gates, complete=complete)


if __name__ == "__main__":
    sys.exit(main())
