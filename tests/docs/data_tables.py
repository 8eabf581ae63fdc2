"""The tables of keys in a document, and what the code says of the same keys."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from fedtier.errors import ConfigError

ROOT = Path(__file__).parents[2]
ROW = re.compile(r"^\| (.+?) \| (.+?) \| (.+?) \| (.+) \|$", re.M)
KNOWN = re.compile(r"Known: ([^.]+)\.")

Read = Callable[[Mapping[str, object]], object]


@dataclass(frozen=True)
class Row:
    """One documented key."""

    value: str  # what it must be, in words
    default: str


def tables(document: str) -> dict[str, dict[str, Row]]:
    """By the heading of the first column the keys of every table that has them."""
    found: dict[str, dict[str, Row]] = {}
    for block in (ROOT / "docs" / document).read_text(encoding="utf-8").split("\n\n"):
        rows = ROW.findall(block)
        if len(rows) > 1 and rows[0][1:] == ("value", "default", "meaning"):
            name = rows[0][0].replace("`", "")
            found[name] = {
                key.strip("`"): Row(value, default) for key, value, default, _ in rows[1:]
            }
    return found


def refusal(read: Read, table: Mapping[str, object]) -> str:
    with pytest.raises(ConfigError) as caught:
        read(table)
    return str(caught.value)


def check_keys(read: Read, valid: Mapping[str, object], documented: Mapping[str, Row]) -> None:
    """That the documented keys are all that the code knows, with their values and defaults.

    Args:
        read: Reads a table.
        valid: A table it takes, with every key.
        documented: The keys that the document gives.
    """
    read(valid)
    read({key: valid[key] for key, row in documented.items() if row.default == "required"})
    assert set(valid) == set(documented)
    (known,) = KNOWN.findall(refusal(read, {**valid, "no-such-key": 1}))
    assert set(known.split(", ")) - {"name"} == set(documented)  # a transform's name is beside it
    for key, row in documented.items():
        assert _in_numbers(row.value, valid) in refusal(read, {**valid, key: True})
        if row.default == "required":
            without = {name: value for name, value in valid.items() if name != key}
            assert f"{key} is missing" in refusal(read, without)


def _in_numbers(value: str, table: Mapping[str, object]) -> str:
    """A range that ends at another key, such as `` `devices` - 1``, at that key's value."""

    def number(hit: re.Match[str]) -> str:
        other = table[hit[1]]
        assert isinstance(other, int)
        return str(other - int(hit[2] or 0))

    return re.sub(r"`(\w+)`(?: - (\d+))?", number, value)
