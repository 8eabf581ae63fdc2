"""What the schema says, written out: a JSON schema for editors, Markdown for people."""

from __future__ import annotations

import dataclasses
import inspect
import re
from typing import Any

from fedtier.config.board import BoardFile
from fedtier.config.federation_tables import FederationFile
from fedtier.config.node_tables import NodeFile
from fedtier.config.schema import (
    Key,
    arms,
    choices_of,
    in_words,
    is_table,
    item_of,
    keys_of,
    range_in_words,
    rest_of,
    values_of,
)

FILES: dict[str, tuple[str, type]] = {
    "federation": ("federation.toml", FederationFile),
    "node": ("a node file", NodeFile),
    "board": ("a board profile", BoardFile),
}
"""The kinds of files: what each is called and the table at its top."""

_DOCUMENT = re.compile(r"docs/(\w+\.md)")  # named in a key's text; the reference is in docs, too

_JSON_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}


def json_schema(kind: str) -> dict[str, object]:
    """The JSON schema (draft 2020-12) of a kind of file; editors check TOML against it."""
    title, table = FILES[kind]
    schema: dict[str, object] = {"$schema": "https://json-schema.org/draft/2020-12/schema"}
    return {**schema, "title": title, **_table_schema(table)}


def _table_schema(table: type) -> dict[str, object]:
    named = [key for key in keys_of(table) if not key.info.rest]
    schema: dict[str, object] = {
        "type": "object",
        "description": inspect.getdoc(table),
        "properties": {key.name: _key_schema(key) for key in named},
        "required": [key.name for key in named if key.required],
    }
    rest = rest_of(table)
    schema["additionalProperties"] = False if rest is None else _type(values_of(rest.hint), rest)
    return schema


def _key_schema(key: Key) -> dict[str, object]:
    schema: dict[str, object] = {"title": key.name, "description": key.info.doc}
    options = [_type(arm, key) for arm in arms(key.hint)]
    schema.update(options[0] if len(options) == 1 else {"anyOf": options})
    schema["description"] = key.info.doc
    if not key.required and key.default is not None and not is_table(type(key.default)):
        default = key.default
        schema["default"] = list(default) if isinstance(default, tuple) else default
    return schema


def _type(arm: Any, key: Key) -> dict[str, object]:  # noqa: ANN401 (a type of any kind)
    info = key.info
    options = [_type(inner, key) for inner in arms(arm)] if len(arms(arm)) > 1 else []
    if options:
        return {"anyOf": options}
    if arm is object:
        return {}
    if choices := choices_of(arm):
        return {"type": "string", "enum": list(choices)}
    if is_table(arm):
        return _table_schema(arm)
    if (item := item_of(arm)) is not None:
        limits = {"minItems": info.items_min or None, "maxItems": info.items_max}
        return {"type": "array", "items": _type(item, key), **_given(limits)}
    if (inner := values_of(arm)) is not None:
        return {"type": "object", "additionalProperties": _type(inner, key)}
    schema: dict[str, object] = {"type": _JSON_TYPES[arm]}
    if arm in (int, float):
        bounds: dict[str, object] = {
            "minimum": info.minimum,
            "exclusiveMinimum": info.above,
            "maximum": info.maximum,
        }
        schema.update(_given(bounds))
    return schema


def _given(limits: dict[str, Any]) -> dict[str, object]:
    return {name: limit for name, limit in limits.items() if limit is not None}


def markdown() -> str:
    """The configuration reference: every table and key of every kind of file."""
    lines = [
        "# Configuration reference",
        "",
        "Written by `fedtier config schema --markdown`; do not edit by hand. Units are the last",
        "word of a key's name. An unknown key is refused with the nearest known one. A path is",
        "relative to the file it stands in. Check a file with `fedtier config check FILE`. Sources",
        "of data have keys of their own, in [data.md](data.md), and so have codecs, in",
        "[codecs.md](codecs.md).",
    ]
    for name, table in FILES.values():
        lines += ["", f"## {name[0].upper()}{name[1:]}" if name[0] == "a" else f"## `{name}`"]
        lines += ["", inspect.getdoc(table) or ""]
        lines += _tables(table, path="", many=False)
    return "\n".join(lines) + "\n"


def _tables(table: type, *, path: str, many: bool) -> list[str]:
    lines: list[str] = []
    keys = keys_of(table)
    plain = [key for key in keys if _inner(key) is None]
    if path:
        lines += ["", f"### `[[{path}]]`" if many else f"### `[{path}]`"]
        lines += ["", inspect.getdoc(table) or ""]
    if plain:
        lines += ["", "| key | value | default | meaning |", "|---|---|---|---|"]
        lines += [_row(key) for key in plain]
    for key in keys:
        inner = _inner(key)
        if inner is not None:
            lines += _tables(
                inner,
                path=f"{path}.{key.name}" if path else key.name,
                many=item_of(arms(key.hint)[0]) is not None,
            )
    return lines


def _inner(key: Key) -> type | None:
    arm = arms(key.hint)[0]
    item = item_of(arm)
    found = arm if item is None else item
    return found if is_table(found) else None


def _row(key: Key) -> str:
    value = in_words(values_of(key.hint) if key.info.rest else key.hint)
    if allowed := range_in_words(key.info):
        value += f"; {allowed}"
    name = "any other" if key.info.rest else f"`{key.name}`"
    meaning = _DOCUMENT.sub(r"[\1](\1)", key.info.doc.replace("|", "\\|"))
    return f"| {name} | {value} | {_default(key)} | {meaning} |"


def _default(key: Key) -> str:
    if key.required:
        return "required"
    if key.info.rest or key.default is None or key.default in ((), {}):
        return "–"
    if isinstance(key.default, str):
        return f'`"{key.default}"`'
    if isinstance(key.default, bool):
        return f"`{str(key.default).lower()}`"
    return f"`{key.default}`" if not dataclasses.is_dataclass(key.default) else "–"
