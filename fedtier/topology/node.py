"""A member of the tree, a link between two tiers, and a cell: one parent with its children."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from fedtier.budget import Budget
from fedtier.ids import NodeId

Role = Literal["agent", "gateway", "cloud"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One member of the tree: a device (tier 0), a gateway or the cloud (no parent)."""

    id: NodeId
    tier: int  # 0 = device, N = cloud
    parent: NodeId | None = None  # None = the cloud

    @property
    def is_device(self) -> bool:
        """Whether this node trains."""
        return self.tier == 0

    @property
    def is_cloud(self) -> bool:
        """Whether this node holds the global model."""
        return self.parent is None

    @property
    def role(self) -> Role:
        """Which program runs this node: ``fedtier agent``, ``gateway`` or ``cloud``."""
        if self.is_device:
            return "agent"
        return "cloud" if self.is_cloud else "gateway"


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """Link n: what crosses from tier n-1 to tier n, and how it is quantized.

    A child that hangs below a higher tier m sends through link m, whatever its own tier.
    """

    index: int  # n, from 1
    codec: str
    parameters: Mapping[str, float] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One parent and its children, on the topics of one broker; named after the parent."""

    parent: NodeId
    children: tuple[NodeId, ...]  # in name order
    link: int  # the parent's tier: all its children send through that link
