"""Train the demo's federation in one process and print its accuracy round by round.

The nested loop over a tree, with the product's own data, trainer, codecs and exact mean, and no
network: what the tree must reach, and what a choice of quantizers costs in accuracy::

    python benchmarks/recipe_one_process.py --seed 1
    python benchmarks/recipe_one_process.py --tune --link qsgd,levels=7,bucket=256 \
        --link qsgd,levels=31,bucket=512 --link qsgd,levels=127,bucket=512

Without ``--tune`` subjects 1 to 8 train and the score is on 9 and 10. Choose nothing by that
score: with ``--tune`` subjects 1 to 6 train and the score is on 7 and 8.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from edge_agent.trainer_onnx import OnnxTrainer
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.evaluate import Score, score
from fedtier.artefact.schedule import Schedule
from fedtier.artefact.trainer import Trainer, TrainTask
from fedtier.data.augmentation import Augmentation, step_keys
from fedtier.data.examples import DeviceData
from fedtier.data.load import load_device, load_held_out
from fedtier.draws import draw_key
from fedtier.ids import IterationPath, NodeId
from fedtier.model.exact_sum import ExactSum
from fedtier.model.layout import Vector, model_digest
from fedtier.model.server_step import add
from fedtier.quantize.codec import Codec
from fedtier.quantize.registry import make_codec

ROOT = Path(__file__).parents[1]
ARTEFACT = ROOT / "fedtier" / "demo" / "artefact"
IMU = ROOT / ".cache" / "imu.npz"
SIDES = ("left", "right")


@dataclass(frozen=True, slots=True)
class Member:
    """A node of the tree; a device has data and no children."""

    id: NodeId
    children: tuple[Member, ...] = ()
    data: DeviceData | None = None

    @property
    def devices(self) -> int:
        """Devices beneath this node, itself included: its weight."""
        return sum(child.devices for child in self.children) or 1


@dataclass(slots=True)
class Federation:
    """One run: what does not change in it, and the figures it gathers."""

    trainer: Trainer
    codecs: Sequence[Codec]  # of links 1 to N
    tau: Sequence[int]  # of links 1 to N
    seed: int
    q_sums: list[float] = field(init=False)  # by link
    updates: list[int] = field(init=False)
    train_s: float = 0.0
    steps: int = 0

    def __post_init__(self) -> None:
        self.q_sums = [0.0] * len(self.codecs)
        self.updates = [0] * len(self.codecs)

    @property
    def round_steps(self) -> int:
        """Local steps of a round: the product of all tau."""
        steps = 1
        for tau in self.tau:
            steps *= tau
        return steps

    def collect(self, node: Member, model: Vector, path: IterationPath, mu: Schedule) -> Vector:
        """One iteration of a cell: every child runs from the same model, the mean is added."""
        link = len(self.tau) - len(path.indices)  # the cell's link, counted from 0
        total = ExactSum(model.size, total_weight=node.devices)
        for child in node.children:
            delta = self._run(child, model, path, mu) - model
            key = draw_key(seed=self.seed, path=str(path), node=child.id, purpose="quantize")
            encoded = self.codecs[link].encode(delta, key)
            self.q_sums[link] += encoded.q
            self.updates[link] += 1
            decoded = self.codecs[link].decode(encoded.sections, model.size)
            total.add(decoded, child.devices)
        return add(model, total.mean())

    def _run(self, node: Member, model: Vector, path: IterationPath, mu: Schedule) -> Vector:
        """What a child of the cell at ``path`` makes of the model it was given."""
        if node.data is not None:
            return self._train(node, node.data, model, path, mu)
        tier = len(self.tau) - len(path.indices)  # the node's; its own link, tier + 1, has the tau
        for iteration in range(self.tau[tier]):
            model = self.collect(node, model, path.child(iteration), mu)
        return model

    def _train(
        self, node: Member, data: DeviceData, model: Vector, path: IterationPath, mu: Schedule
    ) -> Vector:
        started = time.perf_counter()
        done = 0
        for index, tau in zip(path.indices[1:], reversed(self.tau[1:]), strict=True):
            done = done * tau + index
        task = TrainTask(
            model=model,
            seed=self.seed,
            path=path,
            node=node.id,
            steps=self.tau[0],
            first_step=done * self.tau[0],
            round_steps=self.round_steps,
            schedule=mu,
        )
        trained = self.trainer.train(task, data.train, cancelled=lambda: False)
        assert trained is not None
        self.steps += trained.steps
        self.train_s += time.perf_counter() - started
        return trained.model


def build_tree(devices: Sequence[Member]) -> Member:
    """Devices under four gateways under two gateways under the cloud."""
    share = len(devices) // 4
    gateways = [
        Member(NodeId(f"g{index + 1}"), tuple(devices[index * share : (index + 1) * share]))
        for index in range(4)
    ]
    regions = [
        Member(NodeId(f"r{index + 1}"), tuple(gateways[2 * index : 2 * index + 2]))
        for index in range(2)
    ]
    return Member(NodeId("cloud"), tuple(regions))


def load_devices(
    subjects: Sequence[int], preprocessing: Sequence[Mapping[str, object]]
) -> list[Member]:
    """Each wrist of each subject as a device."""
    found = []
    for subject in subjects:
        for side, name in enumerate(SIDES):
            spec = {"source": "imu", "path": str(IMU), "subject": subject, "side": side}
            node = NodeId(f"watch-{subject}-{name}")
            data = load_device(spec, preprocessing, node=node, where=node)
            found.append(Member(node, data=data))
    return found


def parse_link(text: str) -> Codec:
    """``qsgd,levels=7,bucket=256`` or ``identity``."""
    name, *pairs = text.split(",")
    parameters = {key: int(value) for key, value in (pair.split("=") for pair in pairs)}
    return make_codec(name, parameters)


def parse_arguments(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--tau", type=lambda text: [int(t) for t in text.split(",")])
    parser.add_argument("--link", action="append", type=parse_link, help="once for each link")
    parser.add_argument("--mu", type=float, default=0.3)
    parser.add_argument("--tune", action="store_true", help="train on 1 to 6, score on 7 and 8")
    parser.add_argument("--artefact", type=Path, default=ARTEFACT)
    parser.set_defaults(tau=[8, 2, 2])
    chosen = parser.parse_args(arguments)
    if chosen.link is None:
        chosen.link = [parse_link(text) for text in DEFAULT_LINKS]
    return chosen


DEFAULT_LINKS = (
    "qsgd,levels=7,bucket=128",
    "qsgd,levels=31,bucket=512",
    "qsgd,levels=127,bucket=512",
)


def main(arguments: Sequence[str]) -> None:
    """Run and print."""
    chosen = parse_arguments(arguments)
    artefact = Artefact.load(chosen.artefact)
    run(chosen, artefact, OnnxTrainer(artefact))


def run(chosen: argparse.Namespace, artefact: Artefact, trainer: Trainer) -> None:
    """Every round of one federation, then its figures."""
    training, held_out = (range(1, 7), [7, 8]) if chosen.tune else (range(1, 9), [9, 10])
    preprocessing = artefact.manifest.preprocessing
    tree = build_tree(load_devices(training, preprocessing))
    spec = {"source": "imu", "path": str(IMU), "subjects": held_out}
    groups = load_held_out(spec, preprocessing, where="cloud").groups
    session = artefact.evaluate_session()
    federation = Federation(trainer, chosen.link, chosen.tau, chosen.seed)
    model, started = artefact.initial(), time.perf_counter()
    for number in range(chosen.rounds):
        mu = Schedule(
            kind="cosine",
            mu=chosen.mu,
            p0=number / chosen.rounds,
            p1=(number + 1) / chosen.rounds,
        )
        model = federation.collect(tree, model, IterationPath((number,)), mu)
        scores = [score(session, model, examples) for _, examples in groups]
        total = sum(scores, start=Score(examples=0, correct=0, loss_units=0))
        wrists = " ".join(f"{each.accuracy:.3f}" for each in scores)
        print(f"round {number + 1:3d}  {total.accuracy:.4f}  loss {total.loss:.4f}  {wrists}")
    seconds = time.perf_counter() - started
    print(f"seed {chosen.seed}: accuracy {total.accuracy:.4f} after {seconds:.0f} s")
    print(f"model {model_digest(artefact.layout.digest, model)}")
    print(f"local step {1e3 * federation.train_s / federation.steps:.2f} ms, augmentation included")
    print(f"augmentation {time_augmentation(artefact):.2f} ms a batch, draws included")
    for link, codec in enumerate(federation.codecs):
        q = federation.q_sums[link] / federation.updates[link]
        size = codec.payload_bytes(model.size)
        print(f"link {link + 1}: {codec.text}, q {q:.4f}, {size} bytes an update")


def time_augmentation(artefact: Artefact) -> float:
    """Milliseconds for one batch, the median of 200, with a key for every step."""
    augmentation = Augmentation.from_json(artefact.manifest.augmentation, where="artefact")
    x = np.zeros((artefact.manifest.batch, *artefact.manifest.input_shape), dtype=np.float32)
    path, node = IterationPath((0, 0, 0)), NodeId("watch")
    taken_s = []
    for step in range(200):
        started = time.perf_counter()
        augmentation.apply(x, step_keys(seed=1, path=path, node=node, step=step))
        taken_s.append(time.perf_counter() - started)
    return 1e3 * statistics.median(taken_s)


if __name__ == "__main__":
    main(sys.argv[1:])
