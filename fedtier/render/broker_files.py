"""The files a broker starts from, as text: mosquitto.conf, ACL, password file, iotcore's TOML.

Queue limits follow from the protocol, not from the number of parts in flight anywhere: a receiver
serves at most K transfers and asks for at most a window of parts each, so K x window parts, one
offer per child and a little control is all that ever waits for one client (``queue_limits``).
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedtier.errors import ConfigError
from fedtier.ids import FederationId, NodeId
from fedtier.limits import KIB, MIB, RESERVED_IDS, TRANSFERS_AT_ONCE, WINDOW_PARTS
from fedtier.wire.topics import ALL, ROOT

PACKET_OVERHEAD_BYTES = 4 * KIB  # topic, headers, and room for properties a broker may add
QUEUE_BYTES_CEILING = 256 * MIB  # a limit, not a reservation; what is dropped is offered again
OPERATOR = "operator"

_CHILD_WRITES = ("presence", "update/+", "want", "metrics")
_CHILD_READS = ("ack", "model/+", "artefact/+")
_PARENT_SAYS = ("head", "presence", "model/+", "artefact/+")
_CONTROL_MESSAGES = 64  # presences, heads and beacons that may wait beside the parts
_EMBEDDED_SEGMENTS = 3  # the oldest is dropped whole: two are what a reader may lag behind
_EMBEDDED_SEGMENT_BYTES_MIN = 8 * MIB
# Lines before the first ``user`` are for nameless clients only, and a line for a user names it: a
# pattern is all that gives every user, present or to come, the same.
_SAID_TO_ALL = """\
# What a parent says to all of its children, the same for every user. mosquitto warns at every start
# that these patterns contain neither %c nor %u; that is meant, and harmless: only patterns are for
# all users, without naming one."""
_PASSWORD_ITERATIONS = 101  # mosquitto_passwd's own; the file is readable by the broker alone


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueLimits:
    """How much a broker lets wait for one client."""

    messages: int
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerTls:
    """Paths of a TLS listener."""

    certificate_file: str
    key_file: str
    # Who signs the certificates clients must bring, whose CN is their user name; None = they need
    # none, and log in by password if at all.
    ca_file: str | None = None


def packet_bytes_max(part_bytes: int) -> int:
    """The largest packet a broker must take for parts of ``part_bytes``."""
    return part_bytes + PACKET_OVERHEAD_BYTES


def queue_limits(
    *,
    part_bytes: int,
    children: int,
    transfers: int = TRANSFERS_AT_ONCE,
    window_parts: int = WINDOW_PARTS,
) -> QueueLimits:
    """Twice what may wait for one client: K windows, an offer of every child, some control.

    The factor 2 is for a want repeated while its parts were still under way. A queue that is too
    small loses messages silently (every one of them acknowledged), and the transfer then takes
    ``gap_s`` longer; one too large lets a slow reader fill the memory of a small board.
    """
    messages = 2 * (transfers * window_parts + children + _CONTROL_MESSAGES)
    queue_bytes = min(messages * packet_bytes_max(part_bytes), QUEUE_BYTES_CEILING)
    return QueueLimits(messages=messages, bytes=queue_bytes)


def mosquitto_conf(
    *,
    host: str | None,
    port: int,
    part_bytes: int,
    children: int,
    allow_anonymous: bool,
    packet_bytes: int | None = None,
    sys_interval_s: int = 10,
    run_as: str | None = None,
    acl_file: str | None = None,
    password_file: str | None = None,
    tls: ListenerTls | None = None,
) -> str:
    """Render mosquitto.conf (mosquitto >= 2.0) for one listener.

    Args:
        host: The address to listen on; ``127.0.0.1`` for a demo or a test; None = every address of
            the machine, of IPv4 and IPv6.
        port: 1 to 65535.
        part_bytes: The federation's part size.
        children: How many clients may send to one parent on this broker.
        allow_anonymous: Whether a client may come without a name; never with an ACL on a network.
        packet_bytes: Largest packet, announced to clients; by default what parts need.
        sys_interval_s: How often ``$SYS`` is published; 0 = never.
        run_as: The user mosquitto changes to when started by root; None = its own default.
        acl_file: Path of an ACL file, see ``acl_file``.
        password_file: Path of a password file, see ``password_file``.
        tls: Certificates of a TLS listener.

    Raises:
        ConfigError: If the packet limit is too small for the parts, or a path has a line break.
    """
    needed_bytes = packet_bytes_max(part_bytes)
    packet_bytes = needed_bytes if packet_bytes is None else packet_bytes
    if packet_bytes < needed_bytes:
        raise ConfigError(
            f"max_packet_size {packet_bytes} is too small for parts of {part_bytes} bytes: it must "
            f"be at least {needed_bytes}. Make part_bytes smaller."
        )
    limits = queue_limits(part_bytes=part_bytes, children=children)
    options: list[tuple[str, str | int | bool | None]] = [
        ("user", run_as),
        ("persistence", False),  # nothing in the protocol relies on what a broker remembers
        ("set_tcp_nodelay", True),  # without it an answer waits 40 ms for the next one
        ("max_packet_size", packet_bytes),
        ("max_inflight_messages", 20),
        ("max_queued_messages", limits.messages),
        ("max_queued_bytes", limits.bytes),
        ("sys_interval", sys_interval_s),
        ("log_dest", "stderr"),
        ("log_type", "error"),
        ("log_type", "warning"),
        ("log_type", "notice"),
        ("allow_anonymous", allow_anonymous),
        ("acl_file", acl_file),
        ("password_file", password_file),
        ("listener", str(port) if host is None else f"{port} {host}"),
    ]
    if tls is not None:
        options += [
            ("cafile", tls.ca_file),
            ("certfile", tls.certificate_file),
            ("keyfile", tls.key_file),
        ]
        if tls.ca_file is not None:
            options += [("require_certificate", True), ("use_identity_as_username", True)]
    return "".join(_option(name, value) for name, value in options if value is not None)


