"""Train a federation in one process: the tree as nested loops, without messages, brokers or files.

The data, trainer, quantizers, draws and exact mean are the product's own, so the model is, to the
bit, the one that the federation's real processes end in. It shows what a choice of quantizers or
of tau does to accuracy at a fraction of the cost::

    python -m benchmarks.one_process --seed 1
    python -m benchmarks.one_process --tune --link qsgd,levels=7,bucket=256 \
        --link qsgd,levels=31,bucket=512 --link qsgd,levels=127,bucket=512

Without ``--tune`` subjects 1 to 8 train and the score is on 9 and 10. Choose nothing by that
score: with ``--tune`` subjects 1 to 6 train and the score is on 7 and 8.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.federations import DEMO, federation_of, read, with_people, with_plan
from benchmarks.measure import Record, arguments_of, progress
from fedtier.artefact.evaluate import Score, score
from fedtier.artefact.find import find_artefact
from fedtier.artefact.schedule import Schedule
from fedtier.artefact.trainer import Trainer, TrainTask
from fedtier.artefact.trainers import load_trainer
from fedtier.config.federation import Federation
from fedtier.data.examples import Examples
from fedtier.data.load import load_device, load_held_out
from fedtier.demo.reference import Task, accuracy_of
from fedtier.draws import draw_key
from fedtier.ids import IterationPath, NodeId
from fedtier.model.exact_sum import ExactSum
from fedtier.model.layout import Vector, model_digest
from fedtier.model.server_step import add
from fedtier.quantize.codec import Codec
from fedtier.quantize.registry import make_codec

TUNING = {"train": range(1, 7), "held_out": [7, 8]}


@dataclass(slots=True)
class Tree:
    """A federation's nested loops, and the quantization errors it meets."""

    federation: Federation
    trainer: Trainer
    codecs: tuple[Codec, ...]  # of links 1 to N
    examples: Mapping[NodeId, Examples]
    q: tuple[list[float], ...]  # by link, one for each update
    velocities: dict[NodeId, Vector]  # where the plan carries them

    @classmethod
    def load(cls, federation: Federation, *, trainer: Trainer | None = None) -> Tree:
        """Open the artefact and every device's data.

        Args:
            federation: What to train.
            trainer: Of all devices; that of the artefact's graphs by default.

        Raises:
            ConfigError: If the data or the artefact are not there.
        """
        artefact = find_artefact(federation.artefact)
        examples = {
            device: load_device(
                federation.nodes[device].data or {},
                artefact.manifest.preprocessing,
                node=device,
                where=federation.where,
            ).train
            for device in federation.topology.devices()
        }
        return cls(
            federation=federation,
            trainer=trainer or load_trainer(artefact, lowering=federation.plan.lowering),
            codecs=tuple(make_codec(link.codec, link.parameters) for link in federation.links),
            examples=examples,
            q=tuple([] for _ in federation.links),
            velocities={},
        )

    def rounds(self) -> Iterator[Vector]:
        """The global model after each round, shape ``(d,)``."""
        cloud = self.federation.topology.cloud
        model = find_artefact(self.federation.artefact).initial()
        for number in range(self.federation.plan.rounds):
            model = self._iterate(cloud, model, IterationPath((number,)), first_step=0)
            yield model

    def _iterate(
        self, parent: NodeId, model: Vector, path: IterationPath, *, first_step: int
    ) -> Vector:
        """One iteration of a cell: every child runs from the same model, the mean is added."""
        topology, plan = self.federation.topology, self.federation.plan
        cell = topology.cell(parent)
        codec = self.codecs[cell.link - 1]
        weights = {child: len(topology.devices_beneath(child)) for child in cell.children}
        total = ExactSum(model.size, total_weight=sum(weights.values()), range_bits=plan.range_bits)
        for child, weight in weights.items():
            end = self._run(child, model, path, first_step=first_step)
            key = draw_key(
                seed=plan.seed, path=str(path), node=child, tensor="delta", purpose="rounding"
            )
            encoded = codec.encode(end - model, key)
            self.q[cell.link - 1].append(encoded.q)
            total.add(codec.decode(encoded.sections, model.size), weight)
        return add(model, total.mean())

    def _run(self, node: NodeId, model: Vector, path: IterationPath, *, first_step: int) -> Vector:
        """What a child makes of its parent's model in the parent's iteration at ``path``."""
        topology, tau = self.federation.topology, self.federation.plan.tau
        repeats = topology.repeats(tau, node)
        if topology.node(node).is_device:
            return self._train(node, model, path, steps=repeats, first_step=first_step)
        steps = math.prod(tau[: topology.node(node).tier])
        for index in range(repeats):
            step = first_step + index * steps
            model = self._iterate(node, model, path.child(index), first_step=step)
        return model

    def _train(
        self, device: NodeId, model: Vector, path: IterationPath, *, steps: int, first_step: int
    ) -> Vector:
        plan = self.federation.plan
        task = TrainTask(
            model=model, seed=plan.seed, path=path, node=device, steps=steps,
            first_step=first_step, round_steps=math.prod(plan.tau),
            schedule=Schedule(
                kind=plan.schedule.kind, mu=plan.schedule.mu, floor=plan.schedule.floor,
                factor=plan.schedule.factor, milestones=plan.schedule.milestones,
                p0=path.round / plan.rounds, p1=(path.round + 1) / plan.rounds,
            ),
            velocity=self.velocities.get(device),
        )  # fmt: skip
        trained = self.trainer.train(task, self.examples[device], cancelled=lambda: False)
        assert trained is not None, "nobody cancels"
        if plan.carry == "iteration" and trained.velocity is not None:
            self.velocities[device] = trained.velocity
        return trained.model


