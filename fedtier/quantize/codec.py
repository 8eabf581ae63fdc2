"""What a link needs of a codec: a delta becomes sections of bytes and comes back as a vector."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from fedtier.draws import DrawKey
from fedtier.errors import UpdateError, WireError
from fedtier.model.layout import Vector


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoded:
    """A delta as a codec wrote it.

    Attributes:
        sections: The payload, in the codec's order.
        q: The exact relative error of this message given the delta, over the draws:
            ``E||decoded - delta||^2 / ||delta||^2``; 0 for the zero vector.
        norm: The delta's l2 norm, float64.
    """

    sections: tuple[bytes, ...]
    q: float
    norm: float


class Codec(Protocol):
    """Write and read deltas; unbiased over the draws, pure, and the same bytes for the same key."""

    @property
    def name(self) -> str:
        """The word a federation file uses: ``qsgd``."""
        ...

    @property
    def text(self) -> str:
        """The codec with its parameters, as reports show it: ``qsgd(levels=7,bucket=128)``."""
        ...

    def encode(self, delta: Vector, key: DrawKey) -> Encoded:
        """Write a delta.

        Args:
            delta: Finite float32, shape ``(d,)``, d at least 1.
            key: The address of the rounding draws: one per coordinate, in coordinate order.

        Raises:
            UpdateError: If the delta is of another type or shape, holds NaN or infinity, or has a
                norm beyond float32. The sender meets this error itself and must abstain.
        """
        ...

    def decode(self, sections: Sequence[bytes | memoryview], dimension: int) -> Vector:
        """Read a delta written by another node; nothing in it is believed unchecked.

        Args:
            sections: The payload's sections.
            dimension: d of our own layout, at least 1.

        Returns:
            Finite float32 ``(d,)``, a new vector.

        Raises:
            WireError: If number or length of sections is wrong, or padding is not zero.
            UpdateError: If a number in them is not finite or not in its range.
        """
        ...

    def payload_bytes(self, dimension: int) -> int:
        """Give the bytes of the sections for a vector of length d, or what they seldom exceed."""
        ...

    def payload_bytes_max(self, dimension: int) -> int:
        """Give what the bytes of the sections for a vector of length d never exceed."""
        ...

    def q_bound(self, dimension: int) -> float:
        """Bound ``q`` over the deltas of length d; a codec may except those of a tiny norm."""
        ...


def check_delta(delta: Vector) -> None:
    """Refuse what no codec can write; finiteness is left to the codec, which meets it anyway.

    Raises:
        UpdateError: If the delta is not a float32 vector of at least one coordinate.
    """
    if delta.dtype != np.float32 or delta.ndim != 1 or delta.size == 0:
        raise UpdateError(
            f"delta is {delta.dtype} {delta.shape}; a codec takes float32 (d,) with d >= 1"
        )


def check_section_lengths(
    sections: Sequence[bytes | memoryview], lengths: Sequence[int], *, codec: str
) -> None:
    """Check a payload's outline before anything in it is read.

    Raises:
        WireError: If number or lengths, in bytes, are not as expected.
    """
    found = [len(section) for section in sections]
    if found != list(lengths):
        raise WireError(f"{codec}: sections of {found} bytes, expected {list(lengths)}")
