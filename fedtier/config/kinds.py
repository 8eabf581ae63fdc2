"""Which kind of configuration file a document is, whatever it was given as."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from fedtier.errors import ConfigError

Kind = Literal["federation", "node", "board"]

_NAMES: Mapping[Kind, str] = {
    "federation": "federation file",
    "node": "node file",
    "board": "board profile",
}
_REMEDIES: Mapping[tuple[Kind, Kind], str] = {  # by what is wanted, and what was given
    ("node", "federation"): (
        "`fedtier config nodes {where} --out DIRECTORY` writes the node files of its federation; "
        "give one of those."
    ),
    ("federation", "node"): (
        "Give the file that the node files were written from; a cloud's node file names its copy: "
        "[node] federation_file."
    ),
}
_OF_A_FEDERATION = ("federation", "tree", "model", "plan", "link", "broker", "evaluation")


def kind_of(document: Mapping[str, object]) -> Kind | None:
    """Tell a document's kind by the tables it has; None where they tell none.

    ``[node]`` is a node's, ``[[node]]`` a federation's; a node file may have ``[board]``, too.
    """
    for_federation = sum(name in document for name in _OF_A_FEDERATION)
    for_node = sum(isinstance(document.get(name), dict) for name in ("node", "parent", "cell"))
    if for_federation > for_node:
        return "federation"
    if for_node:
        return "node"
    return "board" if "board" in document else None


def check_kind(document: Mapping[str, object], wanted: Kind, *, where: str) -> None:
    """Refuse a file of another kind than is wanted, whether or not it is in order.

    Raises:
        ConfigError: If it is of another kind; says which, and what to give.
    """
    kind = kind_of(document)
    if kind is not None and kind != wanted:
        remedy = _REMEDIES.get((wanted, kind), f"Give a {_NAMES[wanted]}.")
        raise ConfigError(
            f"{where}: this is a {_NAMES[kind]}, and a {_NAMES[wanted]} is needed here. "
            f"{remedy.format(where=where)}"
        )
