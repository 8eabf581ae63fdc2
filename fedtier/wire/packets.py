"""From a message to topic and payload, and back."""

from __future__ import annotations

from typing import assert_never

from fedtier.errors import WireError
from fedtier.ids import FederationId, NodeId
from fedtier.wire.head import Beacon, Head, decode_head_or_beacon
from fedtier.wire.messages import Ack, Message, Presence, Want
from fedtier.wire.parts import Part
from fedtier.wire.topics import QOS, RETAINED, Channel, Topic


def channel_of(message: Message) -> Channel:
    """The channel a message travels on."""
    match message:
        case Presence():
            return "presence"
        case Head() | Beacon():
            return "head"
        case Want():
            return "want"
        case Ack():
            return "ack"
        case Part():
            return message.kind
        case _:
            assert_never(message)


def encode_packet(
    message: Message, *, federation: FederationId, cell: NodeId, node: NodeId
) -> tuple[str, bytes, int, bool]:
    """What to publish: topic, payload, quality of service, retained."""
    channel = channel_of(message)
    topic = Topic(
        federation=federation, cell=cell, node=node, channel=channel,
        part=message.part if isinstance(message, Part) else None,
    )  # fmt: skip
    beacon = isinstance(message, Beacon)  # a beacon must not replace the retained head
    qos = 0 if beacon else QOS[channel]
    return str(topic), message.encode(), qos, channel in RETAINED and not beacon


def decode_packet(topic: Topic, payload: bytes) -> Message:
    """Read what came on a topic.

    Raises:
        WireError: If the payload is not what the topic's channel carries.
    """
    match topic.channel:
        case "presence":
            return Presence.decode(payload)
        case "head":
            return decode_head_or_beacon(payload)
        case "want":
            return Want.decode(payload)
        case "ack":
            return Ack.decode(payload)
        case "model" | "artefact" | "update":
            part = Part.decode(payload, kind=topic.channel)
            if part.part != topic.part:
                raise WireError(f"part {part.part} came on the topic of part {topic.part}")
            return part
        case _:
            assert_never(topic.channel)
