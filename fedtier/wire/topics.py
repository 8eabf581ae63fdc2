"""The topic tree; the only file that knows what a topic looks like.

``fedtier/v1/<federation>/<cell>/<node>/<channel>[/<part>]``: the cell is its parent's node id,
the node is the child's id, or ``all`` for what the parent says to everybody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from fedtier.errors import WireError
from fedtier.ids import FederationId, NodeId, is_node_id

ROOT = "fedtier/v1"
ALL = NodeId("all")
PROBE_FILTER = f"{ROOT}/probe/#"
"""Where devices measure the way to a broker; one level short of any topic of a federation."""

Channel = Literal["presence", "head", "model", "artefact", "update", "want", "ack"]

PLAIN_CHANNELS: frozenset[Channel] = frozenset({"presence", "head", "want", "ack"})
PART_CHANNELS: frozenset[Channel] = frozenset({"model", "artefact", "update"})
QOS: dict[Channel, int] = {
    "presence": 1, "head": 1, "model": 1, "artefact": 1, "update": 1, "want": 0, "ack": 0,
}  # fmt: skip
RETAINED: frozenset[Channel] = frozenset({"presence", "head"})

FOR_ALL: frozenset[Channel] = frozenset({"presence", "head", "model"})
"""What a parent says to everybody, ``presence`` being its own."""
FOR_ONE: frozenset[Channel] = frozenset({"presence", "model", "artefact", "update", "want", "ack"})
"""What one child says, or is told."""

_PART = re.compile(r"0|[1-9][0-9]{0,9}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """One topic below a federation's root."""

    federation: FederationId
    cell: NodeId
    node: NodeId  # ``all`` or a child
    channel: Channel
    part: int | None = None

    def __str__(self) -> str:
        text = f"{ROOT}/{self.federation}/{self.cell}/{self.node}/{self.channel}"
        return text if self.part is None else f"{text}/{self.part}"

    @classmethod
    def parse(cls, text: str) -> Topic:
        """Take a topic apart.

        Raises:
            WireError: If the text is not a topic of this protocol.
        """
        levels = text.split("/")
        if len(levels) not in (6, 7) or "/".join(levels[:2]) != ROOT:
            raise WireError(f"topic {text[:200]!r} is not {ROOT}/federation/cell/node/channel")
        federation, cell, node, channel = levels[2:6]
        if not is_node_id(federation) or not is_node_id(cell):
            raise WireError(f"topic {text[:200]!r} names no federation or no cell")
        if node != ALL and not is_node_id(node):
            raise WireError(f"topic {text[:200]!r} names no node")
        expected = PLAIN_CHANNELS if len(levels) == 6 else PART_CHANNELS
        if channel not in expected or channel not in (FOR_ALL if node == ALL else FOR_ONE):
            raise WireError(f"topic {text[:200]!r} has no channel of this protocol")
        return cls(
            federation=FederationId(federation),
            cell=NodeId(cell),
            node=NodeId(node),
            channel=channel,
            part=_parse_part(levels[6]) if len(levels) == 7 else None,
        )


def _parse_part(text: str) -> int:
    if not _PART.fullmatch(text):
        raise WireError(f"part {text[:40]!r} in a topic is not a number")
    return int(text)


def probe_topic(nonce: str) -> str:
    """A topic that only one probe uses."""
    return f"{ROOT}/probe/{nonce}/echo"


def child_filters(
    federation: FederationId, *, cell: NodeId, node: NodeId, metered: bool = False
) -> list[tuple[str, int]]:
    """What a child subscribes to on its parent's broker, with the quality of service.

    A child with a budget asks for every part itself, so that none comes that it cannot pay for.
    """
    base = f"{ROOT}/{federation}/{cell}"
    return [
        (f"{base}/{ALL}/presence", 1),
        (f"{base}/{ALL}/head", 1),
        *([] if metered else [(f"{base}/{ALL}/model/+", 1)]),
        (f"{base}/{node}/model/+", 1),
        (f"{base}/{node}/artefact/+", 1),
        (f"{base}/{node}/ack", 0),
    ]


def parent_filters(federation: FederationId, *, cell: NodeId) -> list[tuple[str, int]]:
    """What a parent subscribes to on its own broker; ``+/presence`` takes in its own as well."""
    base = f"{ROOT}/{federation}/{cell}"
    return [(f"{base}/+/presence", 1), (f"{base}/+/update/+", 1), (f"{base}/+/want", 0)]
