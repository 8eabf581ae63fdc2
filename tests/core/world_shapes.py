"""Trees, plans and trainers for the world."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from fedtier.artefact.trainer import TrainTask
from fedtier.ids import NodeId
from fedtier.model.layout import Vector
from fedtier.topology import Node, Topology
from fedtier.wire.plan import CodecSpec, Plan

IDENTITY = CodecSpec(name="identity")

TrainFunction = Callable[[NodeId, TrainTask, Vector], Vector]
"""From a device, what is asked of it and the model, to the model after its local steps."""


GradientFunction = Callable[[NodeId, Vector], tuple[float, Vector, float]]
"""From a device and a model to its loss there, its gradient, and the variance of a batch's."""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """A tree: each node's parent, and the tiers of the gateways and the cloud."""

    parents: Mapping[str, str]
    tiers: Mapping[str, int]
    weights: Mapping[str, int] = field(default_factory=dict)

    @property
    def devices(self) -> list[str]:
        return sorted(node for node in self.parents if node not in self.tiers)

    @property
    def gateways(self) -> list[str]:
        return sorted(node for node in self.parents if node in self.tiers)

    @property
    def height(self) -> int:
        return self.tiers["cloud"]

    def children(self, node: str) -> list[NodeId]:
        return sorted(NodeId(child) for child, parent in self.parents.items() if parent == node)

    def topology(self) -> Topology:
        ids = ["cloud", *self.parents]
        return Topology(tuple(Node(
            id=NodeId(id_), tier=self.tiers.get(id_, 0),
            parent=NodeId(self.parents[id_]) if id_ in self.parents else None,
        ) for id_ in ids))  # fmt: skip

    def weight(self, node: str) -> int:
        """Of a device as given, of a parent all beneath it."""
        if node not in self.tiers:
            return self.weights.get(node, 1)
        return sum(self.weight(child) for child in self.children(node))


def regular(*fan_outs: int, weights: Mapping[str, int] | None = None) -> Shape:
    """A tree with one fan-out per tier, from above: ``regular(2, 4)`` has 2 gateways, 8 devices."""
    parents: dict[str, str] = {}
    tiers = {"cloud": len(fan_outs)}
    above = ["cloud"]
    for depth, fan_out in enumerate(fan_outs):
        tier = len(fan_outs) - depth - 1
        here = []
        for parent in above:
            for _ in range(fan_out):
                name = f"{'d' if tier == 0 else f'g{tier}-'}{len(here)}"
                parents[name] = parent
                if tier:
                    tiers[name] = tier
                here.append(name)
        above = here
    return Shape(parents=parents, tiers=tiers, weights=weights or {})


def irregular(seed: int, height: int) -> Shape:
    """A random tree: one to three children anywhere, some of them several tiers below."""
    dice = random.Random(seed)
    parents: dict[str, str] = {}
    tiers = {"cloud": height}
    open_nodes = ["cloud"]
    while open_nodes:
        parent = open_nodes.pop()
        for _ in range(dice.randint(1, 3)):
            below = tiers[parent] - 1
            tier = below if dice.random() < 0.7 else dice.randint(0, below)
            name = f"n{len(parents)}"
            parents[name] = parent
            if tier and len(parents) < 14:
                tiers[name] = tier
                open_nodes.append(name)
    shape = Shape(parents=parents, tiers=tiers)
    weights = {device: dice.randint(1, 9) for device in shape.devices}
    return Shape(parents=parents, tiers=tiers, weights=weights)


def make_plan(tau: tuple[int, ...], *, rounds: int = 1, seed: int = 7, **changes: object) -> Plan:
    values: dict[str, object] = {
        "seed": seed, "rounds": rounds, "tau": tau, "codecs": (IDENTITY,) * len(tau),
        "schedule": "constant", "mu": 0.1, "floor": 1.0,
    }  # fmt: skip
    return Plan(**(values | changes))  # type: ignore[arg-type]


def quadratic(centres: Mapping[str, np.ndarray | float]) -> TrainFunction:
    """Plain gradient descent on ``||w - centre||^2 / 2`` of each device, in float32."""

    def train(node: NodeId, task: TrainTask, model: Vector) -> Vector:
        w = model.copy()
        centre = np.asarray(centres[node], np.float32)
        mu = np.float32(task.schedule.mu)
        for _ in range(task.steps):
            w = w - mu * (w - centre)
        return w

    return train


def random_centres(shape: Shape, *, seed: int, dimension: int) -> dict[str, np.ndarray]:
    draws = np.random.default_rng(seed)
    return {device: draws.normal(size=dimension).astype(np.float32) for device in shape.devices}
