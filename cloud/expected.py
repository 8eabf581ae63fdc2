"""What the cloud's children will announce, if they are of the tree that its file describes."""

from __future__ import annotations

from collections.abc import Callable

from fedtier.core.expected import Expected, Subtree
from fedtier.core.roster import digest_of_members
from fedtier.ids import NodeId
from fedtier.topology import Topology
from fedtier.wire.head import Member


def expected_of(
    topology: Topology, *, members_needed: Callable[[NodeId], int], where: str
) -> Expected:
    """Every child of the cloud, with all that is beneath it.

    Args:
        topology: The tree of the federation file.
        members_needed: The quorum of a parent's cell, as a number of its children.
        where: The federation file.
    """

    def is_whole(node: NodeId) -> bool:
        children = topology.children(node)
        return not children or (
            members_needed(node) == len(children) and all(map(is_whole, children))
        )

    digests = _digests(topology)
    return Expected(
        where=where,
        children={
            child: Subtree(
                devices=topology.devices_beneath(child),
                beneath=digests[child],
                whole=is_whole(child),
            )
            for child in topology.children(topology.cloud)
        },
    )


def _digests(topology: Topology) -> dict[NodeId, str]:
    """What every node announces as beneath it when all are ready; each device has weight 1."""
    digests: dict[NodeId, str] = {}
    weights: dict[NodeId, int] = {}
    for node in sorted(topology, key=lambda node: node.tier):  # children before their parents
        children = topology.children(node.id)
        weights[node.id] = 1 if node.is_device else sum(weights[child] for child in children)
        members = (Member(node=c, weight=weights[c], beneath=digests[c]) for c in children)
        digests[node.id] = "" if node.is_device else digest_of_members(members)
    return digests
