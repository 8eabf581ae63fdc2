"""One description of every table a file may hold; checking, JSON schema and docs come from it.

A table is a frozen dataclass whose fields are made by :func:`key`. Nothing else says what a key
means, what it may be, or what it is when absent.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

_METADATA = "fedtier"
REQUIRED = dataclasses.MISSING


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyInfo:
    """What the schema says of one key, beyond its type.

    Ranges apply to a number, or to each number of an array.
    """

    doc: str
    unit: str = ""
    minimum: float | None = None  # least value allowed
    above: float | None = None  # every value must be greater than this
    maximum: float | None = None  # greatest value allowed
    items_min: int = 0  # least length of an array
    items_max: int | None = None
    rest: bool = False  # takes every key that is not named: a plug-in's own parameters
    remedy: str = ""  # what to do about a wrong value, where the range does not say it
    complaint: Callable[[Any], str] | None = (
        None  # the value and what is wrong with it; "" = nothing
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """One key of a table: its name, its type and its default."""

    name: str
    hint: Any
    info: KeyInfo
    default: Any  # REQUIRED if the file must give it

    @property
    def required(self) -> bool:
        """Whether a file must give this key."""
        return self.default is REQUIRED


def key(doc: str, *, default: Any = REQUIRED, **info: Any) -> Any:  # noqa: ANN401 (a field of any type)
    """Describe one key of a table; the arguments are those of :class:`KeyInfo`.

    Args:
        doc: What the key means, one or two sentences.
        default: Its value when absent, or a callable that makes it; without one it is required.
        info: Range, unit and the rest.
    """
    metadata = {_METADATA: KeyInfo(doc=doc, **info)}
    if default is REQUIRED:
        return dataclasses.field(metadata=metadata)
    if callable(default):
        return dataclasses.field(default_factory=default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def keys_of(table: type) -> tuple[Key, ...]:
    """The keys of a table, in the order of its fields, with their types resolved."""
    hints = typing.get_type_hints(table)
    found = []
    for field in dataclasses.fields(table):
        info: KeyInfo = field.metadata[_METADATA]
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        found.append(
            Key(
                name=field.name,
                hint=hints[field.name],
                info=info,
                default=default,
            )
        )
    return tuple(found)


def rest_of(table: type) -> Key | None:
    """The key that takes what no other key names, if the table has one."""
    return next((key for key in keys_of(table) if key.info.rest), None)


def is_table(hint: object) -> bool:
    """Whether a type stands for a table of the file."""
    return isinstance(hint, type) and dataclasses.is_dataclass(hint)


def arms(hint: object) -> tuple[Any, ...]:
    """The alternatives of a type; None (the key may be absent) is left out."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return tuple(arm for arm in typing.get_args(hint) if arm is not type(None))
    return (hint,)


def item_of(hint: object) -> Any:  # noqa: ANN401 (a type of any kind)
    """The type of an array's items; None if ``hint`` is no array."""
    if typing.get_origin(hint) is tuple:
        return typing.get_args(hint)[0]
    return None


def values_of(hint: object) -> Any:  # noqa: ANN401 (a type of any kind)
    """The type of a free table's values; None if ``hint`` is no free table."""
    if typing.get_origin(hint) is dict:
        return typing.get_args(hint)[1]
    return None


def choices_of(hint: object) -> tuple[str, ...]:
    """The words a Literal type allows; empty if ``hint`` is none."""
    return typing.get_args(hint) if typing.get_origin(hint) is Literal else ()


def in_words(hint: object) -> str:
    """Name a type to the person who writes the file."""
    names: list[str] = []
    for arm in arms(hint):
        if choices := choices_of(arm):
            names.extend(f'"{choice}"' for choice in choices)
        elif (item := item_of(arm)) is not None:
            inner = in_words(item)
            same = inner == " or ".join(dict.fromkeys(names))
            names.append("an array of these" if same else f"array of {_PLURALS.get(inner, inner)}")
        elif is_table(arm) or values_of(arm) is not None:
            names.append("table")
        else:
            names.append(_SCALARS[arm])
    return " or ".join(dict.fromkeys(names))


_SCALARS = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    object: "any value",
}
_PLURALS = {
    "whole number": "whole numbers",
    "number": "numbers",
    "text": "texts",
    "table": "tables",
}


def range_in_words(info: KeyInfo) -> str:
    """Name the range of a number; empty if there is none."""
    unit = f" {info.unit}" if info.unit else ""
    least, most = _plain(info.minimum), _plain(info.maximum)
    if info.above is not None:
        least = f"greater than {_plain(info.above)}"
        return f"{least}, at most {most}{unit}" if most else f"{least}{unit}"
    if least and most:
        return f"{least} to {most}{unit}"
    if least:
        return f"{least} or more{unit}"
    return f"{most} or less{unit}" if most else ""


def _plain(number: float | None) -> str:
    if number is None:
        return ""
    return str(number) if isinstance(number, int) else f"{number:.15g}"
