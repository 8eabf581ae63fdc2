"""What a federation file says is beneath each of the cloud's children, and what they announce.

A cloud knows its own children from its node file. Who is beneath them it knows from the federation
file alone, which may not be the one that their node files were written from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fedtier.core.waiting import some_of
from fedtier.ids import NodeId
from fedtier.wire.messages import Presence
from fedtier.words import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Subtree:
    """One child of the cloud, with all that is beneath it, as the file has it."""

    devices: tuple[NodeId, ...]  # by name; of a device: itself
    beneath: str  # digest of its members where every device has weight 1; empty for a device
    whole: bool  # every quorum in it is all: it is not ready before all its devices are


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """The children of the cloud as the federation file has them."""

    where: str  # that file
    children: Mapping[NodeId, Subtree]

    def refusal(self, child: NodeId, presence: Presence, *, first: bool) -> str | None:
        """Say how a ready child shows itself to be of another tree; None where it does not.

        A child may stand for fewer devices than the file has, where its quorum lets it, and for
        more of them later. Never may it stand for more than all, or for as many others.

        Args:
            child: Who is ready.
            presence: What it said last.
            first: Whether no round has been opened yet. Later, fewer devices are a loss.
        """
        subtree = self.children[child]
        wanted = len(subtree.devices)
        too_few = first and subtree.whole and presence.devices < wanted
        if presence.devices > wanted or too_few or _are_others(subtree, presence):
            return (
                f"child {child!r} stands for {_digested(presence.devices, presence.beneath)}, but "
                f"{self.where} has {_digested(wanted, subtree.beneath)}: "
                f"{some_of(subtree.devices)}. Its node file is of another tree. Give the "
                "federation file that the fleet was started with; or write the node files anew "
                f"with fedtier config nodes, and start {child!r} and what is beneath it again "
                "with theirs."
            )
        return None


def _are_others(subtree: Subtree, presence: Presence) -> bool:
    """Whether as many devices as the file has cannot be the same.

    A digest names weights, too, which are known beforehand only where each is 1; a device has none.
    """
    if presence.devices != len(subtree.devices):
        return False
    known = presence.weight == presence.devices or "" in (subtree.beneath, presence.beneath)
    return known and presence.beneath != subtree.beneath


def _digested(devices: int, beneath: str) -> str:
    return counted(devices, "device") + (f" (digest {beneath})" if beneath else "")
