"""What ``[[node]]`` tables say of single nodes, laid over what holds for all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fedtier.config.access import Access
from fedtier.config.braces import expand, fill
from fedtier.config.federation_tables import FederationFile, NodeTable
from fedtier.config.files import resolve, resolve_spec
from fedtier.config.place import Place
from fedtier.ids import NodeId
from fedtier.topology import Topology
from fedtier.transport.address import url_complaint
from fedtier.words import nearest


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeExtras:
    """What the file says of one node beyond its place in the tree."""

    data: Mapping[str, object]  # a device's data specification; empty for others
    board: str | None  # a profile's name or the absolute path of a .toml file
    broker_url: str | None  # the broker of a parent's cell, where the file names one
    access: Access  # how this node logs in, at its own broker and at its parent's
    step_s: float | None  # of a device's local step, simulated, where the file says it of this one
    tables: Mapping[str, str]  # where "data" and "board" were said, such as "[[node]] 2"


@dataclass(slots=True, kw_only=True)
class Particulars:
    """All that the ``[[node]]`` tables say of one node; later tables override earlier ones."""

    place: Place  # the last table that names the node
    tables: dict[str, list[str]] = field(default_factory=dict)  # those that gave each key
    data: dict[str, object] = field(default_factory=dict)
    board: str | None = None
    broker_url: str | None = None
    access: Access = field(default_factory=Access)  # only what the tables give
    tier: int | None = None
    step_s: float | None = None


def read_particulars(tables: Sequence[NodeTable], *, place: Place) -> dict[NodeId, Particulars]:
    """Expand the names of every table and put what stood in their braces in its place.

    Raises:
        ConfigError: For braces that do not pair, ``$n`` without a brace, or a bad broker address.
    """
    found: dict[NodeId, Particulars] = {}
    for number, table in enumerate(tables, start=1):
        here = place.below("node", number=number)
        for name in expand(table.id, place=here, key="id"):
            entry = found.setdefault(NodeId(name.name), Particulars(place=here))
            entry.place = here
            for key, given in (("data", table.data), ("board", table.board)):
                if given:
                    entry.tables.setdefault(key, []).append(f"[[node]] {number}")
            for key, value in table.data.items():
                entry.data[key] = fill(value, name.captures, place=here, key=f"data.{key}")
            if table.board is not None:
                entry.board = str(fill(table.board, name.captures, place=here, key="board"))
            if table.broker_url is not None:
                url = str(fill(table.broker_url, name.captures, place=here, key="broker_url"))
                if wrong := url_complaint(url):
                    raise here.refuse("broker_url", wrong)
                entry.broker_url = url
            own = {
                key: str(fill(value, name.captures, place=here, key=key))
                for key, value in Access.of(table).given.items()
            }
            entry.access = Access(**own).over(entry.access)
            if table.tier is not None:
                entry.tier = table.tier
            if table.step_s is not None:
                entry.step_s = table.step_s
    return found


def combine(
    file: FederationFile,
    particulars: Mapping[NodeId, Particulars],
    topology: Topology,
    *,
    directory: Path,
    data_directory: Path,
    place: Place,
) -> dict[NodeId, NodeExtras]:
    """What holds for each node of the tree, in name order.

    Args:
        file: The file's tables.
        particulars: What ``read_particulars`` found in them.
        topology: The tree.
        directory: What the path of a board profile is relative to.
        data_directory: What the path of data is relative to; ``Path()`` leaves it as written.
        place: What to name in an error.

    Raises:
        ConfigError: If a table names no node of the tree, gives data to a node that is no device
            or a broker to one that has no cell, or if a parent has no broker.
    """
    for node_id, entry in particulars.items():
        _check(node_id, entry, topology)
    common = {"source": file.data.source, **file.data.parameters}
    extras: dict[NodeId, NodeExtras] = {}
    for node in topology:
        own = particulars.get(node.id) or Particulars(place=place)
        broker_url = None if node.is_device else own.broker_url or file.broker.url
        if file.broker.kind == "url" and not node.is_device and broker_url is None:
            raise place.below("broker").refuse(
                "url",
                f'is missing: kind is "url" and {node.id!r} has no broker. Give a url here, or '
                f'a [[node]] with id = "{node.id}" and broker_url = "mqtt://HOST:PORT".',
            )
        extras[node.id] = NodeExtras(
            data=resolve_spec({**common, **own.data}, data_directory) if node.is_device else {},
            board=_board(own.board, directory),
            broker_url=broker_url,
            access=own.access.over(Access.of(file.broker)),
            step_s=own.step_s,
            tables=_tables(own, device=node.is_device),
        )
    return extras


def _check(node_id: NodeId, entry: Particulars, topology: Topology) -> None:
    if node_id not in topology:
        known = [node.id for node in topology]
        raise entry.place.refuse(
            "id",
            f"names {node_id!r}, which is no node of [tree].{nearest(node_id, known)} Correct the "
            "id, or add the node to [tree].",
        )
    device = topology.node(node_id).is_device
    if entry.data and not device:
        raise entry.place.refuse(
            "data",
            f"is given for {node_id!r}, on tier {topology.node(node_id).tier}; only devices "
            "(tier 0) have data. Remove it, or make the node a device: one without children.",
        )
    if entry.step_s is not None and not device:
        raise entry.place.refuse(
            "step_s",
            f"is given for {node_id!r}, on tier {topology.node(node_id).tier}; only devices "
            "(tier 0) take local steps. Remove it.",
        )
    if entry.broker_url is not None and device:
        raise entry.place.refuse(
            "broker_url",
            f"is given for {node_id!r}, a device, which has no cell. Give it to its parent "
            f"{topology.parent(node_id)!r}.",
        )


def _tables(own: Particulars, *, device: bool) -> dict[str, str]:
    tables: dict[str, str] = {}
    if device:
        tables["data"] = " and ".join(["[data]", *own.tables.get("data", ())])
    if "board" in own.tables:
        tables["board"] = own.tables["board"][-1]
    return tables


def _board(board: str | None, directory: Path) -> str | None:
    if board is None or not board.endswith(".toml"):
        return board
    return resolve(board, directory)
