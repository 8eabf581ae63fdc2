"""The effective values of a file, and where each came from."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fedtier.config.schema import keys_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Effective:
    """One value in force."""

    table: str  # as the file writes it, such as [plan] or [[link]] 2
    key: str
    value: object
    origin: Literal["file", "default"]


def effective(tables: object, document: Mapping[str, Any]) -> Iterator[Effective]:
    """Every key of a parsed file, in the schema's order; absent keys without default are left out.

    Args:
        tables: What :func:`fedtier.config.parse.parse_table` made of the document.
        document: The document itself, which tells what was written and what is a default.
    """
    yield from _walk(tables, document, path="", label="")


def _walk(
    tables: object, document: Mapping[str, Any], *, path: str, label: str
) -> Iterator[Effective]:
    later: list[tuple[object, Mapping[str, Any], str, str]] = []
    for key in keys_of(type(tables)):
        value = getattr(tables, key.name)
        inner = f"{path}.{key.name}" if path else key.name
        given = document.get(key.name)
        if key.info.rest:
            for name, entry in value.items():
                yield Effective(table=label, key=name, value=entry, origin="file")
        elif dataclasses.is_dataclass(value):
            later.append((value, given or {}, inner, f"[{inner}]"))
        elif isinstance(value, tuple) and value and dataclasses.is_dataclass(value[0]):
            entries = zip(value, given or (), strict=True)
            for number, (entry, written) in enumerate(entries, start=1):
                later.append((entry, written, inner, f"[[{inner}]] {number}"))
        elif isinstance(value, dict) and not label:
            for name, entry in value.items():
                yield Effective(table=f"[{inner}]", key=name, value=entry, origin="file")
        elif value is not None and (given is not None or value not in ((), {})):
            origin: Literal["file", "default"] = "default" if given is None else "file"
            yield Effective(table=label, key=key.name, value=value, origin=origin)
    for entry, written, inner, title in later:
        yield from _walk(entry, written, path=inner, label=title)
