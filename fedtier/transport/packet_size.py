"""The exact size of a PUBLISH packet, so that one too large is refused before it is sent."""

from __future__ import annotations

from fedtier.errors import LinkError

PACKET_BYTES_MAX = 268_435_455 + 5  # MQTT's own limit: remaining length and fixed header


def publish_packet_bytes(topic: str, payload_bytes: int, *, qos: int) -> int:
    """Bytes of a PUBLISH packet without properties.

    Source: MQTT 5.0, 3.3: fixed header, topic and its length, packet id when QoS > 0, property
    length 0, payload.
    """
    remaining = 2 + len(topic.encode()) + (2 if qos else 0) + 1 + payload_bytes
    length_bytes = 1 + (remaining > 127) + (remaining > 16_383) + (remaining > 2_097_151)
    return 1 + length_bytes + remaining


def check_packet_bytes(topic: str, payload_bytes: int, *, qos: int, limit_bytes: int) -> int:
    """Size a PUBLISH packet and hold it against what the broker takes.

    Returns:
        The packet's bytes.

    Raises:
        LinkError: If it is larger than ``limit_bytes``; both numbers are in the message.
    """
    packet_bytes = publish_packet_bytes(topic, payload_bytes, qos=qos)
    if packet_bytes > limit_bytes:
        raise LinkError(
            f"a message of {packet_bytes} bytes to {topic} is larger than the {limit_bytes} bytes "
            "this broker takes. Make the federation's part_bytes smaller, or raise the broker's "
            "limit (mosquitto: max_packet_size)."
        )
    return packet_bytes