def _option(name: str, value: str | int | bool) -> str:
    text = str(value).lower() if isinstance(value, bool) else str(value)
    if any(character in text for character in "\r\n\0"):
        raise ConfigError(f"{name} {text!r} has a line break, which mosquitto.conf cannot hold")
    return f"{name} {text}\n"


def acl_file(
    *, federation: FederationId, cells: Sequence[NodeId], cloud: NodeId | None = None
) -> str:
    """Render mosquitto's ACL file for the cells of one broker.

    User names are node ids. Cells are named literally and children not at all: a new device
    changes no broker. Every user also gets what a child gets, under its own name; hence a parent
    admits only the members on its list.

    Args:
        federation: The federation whose topics these are.
        cells: The parents whose cells live on this broker.
        cloud: The cloud's id, if its cell is here: an operator may then command it.
    """
    root = f"{ROOT}/{federation}"
    lines: list[str] = []
    for cell in cells:
        assert cell not in RESERVED_IDS, cell
        base = f"{root}/{cell}"
        lines.append(f"user {cell}")
        lines += [f"topic read {base}/+/{channel}" for channel in _CHILD_WRITES]
        lines += [f"topic write {base}/{ALL}/{channel}" for channel in _PARENT_SAYS]
        lines += [f"topic write {base}/+/{channel}" for channel in _CHILD_READS]
        if cell == cloud:
            lines.append(f"topic read {root}/{OPERATOR}/{cloud}/#")
        lines.append("")
    lines += [f"user {OPERATOR}", f"topic read {root}/#"]
    if cloud is not None:
        lines.append(f"topic write {root}/{OPERATOR}/{cloud}/#")
    lines.append("")
    for cell in cells:
        base = f"{root}/{cell}"
        lines += [f"pattern write {base}/%u/{channel}" for channel in _CHILD_WRITES]
        lines += [f"pattern read {base}/%u/{channel}" for channel in _CHILD_READS]
    lines += ["", _SAID_TO_ALL]
    for cell in cells:
        base = f"{root}/{cell}"
        lines += [f"pattern read {base}/{ALL}/{channel}" for channel in _PARENT_SAYS]
    return "\n".join(lines) + "\n"


def password_file(entries: Mapping[str, tuple[str, bytes]]) -> str:
    """Render mosquitto's password file.

    Args:
        entries: Password and salt (12 random bytes) of every user name.

    Notes:
        ``$7$`` is PBKDF2-HMAC-SHA512 with 64 bytes of output, as ``mosquitto_passwd`` of 2.0
        writes it.
    """
    lines = []
    for user, (password, salt) in entries.items():
        assert ":" not in user, user
        assert len(salt) == 12, len(salt)
        digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, _PASSWORD_ITERATIONS, 64)
        salt_text, digest_text = (base64.b64encode(raw).decode() for raw in (salt, digest))
        lines.append(f"{user}:$7${_PASSWORD_ITERATIONS}${salt_text}${digest_text}\n")
    return "".join(lines)


def iotcore_toml(*, host: str, port: int, part_bytes: int, children: int) -> str:
    """Render the TOML of the embedded broker (iotcore 0.4, rumqttd 0.20): one MQTT 5 listener.

    It keeps a log of segments per subscribed filter and drops the oldest, acknowledged or not, so
    all segments but one hold what may wait for a client. That log is also why its memory grows
    with traffic, up to ``_EMBEDDED_SEGMENTS`` segments per filter.
    """
    limits = queue_limits(part_bytes=part_bytes, children=children)
    segment_bytes = max(_EMBEDDED_SEGMENT_BYTES_MIN, -(-limits.bytes // (_EMBEDDED_SEGMENTS - 1)))
    return f"""\
id = 0

[router]
id = 0
max_connections = {children + 64}
max_outgoing_packet_count = 200
max_segment_size = {segment_bytes}
max_segment_count = {_EMBEDDED_SEGMENTS}

[v5.1]
name = "v5"
listen = {json.dumps(f"{host}:{port}")}
next_connection_delay_ms = 1

[v5.1.connections]
connection_timeout_ms = 60000
max_payload_size = {packet_bytes_max(part_bytes)}
max_inflight_count = 100
dynamic_filters = true
"""
