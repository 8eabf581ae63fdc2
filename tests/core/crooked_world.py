"""A small world in which children fail or fall silent, and a client that says what it likes."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from world import FEDERATION, World
from world_shapes import make_plan, quadratic, random_centres, regular

from fedtier.errors import TrainingError
from fedtier.ids import NodeId
from fedtier.sim.broker import MemoryTransport
from fedtier.wire.manifest import UpdateManifest, encode_update
from fedtier.wire.packets import decode_packet, encode_packet
from fedtier.wire.parts import Outgoing
from fedtier.wire.topics import Topic

DIMENSION = 2500
CENTRES = random_centres(regular(2, 2, 2), seed=1, dimension=DIMENSION)


def make_world(disk, *fan_outs, tau=None, train=None, rounds=1, world_options=None, **plan):
    shape = regular(*fan_outs)
    tau = tau or (1,) * len(fan_outs)
    return World(
        shape, make_plan(tau, rounds=rounds, **plan), train or quadratic(CENTRES), disk=disk,
        start=np.zeros(DIMENSION), **(world_options or {}),
    )  # fmt: skip


class Rogue:
    """A client that says what it likes on one broker, and hears what it asks for."""

    def __init__(self, world: World, cell: str, *, hears: str = "nothing") -> None:
        self.world, self.cell = world, NodeId(cell)
        self.heard: list[object] = []
        filters = [(f"fedtier/v1/{FEDERATION}/{cell}/{hears}", 1)]
        self.transport = MemoryTransport(world.brokers[self.cell], "rogue", filters, self)
        self.transport.start()

    def connected(self): ...
    def disconnected(self, reason, *, taken_over): ...

    def message(self, topic, payload, retained):
        self.heard.append(decode_packet(Topic.parse(topic), payload))

    def say(self, message, *, node="all"):
        topic, payload, qos, _ = encode_packet(
            message, federation=FEDERATION, cell=self.cell, node=NodeId(node)
        )
        self.transport.publish(topic, payload, qos=qos, retain=False)

    def update(self, child, head, delta, **changes):
        manifest = UpdateManifest(
            run=head.run, path=head.path, node=NodeId(child), task=head.task, base=head.model,
            layout=head.layout, weight=1, codec="identity",
        )  # fmt: skip
        manifest = replace(manifest, **changes)
        sections = (np.asarray(delta, "<f4").tobytes(),) if manifest.weight else ()
        return encode_update(manifest, sections)

    def offer(self, node, head, blob, *, parts=None):
        outgoing = Outgoing(blob, kind="update", part_bytes=65_536)
        for index in range(outgoing.parts) if parts is None else parts:
            self.say(
                outgoing.part(
                    index, run=head.run, epoch=head.epoch, path=head.path, nonce=head.nonce,
                    seq=head.seq,
                ),
                node=node,
            )  # fmt: skip


def open_cell(world, node="cloud"):
    world.run(until=lambda world: world.nodes[node].machine.cell.state == "collecting")
    return world.nodes[node].machine.cell.head


def mean_of(devices, steps=1):
    return np.mean([CENTRES[d] * (1 - 0.9**steps) for d in devices], axis=0, dtype=np.float64)


def failing(*devices):
    def train(node, task, model):
        if node in devices:
            raise TrainingError("out of memory \N{PILE OF POO}" * 50)
        return quadratic(CENTRES)(node, task, model)

    return train


def silent(*devices):
    return {"work_s": lambda node: 1e9 if node in devices else 1.0}
