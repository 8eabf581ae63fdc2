"""From a node file to connections: the same for every role."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fedtier.config.node_file import ConnectSection, NodeFile
from fedtier.core.effects import Side
from fedtier.errors import ConfigError
from fedtier.ids import BootNonce, NodeId, hex64
from fedtier.limits import CELL_SESSION_EXPIRY_S, DAY_S
from fedtier.runtime.loop import Connection
from fedtier.runtime.mailbox import Mailbox
from fedtier.transport.base import Credentials, Will
from fedtier.transport.mqtt import MqttTransport
from fedtier.wire.messages import Presence, Status
from fedtier.wire.packets import encode_packet
from fedtier.wire.topics import ALL, child_filters, parent_filters

if TYPE_CHECKING:
    from fedtier.runtime.metered import BudgetGate


def step_back(nice: int) -> None:
    """Let other processes of the board go first."""
    if nice > 0:
        os.nice(nice)


def connection_up(file: NodeFile, mailbox: Mailbox, nonce: BootNonce) -> Connection:
    """The connection to the parent's broker.

    Raises:
        ConfigError: If the URL or a credential cannot be used.
    """
    parent = file.parent
    assert parent is not None, "a node file with this role has a parent"
    cell = NodeId(parent.id)
    topic, payload = presences(file, nonce, "lost")["up"]
    metered = file.budget is not None
    transport = MqttTransport(
        parent.url,
        file.id,
        child_filters(file.federation, cell=cell, node=file.id, metered=metered),
        mailbox.inbox("up"),
        will=Will(topic=topic, payload=payload),
        credentials=credentials_of(parent),
        keepalive_s=parent.keepalive_s,
        gate=_gate(file, mailbox),
        where=f"[parent] of {file.id}",
    )
    return Connection(
        transport=transport,
        cell=cell,
        where=parent.url,
        credentials=transport.credentials,
        part_bytes=file.node.part_bytes,
    )


def _gate(file: NodeFile, mailbox: Mailbox) -> BudgetGate | None:
    """What keeps the budget of the link to the parent; None where it has none.

    Raises:
        ConfigError: If this system does not count the bytes of a connection.
        StorageError: If what was spent cannot be read.
    """
    if file.budget is None:
        return None
    assert file.parent is not None, "only a link has a budget"
    # What nodes without one need not hold in memory.
    from fedtier.runtime.metered import BudgetGate
    from fedtier.storage.spending_record import SpendingRecord
    from fedtier.transport.address import parse_url
    from fedtier.wire.costs import Prices

    if not hasattr(socket, "TCP_INFO"):
        raise ConfigError(
            f"[budget] of {file.id}: this system does not count the bytes of a connection, so a "
            "budget cannot be kept. Remove the table, or use Linux."
        )
    budget = file.budget.budget
    return BudgetGate(
        budget,
        SpendingRecord(Path(file.node.state_dir) / "budget.record", budget, window_s=DAY_S),
        Prices.of(
            members=file.budget.members,
            part_bytes=file.node.part_bytes,
            tls=parse_url(file.parent.url).tls,
        ),
        tell=mailbox.put,
        window_s=DAY_S,
        where=file.parent.url,
    )


def connection_down(
    file: NodeFile, mailbox: Mailbox, nonce: BootNonce, *, give_up_s: float
) -> Connection:
    """The connection to one's own cell's broker.

    Raises:
        ConfigError: If the URL or a credential cannot be used.
    """
    section = file.cell
    assert section is not None, "a node file with this role has a cell"
    topic, payload = presences(file, nonce, "lost")["down"]
    transport = MqttTransport(
        section.url,
        # Of this boot alone: two parents under one id must both be heard, not end each other's
        # connections in turn, for either to find out about the other.
        f"{file.id}.cell.{hex64(nonce)[:8]}",
        parent_filters(file.federation, cell=file.id),
        mailbox.inbox("down"),
        will=Will(topic=topic, payload=payload),
        credentials=credentials_of(section),
        keepalive_s=section.keepalive_s,
        where=f"[cell] of {file.id}",
        session_expiry_s=CELL_SESSION_EXPIRY_S,
    )
    return Connection(
        transport=transport,
        cell=file.id,
        where=section.url,
        credentials=transport.credentials,
        part_bytes=file.node.part_bytes,
        give_up_s=give_up_s,
    )


def presences(file: NodeFile, nonce: BootNonce, status: Status) -> Mapping[Side, tuple[str, bytes]]:
    """What to say of oneself on each side: topic and payload.

    Args:
        file: Whose.
        nonce: Of the boot.
        status: ``lost`` is the will of a connection, ``leaving`` what is said last in order.
    """
    result: dict[Side, tuple[str, bytes]] = {}
    if file.parent is not None:
        result["up"] = _presence(file, NodeId(file.parent.id), file.id, nonce, status)
    if file.cell is not None:
        result["down"] = _presence(file, file.id, ALL, nonce, status)
    return result


def _presence(
    file: NodeFile, cell: NodeId, node: NodeId, nonce: BootNonce, status: Status
) -> tuple[str, bytes]:
    topic, payload, _, _ = encode_packet(
        Presence(status=status, nonce=nonce), federation=file.federation, cell=cell, node=node
    )
    return topic, payload


def credentials_of(section: ConnectSection) -> Credentials:
    """Who a node file says the node is to a broker."""

    def path(text: str | None) -> Path | None:
        return None if text is None else Path(text)

    return Credentials(
        username=section.username,
        password_file=path(section.password_file),
        ca_file=path(section.cafile),
        certificate_file=path(section.certfile),
        key_file=path(section.keyfile),
    )
