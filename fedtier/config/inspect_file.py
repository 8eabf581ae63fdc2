"""Look at a file of any kind: is it right, and what does it come to."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from fedtier.config.board import BoardFile, parse_board
from fedtier.config.federation import Federation, evaluation_in_force, parse_federation
from fedtier.config.federation_tables import FederationFile
from fedtier.config.files import read_text
from fedtier.config.kinds import kind_of
from fedtier.config.node_file import NodeFile, parse_node_file
from fedtier.config.parse import parse_table
from fedtier.config.place import Place
from fedtier.config.schema import keys_of
from fedtier.config.toml_text import parse_document, write_key, write_value
from fedtier.topology import Node
from fedtier.words import counted

_Origin = Literal["file", "default", "[data]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """What was found in a file that is right."""

    summary: str  # one line
    shown: str  # the values in force as TOML, each with where it came from
    found: Federation | NodeFile | BoardFile


@dataclass(frozen=True, slots=True, kw_only=True)
class _Effective:
    """One value in force."""

    table: str  # as the file writes it, such as [plan] or [[link]] 2
    key: str
    value: object
    origin: _Origin


def inspect_file(path: Path) -> Inspected:
    """Read and check a federation file, a node file or a board profile.

    Raises:
        ConfigError: If it cannot be read or cannot be.
    """
    where = str(path)
    text = read_text(path)
    directory = path.resolve().parent
    document = parse_document(text, where=where)
    kind = kind_of(document)
    if kind == "node":
        node = parse_node_file(text, where=where, directory=directory)
        plain = parse_table(NodeFile, document, Place(where))
        return Inspected(summary=_of_node(node), shown=_values(plain, document), found=node)
    if kind == "board":
        board = parse_board(text, where=where)
        return Inspected(
            summary=f"board profile {board.name}",
            shown=_values(parse_table(BoardFile, document, Place(where)), document),
            found=board,
        )
    federation = parse_federation(text, where=where, directory=directory)
    file = parse_table(FederationFile, document, Place(where))
    file = dataclasses.replace(file, evaluation=evaluation_in_force(file, place=Place(where)))
    return Inspected(
        summary=_of_federation(federation),
        shown=_values(file, document) + "\n" + _tree(federation),
        found=federation,
    )


def _of_node(file: NodeFile) -> str:
    above = f", below {file.parent.id}" if file.parent else ""
    below = f", {counted(len(file.members), 'member')}" if file.members else ""
    return f"{file.node.role} {file.id} of federation {file.federation}{above}{below}"


def _of_federation(federation: Federation) -> str:
    topology = federation.topology
    nowhere = federation.without_broker() == topology.parents()
    return (
        f"federation {federation.id}: {counted(topology.tiers, 'tier')}, "
        f"{counted(len(topology.devices()), 'device')}, "
        f"{counted(len(topology.gateways()), 'gateway')}, tau {_tau(federation)}"
        + ("; no broker_url, so for fedtier demo alone" if nowhere else "")
    )


def _tau(federation: Federation) -> str:
    return str(list(federation.plan.tau)) if federation.plan.auto is None else "auto"


def _values(tables: object, document: Mapping[str, Any]) -> str:
    """The values in force, each with where it came from.

    Args:
        tables: What :func:`fedtier.config.parse.parse_table` made of the document.
        document: The document itself, which tells what was written and what is a default.
    """
    rows = _walk(tables, document, path="", label="")
    blocks = []
    for table, entries in itertools.groupby(rows, key=lambda row: row.table):
        pairs = [(f"{write_key(e.key)} = {write_value(e.value)}", e.origin) for e in entries]
        width = max(len(text) for text, _ in pairs)
        lines = [f"{text:{width}}  # {origin}" for text, origin in pairs]
        blocks.append("\n".join([_heading(table), *lines] if table else lines))
    return "\n\n".join(blocks) + "\n"


def _walk(
    tables: object, document: Mapping[str, Any], *, path: str, label: str
) -> Iterator[_Effective]:
    """Every key in the schema's order; an absent key without default is left out."""
    later: list[tuple[object, Mapping[str, Any], str, str]] = []
    origin: _Origin
    for key in keys_of(type(tables)):
        value = getattr(tables, key.name)
        inner = f"{path}.{key.name}" if path else key.name
        given = document.get(key.name)
        if key.info.rest:
            for name, entry in value.items():
                origin = "file" if name in document else "[data]"
                yield _Effective(table=label, key=name, value=entry, origin=origin)
        elif dataclasses.is_dataclass(value):
            later.append((value, given or {}, inner, f"[{inner}]"))
        elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            entries = zip(value, given or (), strict=True)
            for number, (entry, written) in enumerate(entries, start=1):
                later.append((entry, written, inner, f"[[{inner}]] {number}"))
        elif isinstance(value, dict) and not label:
            for name, entry in value.items():
                yield _Effective(table=f"[{inner}]", key=name, value=entry, origin="file")
        elif value is not None and (given is not None or value not in ((), {})):
            origin = _origin(given, value, key.default)
            yield _Effective(table=label, key=key.name, value=value, origin=origin)
    for entry, written, inner, title in later:
        yield from _walk(entry, written, path=inner, label=title)


def _origin(given: object, value: object, default: object) -> _Origin:
    if given is not None:
        return "file"
    return "default" if value == default else "[data]"  # where [evaluation] takes what it lacks


def _heading(table: str) -> str:
    name, _, number = table.partition("]] ")
    return f"{name}]]  # {number}" if number else table


def _tree(federation: Federation) -> str:
    notes = {node.id: _note(federation, node) for node in federation.topology}
    drawn = federation.topology.draw(notes)
    return "\n".join(f"# {line}".rstrip() for line in drawn.splitlines()) + "\n"


def _note(federation: Federation, node: Node) -> str:
    extras = federation.nodes[node.id]
    words = [f"tier {node.tier}"]
    if node.parent is not None:
        repeats = federation.topology.repeats(federation.plan.tau, node.id)
        unit = "local steps" if node.is_device else "iterations"
        link = federation.links[federation.topology.node(node.parent).tier - 1]
        often = f"{repeats} {unit}, " if federation.plan.auto is None else ""
        words.append(f"{often}link {link.index} ({link.codec})")
    if not node.is_device:
        children = len(federation.topology.children(node.id))
        words.append(f"{federation.members_needed(node.id)} of {children} must answer")
    if extras.data:
        words.append(_data(extras.data))
    if extras.broker_url:
        words.append(extras.broker_url)
    if extras.board:
        words.append(extras.board)
    return "; ".join(words)


def _data(spec: Mapping[str, object]) -> str:
    return "data " + ", ".join(f"{name} {value}" for name, value in spec.items())
