"""The tree of nodes: checked once when it is made, then trusted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import InitVar, dataclass, field

from fedtier.ids import NodeId
from fedtier.topology.node import Cell, Node
from fedtier.topology.rules import check_tree


@dataclass(frozen=True, slots=True)
class Topology:
    """Any tree of N >= 1 tiers above the devices; fan-out may differ at every node.

    A child may hang below a higher tier than the next: the missing tiers are virtual, one child
    each, without quantizer, but with the tau of their tier (see :meth:`repeats`).

    Args:
        nodes: The members, in any order; kept in name order.
        where: What to name in an error: the file and table the tree came from.

    Raises:
        ConfigError: If the nodes are not one tree with one cloud, devices on tier 0 and every
            child on a lower tier than its parent; the message names node, value and remedy.
    """

    nodes: tuple[Node, ...]
    where: InitVar[str] = "the tree"
    _nodes: dict[NodeId, Node] = field(init=False, repr=False, compare=False)
    _children: dict[NodeId, tuple[NodeId, ...]] = field(init=False, repr=False, compare=False)
    _cloud: NodeId = field(init=False, repr=False, compare=False)

    def __post_init__(self, where: str) -> None:
        cloud = check_tree(self.nodes, where=where)
        ordered = tuple(sorted(self.nodes, key=lambda node: node.id))
        below: dict[NodeId, list[NodeId]] = {node.id: [] for node in ordered}
        for node in ordered:
            if node.parent is not None:
                below[node.parent].append(node.id)
        object.__setattr__(self, "nodes", ordered)
        object.__setattr__(self, "_nodes", {node.id: node for node in ordered})
        object.__setattr__(self, "_children", {id_: tuple(ids) for id_, ids in below.items()})
        object.__setattr__(self, "_cloud", cloud)

    def __iter__(self) -> Iterator[Node]:
        """Yield the nodes in name order."""
        return iter(self.nodes)

    def __len__(self) -> int:
        return len(self.nodes)

    def __contains__(self, node_id: object) -> bool:
        return node_id in self._nodes

    @property
    def cloud(self) -> NodeId:
        """The node that has no parent."""
        return self._cloud

    @property
    def tiers(self) -> int:
        """N, the number of links and the cloud's tier; the devices' tier 0 is not counted."""
        return self._nodes[self._cloud].tier

    def node(self, node_id: NodeId) -> Node:
        """The node of that id; a KeyError, thus a bug, if there is none."""
        return self._nodes[node_id]

    def children(self, node_id: NodeId) -> tuple[NodeId, ...]:
        """Whoever names ``node_id`` as its parent, in name order; empty for a device."""
        return self._children[node_id]

    def parent(self, node_id: NodeId) -> NodeId | None:
        """The node above, or None for the cloud."""
        return self._nodes[node_id].parent

    def devices(self) -> tuple[NodeId, ...]:
        """All nodes of tier 0, in name order."""
        return tuple(node.id for node in self.nodes if node.is_device)

    def gateways(self) -> tuple[NodeId, ...]:
        """All nodes that have both a parent and children, in name order."""
        return tuple(n.id for n in self.nodes if not n.is_device and not n.is_cloud)

    def parents(self) -> tuple[NodeId, ...]:
        """Gateways and the cloud: whoever has a cell, in name order."""
        return tuple(node.id for node in self.nodes if not node.is_device)

    def devices_beneath(self, node_id: NodeId) -> tuple[NodeId, ...]:
        """The devices whose path to the root passes ``node_id``, in name order.

        For a device: itself.
        """
        found: list[NodeId] = []
        todo = [node_id]
        while todo:
            current = todo.pop()
            if self._nodes[current].is_device:
                found.append(current)
            todo.extend(self._children[current])
        return tuple(sorted(found))

    def path_to_root(self, node_id: NodeId) -> tuple[NodeId, ...]:
        """``node_id``, its parent, and so on; the last is the cloud."""
        path = [node_id]
        while (above := self._nodes[path[-1]].parent) is not None:
            path.append(above)
        return tuple(path)

    def cell(self, parent: NodeId) -> Cell:
        """The cell of a gateway or of the cloud."""
        node = self._nodes[parent]
        assert not node.is_device, f"{parent} is a device and has no cell"
        return Cell(parent=parent, children=self._children[parent], link=node.tier)

    def cells(self) -> tuple[Cell, ...]:
        """Every cell, in the name order of its parents."""
        return tuple(self.cell(parent) for parent in self.parents())

    def repeats(self, tau: Sequence[int], node_id: NodeId) -> int:
        """How often a child repeats itself per iteration of its parent, virtual tiers included.

        A child on tier c of a parent on tier m runs ``tau_(c+1) * ... * tau_m`` iterations of
        its own cell; for a device (c = 0) these are local steps.

        Args:
            tau: ``tau_1 .. tau_N``, each >= 1.
            node_id: Any node but the cloud.
        """
        assert len(tau) == self.tiers, (tuple(tau), self.tiers)
        node = self._nodes[node_id]
        assert node.parent is not None, f"{node_id} is the cloud and serves nobody"
        return math.prod(tau[node.tier : self._nodes[node.parent].tier])

    def draw(self, notes: Mapping[NodeId, str] | None = None) -> str:
        """Draw the tree as text, one node a line, children indented below their parent.

        Args:
            notes: What to write behind a node's id; its tier by default.
        """
        lines: list[tuple[str, NodeId]] = []
        todo: list[tuple[NodeId, str, str]] = [(self._cloud, "", "")]
        while todo:
            current, lead, below = todo.pop()
            lines.append((lead + current, current))
            ids = self._children[current]
            for child in reversed(ids):
                last = child == ids[-1]
                branch = "└─ " if last else "├─ "
                todo.append((child, below + branch, below + ("   " if last else "│  ")))
        said = notes or {node.id: f"tier {node.tier}" for node in self.nodes}
        width = max(len(text) for text, _ in lines)
        return "\n".join(f"{text:{width}}  {said.get(id_, '')}".rstrip() for text, id_ in lines)
