"""Names in bulk, as a shell would read them."""

from __future__ import annotations

import pytest

from fedtier.config.braces import Expanded, expand, fill
from fedtier.config.place import Place
from fedtier.errors import ConfigError

PLACE = Place("farm.toml", "node", 2)


def names(pattern: str) -> list[str]:
    return [found.name for found in expand(pattern, place=PLACE, key="id")]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("cow", ["cow"]),
        ("cow-{1..3}", ["cow-1", "cow-2", "cow-3"]),
        ("{7..7}", ["7"]),
        ("d{08..11}", ["d08", "d09", "d10", "d11"]),
        ("{a,b}-{1,2}", ["a-1", "a-2", "b-1", "b-2"]),
        ("{north, south}-gate", ["north-gate", "south-gate"]),
        ("{only}", ["only"]),
    ],
)
def test_braces_stand_for_every_combination_the_last_fastest(pattern, expected):
    assert names(pattern) == expected


def test_what_stood_in_the_braces_is_kept():
    assert expand("w-{1,2}-{left}", place=PLACE, key="id")[1] == Expanded("w-2-left", ("2", "left"))


def test_a_whole_word_of_digits_becomes_a_number_and_a_part_of_a_text_stays_text():
    value = {"subject": "$1", "side": "$2", "path": "$1-$2.npz", "list": ["$1", 4], "n": 3}
    assert fill(value, ("07", "left"), place=PLACE, key="data") == {
        "subject": 7,
        "side": "left",
        "path": "07-left.npz",
        "list": [7, 4],
        "n": 3,
    }


@pytest.mark.parametrize(
    ("pattern", "piece"),
    [
        ("cow-{1..3", "braces do not pair"),
        ("cow-1..3}", "braces do not pair"),
        ("{{1..2}}", "braces do not pair"),
        ("cow-{3..1}", "Write {1..3}"),
        ("cow-{}", "empty word"),
        ("cow-{a,,b}", "empty word"),
        ("{1..100}-{1..100}", "10000 names; allowed are 1 to 4096"),
        ("{1..999999999}", "more than 4096 names"),
    ],
)
def test_a_pattern_that_cannot_be_is_refused_where_it_stands(pattern, piece):
    with pytest.raises(ConfigError) as caught:
        names(pattern)
    assert str(caught.value).startswith("farm.toml: [[node]] 2 id")
    assert piece in str(caught.value)


def test_a_capture_without_its_brace_is_refused():
    with pytest.raises(ConfigError, match=r"data\.x = \"\$2\".* brace 2 of id, which has 1"):
        fill({"x": "$2"}, ("a",), place=PLACE, key="data")
