"""Names of nodes and federations, numbers of runs and boots, and the path of an iteration."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NewType

from fedtier.errors import ConfigError, WireError
from fedtier.limits import NODE_ID_CHARACTERS_MAX, RESERVED_IDS, TIERS_MAX

NodeId = NewType("NodeId", str)
"""A member of the tree: ``[a-z0-9][a-z0-9-]{0,39}``, neither ``all`` nor ``operator``."""

FederationId = NewType("FederationId", str)
"""One model trained by one tree of nodes; the same alphabet as a node's id."""

RunId = NewType("RunId", int)
"""64 random bits, drawn when the cloud creates a run; identity only, never a source of draws."""

BootNonce = NewType("BootNonce", int)
"""64 random bits, drawn when a process starts; tells one boot of a node from another."""

_ID = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")
_HEX64 = re.compile(r"[0-9a-f]{16}")


def parse_node_id(text: str, *, where: str) -> NodeId:
    """Check a node's id.

    Args:
        text: The id as written.
        where: What to name in the error: the file and key, or the message, it came from.

    Raises:
        ConfigError: If the id is outside the alphabet, too long, or reserved.
    """
    return NodeId(_parse_id(text, kind="node id", where=where))


def parse_federation_id(text: str, *, where: str) -> FederationId:
    """Check a federation's id; the alphabet and the reserved words are those of a node's id."""
    return FederationId(_parse_id(text, kind="federation id", where=where))


def _parse_id(text: str, *, kind: str, where: str) -> str:
    if not isinstance(text, str) or not _ID.fullmatch(text):
        raise ConfigError(
            f"{where}: {kind} {text!r} is not allowed. Use 1 to {NODE_ID_CHARACTERS_MAX} of "
            "a-z, 0-9 and '-', beginning with a letter or a digit."
        )
    if text in RESERVED_IDS:
        raise ConfigError(
            f"{where}: {kind} {text!r} is reserved for the protocol. Choose another name."
        )
    return text


def is_node_id(text: str) -> bool:
    """Whether ``text`` could be a node's id; for what arrives from the network."""
    return _ID.fullmatch(text) is not None and text not in RESERVED_IDS


def hex64(number: int) -> str:
    """Write 64 bits as 16 lower-case hexadecimal digits, as every message and file does."""
    return f"{number:016x}"


def parse_hex64(text: object, *, what: str) -> int:
    """Read 16 hexadecimal digits.

    Raises:
        WireError: If ``text`` is anything else.
    """
    if not isinstance(text, str) or not _HEX64.fullmatch(text):
        raise WireError(f"{what} is {text!r}, not 16 lower-case hexadecimal digits")
    return int(text, 16)


@dataclass(frozen=True, slots=True, order=True)
class IterationPath:
    """Where in a round a cell is: ``r12.3.1`` is round 12, then the iteration at each tier below.

    Paths of one length are ordered as their integers are; a cell below the cloud has length 1.
    """

    indices: tuple[int, ...]

    def __post_init__(self) -> None:
        assert 1 <= len(self.indices) <= TIERS_MAX, self.indices
        assert all(0 <= index < 2**32 for index in self.indices), self.indices

    def __str__(self) -> str:
        return "r" + ".".join(str(index) for index in self.indices)

    @classmethod
    def parse(cls, text: object) -> IterationPath:
        """Read ``r12.3.1``.

        Raises:
            WireError: If ``text`` is not a path of 1 to 8 numbers below 2**32.
        """
        if isinstance(text, str) and text[:1] == "r" and len(text) <= 1 + 11 * TIERS_MAX:
            pieces = text[1:].split(".")
            if len(pieces) <= TIERS_MAX and all(p.isascii() and p.isdigit() for p in pieces):
                indices = tuple(int(piece) for piece in pieces)
                if all(index < 2**32 for index in indices):
                    return cls(indices)
        raise WireError(f"iteration path {text!r} is not like 'r12.3.1'")

    @property
    def round(self) -> int:
        """The round this iteration belongs to, from 0."""
        return self.indices[0]

    @property
    def opens_round(self) -> bool:
        """Whether no iteration of the round came before: its model is the global one."""
        return not any(self.indices[1:])

    def child(self, index: int) -> IterationPath:
        """The path of iteration ``index`` in a cell below this one."""
        return IterationPath((*self.indices, index))

    @property
    def parent(self) -> IterationPath:
        """The path of the iteration above, which this one serves."""
        assert len(self.indices) > 1, self
        return IterationPath(self.indices[:-1])
