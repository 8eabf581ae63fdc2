"""Read the tree as a person writes it, ``parent = [children]``, and find every node's tier."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from fedtier.config.braces import Expanded, expand, fill
from fedtier.config.place import Place
from fedtier.errors import ConfigError
from fedtier.ids import NodeId, parse_node_id
from fedtier.topology import Node, Topology
from fedtier.topology.rules import cycle_message, find_cycle
from fedtier.words import nearest


def read_tree(
    tree: Mapping[str, Sequence[str]],
    *,
    links: int,
    tiers: Mapping[NodeId, int],
    place: Place,
) -> Topology:
    """Build the topology that a ``[tree]`` table describes.

    A node without children is a device, on tier 0; a gateway is one tier above the highest of
    its children; the cloud is on tier N, the number of links.

    Args:
        tree: Parent to its children, both possibly in bulk (see :mod:`fedtier.config.braces`).
        links: N.
        tiers: Tiers that the file states, for gateways that shall sit higher.
        place: What to name in an error.

    Raises:
        ConfigError: If this is no tree, or not one of N tiers.
    """
    children = _expand(tree, place)
    parents = _parents(children, place)
    cloud = _root(children, parents, place)
    if loop := find_cycle({**dict.fromkeys(children), **parents}):
        raise ConfigError(f"{place}: {cycle_message(loop)}")
    found = _tiers(children, cloud, links=links, stated=tiers, place=place)
    nodes = tuple(
        Node(id=node_id, tier=tier, parent=parents.get(node_id)) for node_id, tier in found.items()
    )
    return Topology(nodes, where=str(place))


def _expand(tree: Mapping[str, Sequence[str]], place: Place) -> dict[NodeId, list[NodeId]]:
    children: dict[NodeId, list[NodeId]] = {}
    for pattern, entries in tree.items():
        for parent in expand(pattern, place=place, key=pattern):
            parent_id = parse_node_id(parent.name, where=place.at(pattern))
            if parent_id in children:
                raise place.refuse(
                    pattern,
                    f"gives {parent_id!r} children a second time; two nodes cannot have one id. "
                    "Write all its children in one place.",
                )
            children[parent_id] = [
                parse_node_id(child.name, where=place.at(pattern))
                for entry in entries
                for child in _below(parent, entry, place=place, key=pattern)
            ]
            if not children[parent_id]:
                raise place.refuse(
                    pattern,
                    "= []: a gateway has children. Give it some, or remove the line if "
                    f"{parent_id!r} is a device.",
                )
    return children


def _below(parent: Expanded, entry: str, *, place: Place, key: str) -> tuple[Expanded, ...]:
    filled = fill(entry, parent.captures, place=place, key=key)
    return expand(str(filled), place=place, key=key)


def _parents(children: Mapping[NodeId, Sequence[NodeId]], place: Place) -> dict[NodeId, NodeId]:
    parents: dict[NodeId, NodeId] = {}
    for parent, ids in children.items():
        for child in ids:
            if child in parents:
                again = "twice" if parents[child] == parent else f"also below {parents[child]!r}"
                raise place.refuse(
                    parent,
                    f"lists {child!r} {again}; two nodes cannot have one id, and a node has one "
                    "parent. Rename or remove one.",
                )
            parents[child] = parent
    return parents


def _root(
    children: Mapping[NodeId, Sequence[NodeId]], parents: Mapping[NodeId, NodeId], place: Place
) -> NodeId:
    if not children:
        raise ConfigError(f'{place}: is empty. Write parent = ["child", ...], from the cloud down.')
    roots = [parent for parent in children if parent not in parents]
    if not roots:
        loop = find_cycle(parents)
        raise ConfigError(
            f"{place}: there is no cloud, the parent that nobody lists as a child: "
            f"{cycle_message(loop)}"
        )
    if len(roots) > 1:
        cloud = max(roots, key=lambda root: (root == "cloud", _depth(root, children)))
        stray = next(root for root in roots if root != cloud)
        leaves = [child for child in parents if child not in children]
        raise ConfigError(
            f"{place}: {len(roots)} nodes have children and no parent: "
            f"{', '.join(map(repr, roots))}. Only the cloud, here {cloud!r}, has no parent; list "
            f"{stray!r} among some node's children.{nearest(stray, leaves)}"
        )
    return roots[0]


def _depth(root: NodeId, children: Mapping[NodeId, Sequence[NodeId]]) -> int:
    # How many nodes lie beneath; it only chooses which of several roots to call the cloud.
    seen: set[NodeId] = set()
    todo = [root]
    while todo:
        current = todo.pop()
        if current not in seen:
            seen.add(current)
            todo.extend(children.get(current, ()))
    return len(seen)


def _tiers(
    children: Mapping[NodeId, Sequence[NodeId]],
    cloud: NodeId,
    *,
    links: int,
    stated: Mapping[NodeId, int],
    place: Place,
) -> dict[NodeId, int]:
    order = [cloud]
    for node_id in order:  # grows while it is walked: parents before children
        order.extend(children.get(node_id, ()))
    tiers: dict[NodeId, int] = {}
    for node_id in reversed(order):
        below = children.get(node_id)
        derived = 0 if below is None else 1 + max(tiers[child] for child in below)
        if below is None and stated.get(node_id, 0) != 0:
            raise ConfigError(
                f"{place}: {node_id!r} has no children, so it is a device, but its tier is stated "
                f"as {stated[node_id]}. A device is on tier 0: remove the tier, or give the "
                "gateway children."
            )
        tiers[node_id] = stated.get(node_id, derived)
    if cloud in stated and stated[cloud] != links:
        raise ConfigError(
            f"{place}: the cloud {cloud!r} is stated to be on tier {stated[cloud]}, but there are "
            f"{links} [[link]] tables, and the cloud is on tier {links}. Remove its tier."
        )
    if tiers[cloud] != links:
        raise ConfigError(
            f"{place}: the tree has {tiers[cloud]} tiers above its devices and the file "
            f"{links} [[link]] tables; there must be one per tier. Add or remove a [[link]] (and "
            "its tau), or state a higher tier for a gateway in [[node]]."
        )
    return tiers
