"""The algorithm as it stands on paper, in one process: nested loops, no messages, no spool.

::

    run(device, x, steps):   steps times:   x <- x - mu * gradient;                     return x
    run(parent, x, repeats): repeats times: x <- x + sum (P_c/P) Q(run(c, x, ...) - x); return x
    round:                   w <- run(cloud, w, 1)
"""

from __future__ import annotations

import math
from pathlib import Path

from edge_agent.trainer_onnx import OnnxTrainer
from fedtier.artefact.find import find_artefact
from fedtier.artefact.schedule import Schedule
from fedtier.artefact.trainer import TrainTask
from fedtier.config.federation import Federation, parse_federation
from fedtier.data.examples import Examples
from fedtier.data.load import load_device
from fedtier.draws import draw_key
from fedtier.ids import IterationPath, NodeId
from fedtier.model.exact_sum import ExactSum
from fedtier.model.layout import Vector, model_digest
from fedtier.quantize.registry import make_codec


def train_in_one_process(text: str) -> str:
    """The digest of the model that a federation's file, given as text, leads to."""
    federation = parse_federation(text, where="reference", directory=Path("/"))
    artefact = find_artefact(federation.artefact)
    tree = _Tree(federation)
    w = artefact.initial()
    for number in range(federation.plan.rounds):
        w = tree.improve(federation.topology.cloud, w, IterationPath((number,)), first_step=0)
    return model_digest(artefact.layout.digest, w)


class _Tree:
    def __init__(self, federation: Federation) -> None:
        self.plan, self.topology = federation.plan, federation.topology
        self.codecs = [
            make_codec(link.codec, link.parameters, where="link") for link in federation.links
        ]
        artefact = find_artefact(federation.artefact)
        self.trainer = OnnxTrainer(artefact, lowering=federation.plan.lowering)
        self.velocities: dict[NodeId, Vector | None] = {}
        self.examples: dict[NodeId, Examples] = {
            device.id: load_device(
                federation.nodes[device.id].data, artefact.manifest.preprocessing,
                node=device.id, where=device.id,
            ).train
            for device in self.topology
            if device.is_device
        }  # fmt: skip

    def improve(self, parent: NodeId, x: Vector, path: IterationPath, *, first_step: int) -> Vector:
        """One iteration of a parent's cell."""
        tier = self.topology.node(parent).tier
        codec = self.codecs[tier - 1]
        children = self.topology.children(parent)
        weights = {child: len(self.topology.devices_beneath(child)) for child in children}
        total = ExactSum(
            x.size, total_weight=sum(weights.values()), range_bits=self.plan.range_bits
        )
        for child in children:
            end = self.run(child, x, path, tier=tier, first_step=first_step)
            key = draw_key(
                seed=self.plan.seed, path=str(path), node=child, tensor="delta", purpose="rounding"
            )
            sections = codec.encode(end - x, key).sections
            total.add(codec.decode(sections, x.size), weights[child])
        return x + total.mean()

    def run(
        self, child: NodeId, x: Vector, path: IterationPath, *, tier: int, first_step: int
    ) -> Vector:
        """What a child of a parent on ``tier`` makes of a model in one of the parent's iterations.

        Tiers that a child skips are virtual: one child, nothing lost, but their tau.
        """
        own = self.topology.node(child).tier
        tau = self.plan.tau
        if own == 0:
            return self._steps(child, x, path, steps=math.prod(tau[:tier]), first_step=first_step)
        steps = math.prod(tau[:own])
        for iteration in range(math.prod(tau[own:tier])):
            x = self.improve(
                child, x, path.child(iteration), first_step=first_step + iteration * steps
            )
        return x

    def _steps(
        self, device: NodeId, x: Vector, path: IterationPath, *, steps: int, first_step: int
    ) -> Vector:
        wanted, rounds = self.plan.schedule, self.plan.rounds
        number = int(str(path).lstrip("r").split(".")[0])
        task = TrainTask(
            model=x, seed=self.plan.seed, path=path, node=device, steps=steps,
            first_step=first_step, round_steps=math.prod(self.plan.tau),
            schedule=Schedule(
                kind=wanted.kind, mu=wanted.mu, floor=wanted.floor,
                p0=number / rounds, p1=(number + 1) / rounds,
            ),
            velocity=self.velocities.get(device),
        )  # fmt: skip
        trained = self.trainer.train(task, self.examples[device], cancelled=lambda: False)
        assert trained is not None
        if self.plan.carry == "iteration":
            self.velocities[device] = trained.velocity
        return trained.model
