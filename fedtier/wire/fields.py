"""Canonical JSON out, and JSON from strangers in: every field typed and bounded before use."""

from __future__ import annotations

import json
import math
import re
import struct
from collections.abc import Mapping
from typing import Any

from fedtier.errors import WireError
from fedtier.ids import NodeId, is_node_id, parse_hex64

_FLOAT32_LEAST, _FLOAT32_MOST = 2.0**-126, float(2**128 - 2**104)
_DIGEST = re.compile(r"[0-9a-f]{64}")
_SHORT_DIGEST = re.compile(r"([0-9a-f]{16})?")


def to_json(value: Mapping[str, Any]) -> bytes:
    """Write canonical JSON: sorted keys, no spaces, ASCII, no NaN."""
    return json.dumps(
        value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False
    ).encode("ascii")


def from_json(payload: bytes | memoryview, *, what: str, bytes_max: int) -> Fields:
    """Read one JSON object.

    Args:
        payload: The bytes received.
        what: What the errors call it.
        bytes_max: More bytes than this are refused unread.

    Raises:
        WireError: If it is too long, not JSON, or not an object.
    """
    if len(payload) > bytes_max:
        raise WireError(f"{what} has {len(payload)} bytes; at most {bytes_max} are allowed")
    try:
        value = json.loads(
            bytes(payload), parse_constant=_refuse_constant, object_pairs_hook=_distinct
        )
    except (ValueError, RecursionError) as error:  # ValueError: also bad UTF-8, endless digits
        raise WireError(f"{what} is not JSON: {str(error)[:100]}") from None
    if not isinstance(value, dict):
        raise WireError(f"{what} is not a JSON object")
    return Fields(value, what=what)


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text} is not allowed")


def _distinct(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """An object whose keys differ: of two equal ones, two readers might believe two."""
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a key occurs twice")
    return value


class Fields:
    """The fields of one JSON object; each reader checks type and range and names the field.

    Unknown fields are ignored: a later minor version may add some.
    """

    __slots__ = ("_values", "_what")

    def __init__(self, values: Mapping[str, Any], *, what: str) -> None:
        self._values = values
        self._what = what

    def _fail(self, name: str, expected: str) -> WireError:
        value = self._values.get(name, "nothing")
        # The repr of a list nested just below the interpreter's limit would go beyond it.
        found = f"a {type(value).__name__}" if isinstance(value, (list, dict)) else repr(value)[:80]
        return WireError(f"{self._what}: field {name!r} is {found}, not {expected}")

    def has(self, name: str) -> bool:
        """Whether the field is there."""
        return name in self._values

    def integer(self, name: str, low: int, high: int) -> int:
        """An integer in ``[low, high]``."""
        value = self._values.get(name)
        if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
            raise self._fail(name, f"an integer from {low} to {high}")
        return value

    def number(self, name: str, low: float, high: float) -> float:
        """A finite number in ``[low, high]``."""
        value = self._values.get(name)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self._fail(name, "a number")
        if not low <= value <= high or not math.isfinite(value):
            raise self._fail(name, f"a number from {low} to {high}")
        return float(value)

    def integer_or_number(self, name: str, low: int, high: int) -> float:
        """An integer or another finite number in ``[low, high]``, as which it was written."""
        is_float = isinstance(self._values.get(name), float)
        return self.number(name, low, high) if is_float else self.integer(name, low, high)

    def float32(self, name: str) -> float:
        """A number that is a float32 above 0, with all its digits."""
        value = self.number(name, _FLOAT32_LEAST, _FLOAT32_MOST)
        if struct.unpack("<f", struct.pack("<f", value))[0] != value:
            raise self._fail(name, "a float32")
        return value

    def boolean(self, name: str) -> bool:
        """True or false."""
        value = self._values.get(name)
        if not isinstance(value, bool):
            raise self._fail(name, "true or false")
        return value

    def text(self, name: str, *, characters_max: int) -> str:
        """A text of at most so many characters, printable."""
        value = self._values.get(name)
        if not isinstance(value, str) or len(value) > characters_max or not value.isprintable():
            raise self._fail(name, f"a printable text of at most {characters_max} characters")
        return value

    def choice(self, name: str, choices: tuple[str, ...]) -> str:
        """One of the given words."""
        value = self._values.get(name)
        if value not in choices:
            raise self._fail(name, "one of " + ", ".join(choices))
        return str(value)

    def short_digest(self, name: str) -> str:
        """A digest cut to 16 lower-case hexadecimal digits, or nothing."""
        value = self._values.get(name)
        if not isinstance(value, str) or not _SHORT_DIGEST.fullmatch(value):
            raise self._fail(name, "16 lower-case hexadecimal digits or empty")
        return value

    def node(self, name: str) -> NodeId:
        """A node's id."""
        value = self._values.get(name)
        if not isinstance(value, str) or not is_node_id(value):
            raise self._fail(name, "a node's id")
        return NodeId(value)

    def hex64(self, name: str) -> int:
        """64 bits, written as 16 hexadecimal digits."""
        return parse_hex64(self._values.get(name), what=f"{self._what}: field {name!r}")

    def digest(self, name: str) -> str:
        """A SHA-256, written as 64 lower-case hexadecimal digits."""
        value = self._values.get(name)
        if not isinstance(value, str) or not _DIGEST.fullmatch(value):
            raise self._fail(name, "64 lower-case hexadecimal digits")
        return value

    def listing(self, name: str, *, items_max: int) -> list[Any]:
        """A list of at most so many items, still to be checked one by one."""
        value = self._values.get(name)
        if not isinstance(value, list) or len(value) > items_max:
            raise self._fail(name, f"a list of at most {items_max} items")
        return value

    def integers(self, name: str, low: int, high: int, *, items_max: int) -> tuple[int, ...]:
        """A list of integers in ``[low, high]``."""
        values = self.listing(name, items_max=items_max)
        if not all(type(v) is int and low <= v <= high for v in values):  # a bool is no integer
            raise self._fail(name, f"a list of integers from {low} to {high}")
        return tuple(values)

    def object(self, name: str) -> Fields:
        """A nested object."""
        value = self._values.get(name)
        if not isinstance(value, dict):
            raise self._fail(name, "an object")
        return Fields(value, what=f"{self._what}.{name}")

    def raw(self) -> Mapping[str, Any]:
        """The object itself, for a reader that checks every key and value of it."""
        return self._values
