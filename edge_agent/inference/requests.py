"""What an application asks: one JSON object a line. Garbage is an error answer, and no more."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from fedtier.errors import WireError
from fedtier.limits import PREDICT_BYTES_MAX, PREDICT_EXAMPLES_MAX
from fedtier.wire.fields import Fields, from_json

_TRAITS_MAX = 32
_TRAIT_BOUND = 2**31
_KEYS = frozenset({"examples", "inputs", "traits"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """Examples to predict, still as JSON gave them.

    Attributes:
        examples: One or more; none asks which model is served.
        prepared: Whether they are inputs of the graph; otherwise they are as they were recorded,
            and the artefact's preprocessing comes first.
        traits: What a transform may ask for, such as ``{"side": 1}``.
    """

    examples: tuple[object, ...] = field(repr=False)
    prepared: bool
    traits: Mapping[str, int]


def parse_request(line: bytes) -> Request:
    """Read one request.

    Raises:
        WireError: If it is too long, no JSON object, or not as docs/inference.md says.
    """
    fields = from_json(line, what="the request", bytes_max=PREDICT_BYTES_MAX)
    unknown = sorted(fields.raw().keys() - _KEYS)
    if unknown:
        raise WireError(
            f"the request has a field {unknown[0][:40]!r}; known are {', '.join(sorted(_KEYS))}"
        )
    given = [name for name in ("examples", "inputs") if fields.has(name)]
    if len(given) != 1:
        raise WireError('the request has not one of "examples" and "inputs"')
    return Request(
        examples=tuple(fields.listing(given[0], items_max=PREDICT_EXAMPLES_MAX)),
        prepared=given[0] == "inputs",
        traits=_traits(fields.object("traits")) if fields.has("traits") else {},
    )


def _traits(fields: Fields) -> dict[str, int]:
    names = list(fields.raw())
    if len(names) > _TRAITS_MAX:
        raise WireError(f"the request has {len(names)} traits; at most {_TRAITS_MAX} are allowed")
    return {name: fields.integer(name, -_TRAIT_BOUND, _TRAIT_BOUND) for name in names}


def to_line(answer: Mapping[str, Any]) -> bytes:
    """One answer, with the end of its line."""
    return json.dumps(answer, separators=(",", ":")).encode() + b"\n"
