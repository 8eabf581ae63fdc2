"""Turn the tables of a TOML document into checked dataclasses, driven by the schema alone."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from typing import Any, TypeVar

from fedtier.config.place import Place
from fedtier.config.schema import (
    Key,
    KeyInfo,
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
from fedtier.errors import ConfigError
from fedtier.words import nearest

T = TypeVar("T")

_LOGIN = re.compile(r"//.*@")  # of a URL: may be a password, which no error repeats
_LARGEST = sys.float_info.max  # of whole numbers, too: all are calculated with


def parse_table(table: type[T], data: Mapping[str, object], place: Place) -> T:
    """Check one table of a document and build its dataclass.

    Args:
        table: A dataclass whose fields were made by :func:`fedtier.config.schema.key`.
        data: What the document holds.
        place: What to name in an error.

    Raises:
        ConfigError: For an unknown or missing key, a wrong type, or a value out of its range.
    """
    named = {key.name: key for key in keys_of(table) if not key.info.rest}
    rest = rest_of(table)
    values: dict[str, object] = {}
    left: dict[str, object] = {}
    for name, value in data.items():
        if name in named:
            key = named[name]
            values[key.name] = parse_value(value, key.hint, key.info, place, name)
        elif rest is not None:
            left[name] = value
        else:
            raise _unknown(name, tuple(named), place)
    if rest is not None:
        values[rest.name] = parse_value(left, rest.hint, rest.info, place, rest.name)
    for key in named.values():
        if key.required and key.name not in values:
            raise _missing(key, place)
    return table(**values)


def parse_value(value: object, hint: object, info: KeyInfo, place: Place, name: str) -> Any:  # noqa: ANN401 (what the hint says)
    """Check one value against its type and range.

    Raises:
        ConfigError: If it has another type or lies outside its range.
    """
    for arm in arms(hint):
        if not _has_type(value, arm):
            continue
        checked = _parse_arm(value, arm, info, place, name)
        if info.complaint is not None and (wrong := info.complaint(checked)):
            raise place.refuse(name, wrong)
        return checked
    words = [choice for arm in arms(hint) for choice in choices_of(arm)]
    if isinstance(value, str) and words:
        raise place.refuse(
            name, f"= {_shown(value)} is not allowed.{nearest(value, words)} Use {in_words(hint)}."
        )
    raise place.refuse(
        name,
        f"= {_shown(value)} has the wrong type. Write {_article(in_words(hint))}"
        f"{_allowed(info)}{_remedy(info)}",
    )


def _parse_arm(value: Any, arm: Any, info: KeyInfo, place: Place, name: str) -> object:  # noqa: ANN401
    item = item_of(arm)
    if item is not None:
        return _parse_array(value, item, info, place, name)
    if is_table(arm):
        return parse_table(arm, value, place.below(name))
    if (inner := values_of(arm)) is not None:
        return {
            str(k): parse_value(v, inner, info, place if info.rest else place.below(name), str(k))
            for k, v in value.items()
        }
    if arm in (int, float):
        _check_range(value, info, place, name)
        return arm(value)
    return value


def _parse_array(value: Any, item: Any, info: KeyInfo, place: Place, name: str) -> object:  # noqa: ANN401
    most = math.inf if info.items_max is None else info.items_max
    if not info.items_min <= len(value) <= most:
        least = f"at least {info.items_min}"
        span = least if info.items_max is None else f"{info.items_min} to {info.items_max}"
        raise place.refuse(name, f"has {len(value)} entries; it needs {span}.{_remedy(info)}")
    if is_table(item):
        return tuple(
            parse_table(item, entry, place.below(name, number=number))
            for number, entry in enumerate(value, start=1)
        )
    return tuple(
        parse_value(entry, item, _without_complaint(info), place, f"{name}[{position}]")
        for position, entry in enumerate(value, start=1)
    )


def _without_complaint(info: KeyInfo) -> KeyInfo:
    # A complaint speaks of the whole value; items have only type and range of their own.
    return KeyInfo(
        doc=info.doc,
        unit=info.unit,
        minimum=info.minimum,
        above=info.above,
        maximum=info.maximum,
        remedy=info.remedy,
    )


def _has_type(value: object, arm: Any) -> bool:  # noqa: ANN401
    if arm is object:
        return True
    if choices := choices_of(arm):
        return isinstance(value, str) and value in choices
    item = item_of(arm)
    if item is not None:
        tables = is_table(item)
        return isinstance(value, list) and (
            not tables or all(isinstance(entry, dict) for entry in value)
        )
    if is_table(arm) or values_of(arm) is not None:
        return isinstance(value, dict)
    if arm is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if arm is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, arm)


def _check_range(value: float, info: KeyInfo, place: Place, name: str) -> None:
    inside = (
        abs(value) <= _LARGEST  # neither nan nor inf is
        and (info.minimum is None or value >= info.minimum)
        and (info.above is None or value > info.above)
        and (info.maximum is None or value <= info.maximum)
    )
    if not inside:
        allowed = range_in_words(info) or "any finite number"
        if abs(value) > _LARGEST and info.maximum is None:
            allowed += f", at most {_LARGEST:.2g}"
        raise place.refuse(name, f"= {_shown(value)} is out of range: {allowed}.{_remedy(info)}")


def _unknown(name: str, known: tuple[str, ...], place: Place) -> ConfigError:
    what = "is no table or key of this file" if not place.table else "is no key of this table"
    return place.refuse(
        name, f"{what}.{nearest(name, known)} Known: {', '.join(known)}. Correct or remove it."
    )


def _missing(key: Key, place: Place) -> ConfigError:
    return place.refuse(
        key.name,
        f"is missing: {key.info.doc} Add it: {_article(in_words(key.hint))}{_allowed(key.info)}",
    )


def _article(words: str) -> str:
    if words.startswith(('"', "true", "text", "any")):
        return words
    return f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def _allowed(info: KeyInfo) -> str:
    allowed = range_in_words(info)
    return f", {allowed}." if allowed else "."


def _remedy(info: KeyInfo) -> str:
    return f" {info.remedy}" if info.remedy else ""


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    try:
        text = f'"{value}"' if isinstance(value, str) else repr(value)
    except ValueError:  # 0xfff...: Python writes no number of that many digits
        text = "a number of thousands of digits"
    text = _LOGIN.sub("//...@", text)
    return text if len(text) <= 80 else text[:77] + "..."
