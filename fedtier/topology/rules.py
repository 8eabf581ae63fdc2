"""What makes a list of nodes a tree that can train; every refusal names its remedy."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from fedtier.errors import ConfigError
from fedtier.ids import NodeId, parse_node_id
from fedtier.limits import CHILDREN_MAX, TIERS_MAX
from fedtier.topology.node import Node
from fedtier.words import nearest


def check_tree(nodes: Sequence[Node], *, where: str) -> NodeId:
    """Check that ``nodes`` are one tree with one cloud.

    Args:
        nodes: The members, in any order.
        where: What to name in an error.

    Returns:
        The cloud's id.

    Raises:
        ConfigError: If they are not.
    """
    by_id = _unique_ids(nodes, where)
    _tiers_in_range(nodes, where)
    _known_parents(nodes, by_id, where)
    cloud = _one_cloud(nodes, by_id, where)
    if loop := find_cycle({node.id: node.parent for node in nodes}):
        raise ConfigError(f"{where}: {cycle_message(loop)}")
    _lower_than_parents(nodes, by_id, where)
    _children_where_due(nodes, where)
    return cloud


def find_cycle(parents: Mapping[NodeId, NodeId | None]) -> tuple[NodeId, ...]:
    """The first cycle by name, its first node repeated at the end; empty if there is none."""
    clear: set[NodeId] = set()
    for start in sorted(parents):
        trail: dict[NodeId, None] = {}
        current: NodeId | None = start
        while current is not None and current not in clear and current not in trail:
            trail[current] = None
            current = parents.get(current)
        if current in trail:
            loop = list(trail)[list(trail).index(current) :]
            first = loop.index(min(loop))
            return (*loop[first:], *loop[:first], loop[first])
        clear.update(trail)
    return ()


def cycle_message(loop: Sequence[NodeId]) -> str:
    """Name a cycle and its remedy."""
    return (
        f"the nodes go in a circle, each below the next: {' -> '.join(loop)}. "
        "Hang one of them below a node that leads up to the cloud."
    )


def _unique_ids(nodes: Sequence[Node], where: str) -> dict[NodeId, Node]:
    if not nodes:
        raise ConfigError(f"{where}: there is no node. A tree needs a cloud and a device.")
    for node in nodes:
        parse_node_id(node.id, where=where)
    twice = sorted(id_ for id_, count in Counter(node.id for node in nodes).items() if count > 1)
    if twice:
        raise ConfigError(
            f"{where}: two nodes have the id {twice[0]!r}. An id names one node of the federation;"
            " rename one of them."
        )
    return {node.id: node for node in nodes}


def _tiers_in_range(nodes: Sequence[Node], where: str) -> None:
    for node in nodes:
        if not 0 <= node.tier <= TIERS_MAX:
            raise ConfigError(
                f"{where}: node {node.id!r} is on tier {node.tier}; allowed are 0 (devices) to "
                f"{TIERS_MAX}. Use fewer tiers."
            )


def _known_parents(nodes: Sequence[Node], by_id: Mapping[NodeId, Node], where: str) -> None:
    for node in nodes:
        if node.parent is not None and node.parent not in by_id:
            others = [id_ for id_ in by_id if id_ != node.id]
            raise ConfigError(
                f"{where}: node {node.id!r} names the parent {node.parent!r}, which is no node of "
                f"this federation.{nearest(node.parent, others)} Add that node or correct "
                "the parent."
            )


def _one_cloud(nodes: Sequence[Node], by_id: Mapping[NodeId, Node], where: str) -> NodeId:
    roots = sorted(node.id for node in nodes if node.parent is None)
    if not roots:
        loop = find_cycle({node.id: node.parent for node in nodes})
        raise ConfigError(
            f"{where}: there is no cloud: every node has a parent, and {cycle_message(loop)} "
            "The cloud is the one node without a parent."
        )
    if len(roots) > 1:
        cloud = max(roots, key=lambda root: by_id[root].tier)
        stray = next(root for root in roots if root != cloud)
        raise ConfigError(
            f"{where}: {len(roots)} nodes have no parent: {', '.join(map(repr, roots))}. Only the "
            f"cloud has none; give {stray!r} a parent or remove it."
        )
    return roots[0]


def _lower_than_parents(nodes: Sequence[Node], by_id: Mapping[NodeId, Node], where: str) -> None:
    for node in sorted(nodes, key=lambda node: node.id):
        if node.parent is None:
            continue
        parent = by_id[node.parent]
        if parent.is_device:
            raise ConfigError(
                f"{where}: node {node.id!r} hangs below {parent.id!r}, which is a device (tier 0). "
                "A device has no children: hang it below a gateway or the cloud."
            )
        if node.tier >= parent.tier:
            raise ConfigError(
                f"{where}: node {node.id!r} is on tier {node.tier} and its parent {parent.id!r} on "
                f"tier {parent.tier}; a child's tier must be lower than its parent's, 0 to "
                f"{parent.tier - 1} here. Lower the child or raise the parent."
            )


def _children_where_due(nodes: Sequence[Node], where: str) -> None:
    counts = Counter(node.parent for node in nodes if node.parent is not None)
    for node in sorted(nodes, key=lambda node: node.id):
        count = counts[node.id]
        if count == 0 and node.parent is None:
            raise ConfigError(
                f"{where}: the cloud {node.id!r} has no children. Hang a device or a gateway "
                "below it."
            )
        if count == 0 and node.tier > 0:
            raise ConfigError(
                f"{where}: node {node.id!r} is on tier {node.tier} and has no children. If it is "
                "a device, put it on tier 0; if it is a gateway, give it children or remove it."
            )
        if count > CHILDREN_MAX:
            raise ConfigError(
                f"{where}: node {node.id!r} has {count} children; allowed are 1 to {CHILDREN_MAX}. "
                "Put a tier of gateways between."
            )
