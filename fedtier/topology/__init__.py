"""The tree: nodes, links, cells, and the rules they keep."""

from __future__ import annotations

from fedtier.topology.node import Budget, Cell, Link, Node
from fedtier.topology.tree import Topology

__all__ = ["Budget", "Cell", "Link", "Node", "Topology"]
