"""A tree whose devices are all equally far from the cloud, as the formulas take it.

A child that hangs below a higher tier than the next gets a virtual node on every tier between: one
child each, nothing to send, but the tau of its tier (``Topology``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from fedtier.ids import NodeId
from fedtier.topology import Topology


@dataclass(frozen=True, slots=True, kw_only=True)
class Padded:
    """A tree with its virtual nodes.

    Attributes:
        devices: In the order of tier 0.
        parents: For each tier from the devices' up to the one below the cloud, the position of
            every node's parent on the next tier; what ``TreeConstants.of`` and ``Times`` take.
        sends: Beside it, whether a message crosses there; to a virtual parent none does.
    """

    devices: tuple[NodeId, ...]
    parents: Sequence[Sequence[int]]
    sends: Sequence[Sequence[bool]]

    @classmethod
    def of(cls, topology: Topology) -> Self:
        """The tree of a federation."""
        above: list[NodeId | tuple[NodeId]] = [topology.cloud]  # a 1-tuple: virtual, above the node
        parents: list[list[int]] = []
        sends: list[list[bool]] = []
        for tier in reversed(range(topology.tiers)):
            here: list[NodeId | tuple[NodeId]] = []
            parents.append([])
            sends.append([])
            for position, node in enumerate(above):
                virtual = isinstance(node, tuple)
                children = node if isinstance(node, tuple) else topology.children(node)
                for child in children:
                    here.append(child if topology.node(child).tier == tier else (child,))
                    parents[-1].append(position)
                    sends[-1].append(not virtual)
            above = here
        devices = tuple(node for node in above if not isinstance(node, tuple))
        return cls(devices=devices, parents=parents[::-1], sends=sends[::-1])
