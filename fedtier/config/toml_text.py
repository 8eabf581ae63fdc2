"""TOML as text: read a document; write one, or the flat tables our own files consist of."""

from __future__ import annotations

import datetime
import re
import tomllib
from collections.abc import Iterator, Mapping

from fedtier.errors import ConfigError

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BYTE_ORDER_MARK = "\ufeff"
_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def parse_document(text: str, *, where: str) -> dict[str, object]:
    """Read a TOML document.

    Raises:
        ConfigError: If the text is not TOML; the message names file, line and column.
    """
    if text.startswith(_BYTE_ORDER_MARK):
        raise ConfigError(
            f"{where}: begins with a byte order mark (BOM), which cannot be seen and TOML does not "
            "allow. Save the file as UTF-8 without BOM."
        )
    try:
        return tomllib.loads(text)
    except (ValueError, RecursionError) as error:  # ValueError: also numbers without end
        raise ConfigError(
            f"{where}: this is not TOML: {error}. A table or a key may be given once only; text "
            "stands in quotes."
        ) from error


def write_document(tables: Mapping[str, Mapping[str, object]], *, comment: str = "") -> str:
    """Write tables of plain values; a value that is None is left out, an empty table too.

    Args:
        tables: Table name to its keys. Values: whatever TOML can say.
        comment: Lines to put on top, without ``#``.
    """
    blocks = []
    if comment:
        blocks.append("\n".join(f"# {line}".rstrip() for line in comment.splitlines()))
    for name, keys in tables.items():
        lines = [f"{write_key(k)} = {write_value(v)}" for k, v in keys.items() if v is not None]
        if lines:
            blocks.append("\n".join([f"[{name}]", *lines]))
    return "\n\n".join(blocks) + "\n"


def write_whole(document: Mapping[str, object], *, comment: str = "") -> str:
    """Write a document that was read: its tables and arrays of tables each under a header.

    Args:
        document: As ``parse_document`` returns it.
        comment: Lines to put on top, without ``#``.
    """
    blocks = [f"# {line}".rstrip() for line in comment.splitlines()]
    top = ["\n".join(blocks)] if blocks else []
    return "\n\n".join([*top, *_blocks("", document)]) + "\n"


def _blocks(header: str, table: Mapping[str, object]) -> Iterator[str]:
    below = {k: v for k, v in table.items() if isinstance(v, Mapping) or _are_tables(v)}
    plain = [f"{write_key(k)} = {write_value(v)}" for k, v in table.items() if k not in below]
    if plain or (header and not below):
        yield "\n".join([*([f"[{header}]"] if header else []), *plain])
    for key, value in below.items():
        name = f"{header}.{write_key(key)}" if header else write_key(key)
        if isinstance(value, Mapping):
            yield from _blocks(name, value)
        else:
            assert isinstance(value, list), "an array of tables"
            # What is below an entry is written within its line: [[node]] data = { ... }
            for entry in value:
                lines = [f"{write_key(k)} = {write_value(v)}" for k, v in entry.items()]
                yield "\n".join([f"[[{name}]]", *lines])


def _are_tables(value: object) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(entry, Mapping) for entry in value)
    )


def write_value(value: object) -> str:
    """Write one value on one line."""
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return repr(value)
        case datetime.date() | datetime.time():
            return value.isoformat()
        case str():
            return f'"{"".join(_escape(c) for c in value)}"'
        case list() | tuple():
            return f"[{', '.join(write_value(entry) for entry in value)}]"
        case Mapping():
            inner = ", ".join(
                f"{write_key(k)} = {write_value(v)}" for k, v in value.items() if v is not None
            )
            return f"{{ {inner} }}" if inner else "{}"
        case _:
            raise AssertionError(f"no TOML value: {value!r}")


def write_key(name: str) -> str:
    """Write a key, quoted where it must be."""
    return name if _BARE_KEY.fullmatch(name) else write_value(name)


def _escape(character: str) -> str:
    if character in _ESCAPES:
        return _ESCAPES[character]
    if ord(character) < 0x20 or ord(character) == 0x7F:
        return f"\\u{ord(character):04x}"
    return character
