"""The tree: nodes, links, cells, and the rules they keep."""

from __future__ import annotations

from fedtier.topology.node import Cell, Link, Node
from fedtier.topology.tree import Topology

__all__ = ["Cell", "Link", "Node", "Topology"]
