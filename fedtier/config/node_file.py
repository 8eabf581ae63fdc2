"""A node file: all that one process must know to run, and nothing of the plan."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fedtier.config.access import check_pairs
from fedtier.config.board import BoardTable
from fedtier.config.files import at_home, read_text, resolve_spec
from fedtier.config.inference import is_local_port
from fedtier.config.kinds import check_kind
from fedtier.config.node_tables import (
    CONNECT_FILES,
    CellSection,
    ConnectSection,
    DataSection,
    NodeFile,
    NodeSection,
    ParentSection,
)
from fedtier.config.parse import parse_table
from fedtier.config.place import Place
from fedtier.config.schema import keys_of
from fedtier.config.toml_text import parse_document
from fedtier.errors import ConfigError
from fedtier.ids import parse_federation_id, parse_node_id
from fedtier.transport.address import parse_url

if TYPE_CHECKING:
    from fedtier.data.selection import Selection

__all__ = [
    "CellSection",
    "ConnectSection",
    "DataSection",
    "NodeFile",
    "NodeSection",
    "ParentSection",
    "load_node_file",
    "parse_node_file",
    "select_data",
]

_PATHS = {
    "node": ("state_dir", "run_dir", "federation_file", "artefact"),
    "parent": CONNECT_FILES,
    "cell": CONNECT_FILES,
}

# A key that would be ignored is a mistake of the writer, so each role says what it does not take.
_FOR_DEVICES = (
    "node.weight",
    "inference",
    *(f"board.{key.name}" for key in keys_of(BoardTable) if key.name != "nice"),
)
_NEEDED = {
    "agent": ("parent", "data"),
    "gateway": ("parent", "cell"),
    "cloud": ("node.run_dir", "node.federation_file", "node.artefact", "cell"),
}
_UNWANTED = {
    "agent": ("node.run_dir", "node.federation_file", "cell"),
    "gateway": ("node.run_dir", "node.federation_file", "node.artefact", "data", *_FOR_DEVICES),
    "cloud": (
        "parent",
        "budget",
        "data",
        "cell.members_min",
        *_FOR_DEVICES,
    ),  # its quorum is in the plan
}


def load_node_file(path: Path, *, role: str | None = None) -> NodeFile:
    """Read and check a node file.

    Args:
        path: The file.
        role: The role of the program that reads it; another role in the file is refused.

    Raises:
        ConfigError: If it cannot be read or cannot be; names file, table, key and remedy.
    """
    file = parse_node_file(read_text(path), where=str(path), directory=path.resolve().parent)
    if role is not None and file.node.role != role:
        raise ConfigError(
            f'{path}: [node] role = "{file.node.role}", but this is the {role} program. Run '
            f"`fedtier {file.node.role} run --config {path}`, or give another file."
        )
    return file


def parse_node_file(text: str, *, where: str, directory: Path) -> NodeFile:
    """Check a node file's text.

    Args:
        text: TOML.
        where: The file's name, for errors.
        directory: What paths in the file are relative to; they come out absolute.

    Raises:
        ConfigError: If it cannot be; names file, table, key and remedy.
    """
    top = Place(where)
    document = parse_document(text, where=where)
    check_kind(document, "node", where=where)
    file = parse_table(NodeFile, document, top)
    _check_ids(file, top)
    _check_role(file.node.role, document, top)
    _check_tier(file, top.below("node"))
    _check_weight(file, top.below("node"))
    for name in ("parent", "cell"):
        section = getattr(file, name)
        if section is not None:
            _check_connect(section, top.below(name))
    _check_budget(file, top.below("budget"))
    file = _absolute(file, directory)
    if file.data is not None:
        select_data(file, where=where)
    return file


def select_data(file: NodeFile, *, where: str) -> Selection:
    """What a device's data table selects, as far as it tells.

    Raises:
        ConfigError: If the table is not what its source takes.
    """
    # Here, for data bring numpy, which a gateway's file does not need.
    from fedtier.data.sources import device_selection

    assert file.data is not None, "only a device has data"
    place = str(Place(where).below("data"))
    return device_selection(file.data.spec, node=file.id, where=place)


def _check_ids(file: NodeFile, top: Place) -> None:
    node = top.below("node")
    parse_node_id(file.node.id, where=node.at("id"))
    parse_federation_id(file.node.federation, where=node.at("federation"))
    if file.parent is not None:
        parse_node_id(file.parent.id, where=top.below("parent").at("id"))
        if file.parent.id == file.node.id:
            raise top.below("parent").refuse(
                "id", f'= "{file.parent.id}" is this node\'s own id. Name the node above.'
            )
    if file.cell is not None:
        place = top.below("cell")
        seen: set[str] = {file.node.id} | ({file.parent.id} if file.parent else set())
        for member in file.cell.members:
            parse_node_id(member, where=place.at("members"))
            if member in seen:
                raise place.refuse(
                    "members",
                    f"names {member!r}, which is this node, its parent, or named twice. Two nodes "
                    "cannot have one id: rename or remove it.",
                )
            seen.add(member)
        if file.members_min > len(file.members):
            raise place.refuse(
                "members_min",
                f"= {file.members_min} is more than the {len(file.members)} members; allowed are "
                f"1 to {len(file.members)}. Lower it, or leave it out to wait for all.",
            )


def _check_role(role: str, document: Mapping[str, object], top: Place) -> None:
    for dotted in _NEEDED[role]:
        if not _is_given(document, dotted):
            raise ConfigError(f'{_shown(dotted, top)} is missing; role = "{role}" needs it.')
    for dotted in _UNWANTED[role]:
        if _is_given(document, dotted):
            raise ConfigError(
                f'{_shown(dotted, top)} means nothing for role = "{role}". Remove it, or '
                "correct the role."
            )


def _is_given(document: Mapping[str, object], dotted: str) -> bool:
    value: object = document
    for name in dotted.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value is not None


def _shown(dotted: str, top: Place) -> str:
    table, _, name = dotted.partition(".")
    return top.below(table).at(name) if name else str(top.below(table))


def _check_tier(file: NodeFile, node: Place) -> None:
    tier, role = file.node.tier, file.node.role
    if role == "agent" and tier != 0:
        raise node.refuse("tier", f"= {tier}: a device is on tier 0. Correct the tier or the role.")
    if role != "agent" and tier == 0:
        raise node.refuse(
            "tier", f"= 0 is for devices; a {role} is on tier 1 or higher. Correct tier or role."
        )


def _check_weight(file: NodeFile, node: Place) -> None:
    if file.node.weight == "examples" and file.node.artefact is None:
        raise node.refuse(
            "weight",
            '= "examples": they are counted before an artefact comes from the parent, so this '
            "device needs one of its own. Give artefact, or a whole number as weight.",
        )


def _check_connect(section: ConnectSection, place: Place) -> None:
    check_pairs(section, place)
    if not parse_url(section.url, where=place.at("url")).tls:
        for name in ("cafile", "certfile"):
            if getattr(section, name) is not None:
                raise place.refuse(
                    name,
                    f'is for TLS, but url = "{section.url}" is not encrypted. Write mqtts://, or '
                    f"remove {name}.",
                )
    if isinstance(section, CellSection) and section.start and section.kind == "url":
        raise place.refuse(
            "start",
            '= true, but kind = "url" means a broker that runs already. Choose kind = "mosquitto" '
            'or "embedded", or remove start.',
        )


def _check_budget(file: NodeFile, place: Place) -> None:
    """A budget that cannot pay for one part, or a pace at which it takes too long, is no link."""
    if file.budget is None or file.parent is None:
        return
    from fedtier.config.budget_rules import check_budget  # most have none
    from fedtier.wire.costs import Prices

    prices = Prices.of(
        members=file.budget.members,
        part_bytes=file.node.part_bytes,
        tls=parse_url(file.parent.url).tls,
    )
    check_budget(file.budget.budget, [prices], part_bytes=file.node.part_bytes, place=place)


def _absolute(file: NodeFile, directory: Path) -> NodeFile:
    changed: dict[str, object] = {}
    for name, keys in _PATHS.items():
        section = getattr(file, name)
        if section is not None:
            paths = {k: getattr(section, k) for k in keys}
            resolved = {k: at_home(v, directory) for k, v in paths.items() if v is not None}
            if name != "node" and section.password_file is not None and section.username is None:
                resolved["username"] = file.node.id  # a node's name towards brokers is its id
            changed[name] = dataclasses.replace(section, **resolved)
    endpoint = None if file.inference is None else file.inference.endpoint
    if file.inference is not None and endpoint is not None and not is_local_port(endpoint):
        place = at_home(endpoint, directory)
        changed["inference"] = dataclasses.replace(file.inference, endpoint=place)
    if file.data is not None:
        parameters = resolve_spec(file.data.parameters, directory)
        changed["data"] = dataclasses.replace(file.data, parameters=parameters)
    return dataclasses.replace(file, **changed)  # type: ignore[arg-type]
