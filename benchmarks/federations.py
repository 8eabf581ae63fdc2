"""The demo's federation, and variations of it: other links, other people, another plan."""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.measure import ROOT
from fedtier.config.federation import Federation, parse_federation
from fedtier.config.toml_text import write_key, write_value

DEMO = ROOT / "firmware_configs" / "federations" / "wearables-3-tier.toml"
HOMES = 4
SIDES = (0, 1)

Document = Mapping[str, Any]
"""A federation file's content, as ``tomllib`` reads it."""


def read(path: Path = DEMO) -> Document:
    """A federation file; the demo's by default."""
    return tomllib.loads(path.read_text(encoding="utf-8"))


def text_of(document: Document) -> str:
    """A federation file again: one line per table."""
    return "".join(f"{write_key(k)} = {write_value(v)}\n" for k, v in document.items())


def federation_of(document: Document, *, where: str) -> Federation:
    """The federation that a document describes, checked; paths in it are the project's.

    Raises:
        ConfigError: If it cannot be.
    """
    return parse_federation(text_of(document), where=where, directory=ROOT)


def with_identity_links(document: Document) -> Document:
    """The same federation, sending float32 deltas as they are on every link."""
    return {**document, "link": [{"codec": "identity"} for _ in document["link"]]}


def with_plan(document: Document, **keys: Any) -> Document:  # noqa: ANN401 (any key of [plan])
    """The same federation with other values in ``[plan]``; None leaves one as it is."""
    given = {name: value for name, value in keys.items() if value is not None}
    return {**document, "plan": {**document["plan"], **given}}


def with_people(document: Document, *, train: Sequence[int], held_out: Sequence[int]) -> Document:
    """The demo's tree with other people's watches, dealt out to its four homes in order.

    Args:
        document: The demo's federation.
        train: Subjects whose two wrists are devices; a multiple of two of them.
        held_out: Subjects the cloud evaluates on.
    """
    devices = [f"watch-{subject}-{side}" for subject in train for side in SIDES]
    share, rest = divmod(len(devices), HOMES)
    assert rest == 0, f"{len(devices)} watches do not fill {HOMES} homes alike"
    changed = copy.deepcopy(dict(document))
    for home in range(HOMES):
        changed["tree"][f"home-{home + 1}"] = devices[home * share : (home + 1) * share]
    subjects = ",".join(map(str, train))
    data = {"subject": "$1", "side": "$2"}
    changed["node"] = [{"id": f"watch-{{{subjects}}}-{{0,1}}", "data": data}]
    changed["evaluation"] = {**document["evaluation"], "subjects": list(held_out)}
    return changed