class HeldOut:
    """The cloud's own measure of a model."""

    def __init__(self, federation: Federation) -> None:
        """Load the held-out data once.

        Raises:
            ConfigError: If the data are not there.
        """
        assert federation.evaluation is not None, "the file names no data to evaluate on"
        artefact = find_artefact(federation.artefact)
        preprocessing = artefact.manifest.preprocessing
        self._session = artefact.evaluate_session()
        self._groups = load_held_out(
            federation.evaluation, preprocessing, where=federation.where
        ).groups

    def scores(self, model: Vector) -> dict[str, Score]:
        """The score of every held-out group, by name.

        Raises:
            TrainingError: If the model has diverged.
        """
        return {name: score(self._session, model, group) for name, group in self._groups}


def total(scores: Mapping[str, Score]) -> Score:
    """All groups as one."""
    return sum(scores.values(), start=Score(examples=0, correct=0, loss_units=0))


def train(federation: Federation, *, every_round: bool = False) -> dict[str, Any]:
    """Train and score; the document of ``results``."""
    tree, measure = Tree.load(federation), HeldOut(federation)
    model = find_artefact(federation.artefact).initial()
    for number, after in enumerate(tree.rounds(), start=1):
        model = after
        if every_round:
            progress(_line(number, measure.scores(model)))
    scores = measure.scores(model)
    layout = find_artefact(federation.artefact).layout
    return {
        "accuracy": total(scores).accuracy,
        "loss": total(scores).loss,
        "groups": {name: each.accuracy for name, each in scores.items()},
        "model_digest": model_digest(layout.digest, model),
        "links": [
            {
                "link": link, "quantizer": codec.text, "q_mean": sum(q) / len(q),
                "payload_bytes": codec.payload_bytes(model.size),
            }
            for link, (codec, q) in enumerate(zip(tree.codecs, tree.q, strict=True), start=1)
        ],
    }  # fmt: skip


def train_together(federation: Federation) -> dict[str, Any]:
    """As many local steps, each averaged over all devices at once; the document of ``results``."""
    plan = federation.plan
    task = Task(
        federation=federation,
        devices=federation.topology.devices(),
        mu=plan.schedule.mu,
        steps=plan.rounds * math.prod(plan.tau),
        seed=plan.seed,
    )
    return {"accuracy": accuracy_of(task)}


def main() -> int:
    """Train as the options say."""
    parser = arguments_of(__doc__)
    parser.add_argument("--federation", type=Path, default=DEMO)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--tau", type=lambda text: [int(t) for t in text.split(",")])
    parser.add_argument("--mu", type=float)
    parser.add_argument("--link", action="append", type=_link, help="once for each link")
    parser.add_argument("--tune", action="store_true", help="train on 1 to 6, score on 7 and 8")
    parser.add_argument(
        "--synchronous", action="store_true", help="plain synchronous SGD in place of the tree"
    )
    parser.add_argument("--quiet", action="store_true", help="no score after each round")
    chosen = parser.parse_args()
    record = Record("one_process", chosen)
    document = with_plan(read(chosen.federation), rounds=chosen.rounds, seed=chosen.seed)
    document = with_plan(document, tau=chosen.tau)
    if chosen.mu is not None:
        schedule = {**document["plan"].get("schedule", {}), "mu": chosen.mu}
        document = with_plan(document, schedule=schedule)
    if chosen.link is not None:
        document = {**document, "link": chosen.link}
    if chosen.tune:
        document = with_people(document, **TUNING)
    federation = federation_of(document, where=chosen.federation.name)
    if chosen.synchronous:
        return record.close(train_together(federation), complete=False)
    return record.close(train(federation, every_round=not chosen.quiet), complete=False)


def _line(number: int, scores: Mapping[str, Score]) -> str:
    groups = "  ".join(f"{name} {each.accuracy:.3f}" for name, each in scores.items())
    whole = total(scores)
    return f"round {number:3d}  {whole.accuracy:.4f}  loss {whole.loss:.3f}  {groups}"


def _link(text: str) -> dict[str, Any]:
    """``qsgd,levels=7,bucket=256`` or ``identity``, as a ``[[link]]`` table."""
    codec, *pairs = text.split(",")
    return {"codec": codec, **{k: int(v) for k, v in (pair.split("=") for pair in pairs)}}


if __name__ == "__main__":
    sys.exit(main())
