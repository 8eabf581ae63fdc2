"""Names in bulk, written as a shell would: ``watch-{1..8}-{left,right}`` is sixteen names."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from fedtier.config.place import Place
from fedtier.limits import CHILDREN_MAX

NAMES_MAX = CHILDREN_MAX
_BRACE = re.compile(r"\{([^{}]*)\}")
_SPAN = re.compile(r"(\d{1,9})\.\.(\d{1,9})")
_CAPTURE = re.compile(r"\$([1-9])")


@dataclass(frozen=True, slots=True)
class Expanded:
    """One name a pattern stands for, and what stood in each of its braces, from the left."""

    name: str
    captures: tuple[str, ...]


def expand(pattern: str, *, place: Place, key: str) -> tuple[Expanded, ...]:
    """All names a pattern stands for; the last brace varies fastest.

    ``{a,b}`` is each word in turn, ``{1..8}`` each number, ``{01..16}`` with leading zeros. A
    pattern without braces stands for itself.

    Raises:
        ConfigError: For braces that do not pair, are empty or run backwards, or for more than
            4096 names.
    """
    parts = _BRACE.split(pattern)
    literals, bodies = parts[::2], parts[1::2]
    if any("{" in literal or "}" in literal for literal in literals):
        raise place.refuse(
            key, f'= "{pattern}": braces do not pair. Write "{{1..8}}" or "{{left,right}}".'
        )
    choices = [_choices(body, pattern, place, key) for body in bodies]
    count = math.prod(len(words) for words in choices)
    if count > NAMES_MAX:
        raise place.refuse(
            key, f'= "{pattern}" stands for {count} names; allowed are 1 to {NAMES_MAX}.'
        )
    return tuple(
        Expanded(
            literals[0] + "".join(itertools.chain(*zip(words, literals[1:], strict=True))), words
        )
        for words in itertools.product(*choices)
    )


def fill(value: object, captures: tuple[str, ...], *, place: Place, key: str) -> object:
    """Put what stood in the braces where ``$1``, ``$2`` ... stand, also inside arrays and tables.

    A text that is exactly ``$1`` becomes a whole number if digits stood there.

    Raises:
        ConfigError: For ``$n`` without an n-th brace.
    """
    match value:
        case str():
            for number in map(int, _CAPTURE.findall(value)):
                if number > len(captures):
                    raise place.refuse(
                        key,
                        f'= "{value}": ${number} is what stood in brace {number} of id, which '
                        f"has {len(captures)}. Add a brace or correct the number.",
                    )
            if _CAPTURE.fullmatch(value):
                word = captures[int(value[1]) - 1]
                return int(word) if word.isascii() and word.isdigit() else word
            return _CAPTURE.sub(lambda hit: captures[int(hit[1]) - 1], value)
        case list() | tuple():
            return [fill(entry, captures, place=place, key=key) for entry in value]
        case Mapping():
            return {
                name: fill(entry, captures, place=place, key=f"{key}.{name}")
                for name, entry in value.items()
            }
        case _:
            return value


def _choices(body: str, pattern: str, place: Place, key: str) -> tuple[str, ...]:
    if span := _SPAN.fullmatch(body):
        first, last = int(span[1]), int(span[2])
        if first > last:
            raise place.refuse(
                key,
                f'= "{pattern}": {{{body}}} runs backwards. Write {{{span[2]}..{span[1]}}}.',
            )
        if last - first >= NAMES_MAX:
            raise place.refuse(
                key,
                f'= "{pattern}" stands for more than {NAMES_MAX} names; allowed are 1 to '
                f"{NAMES_MAX}.",
            )
        width = len(span[1]) if span[1].startswith("0") else 0
        return tuple(f"{number:0{width}d}" for number in range(first, last + 1))
    words = tuple(word.strip() for word in body.split(","))
    if not all(words):
        raise place.refuse(
            key,
            f'= "{pattern}": {{{body}}} holds an empty word. Write "{{1..8}}" or "{{left,right}}".',
        )
    return words
