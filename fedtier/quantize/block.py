"""Stochastic rounding to a few bits of the largest magnitude in each block: cheap, and no history.

A block's largest magnitude is a float32 as it stands, so no coordinate exceeds it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from fedtier.limits import BLOCK_BITS_MAX, BLOCK_BITS_MIN, BUCKET_DEFAULT, BUCKET_MAX
from fedtier.model.layout import Vector
from fedtier.quantize.levels import Levels


@dataclass(frozen=True, slots=True, kw_only=True)
class Block(Levels):
    """Levels of a block's largest magnitude, ``2**(bits - 1) - 1`` of them; see ``Levels``.

    Attributes:
        bits: Of a code, sign included, 2..16.
        bucket: Consecutive coordinates that are a block, 1..2**20.
    """

    bits: int
    bucket: int | None = BUCKET_DEFAULT

    name: ClassVar[str] = "block"

    def __post_init__(self) -> None:
        # What an operator wrote has been checked, and the error worded, by `make_codec`.
        assert BLOCK_BITS_MIN <= self.bits <= BLOCK_BITS_MAX, self.bits
        assert self.bucket is not None, "a block has a length"
        assert 1 <= self.bucket <= BUCKET_MAX, self.bucket

    @property
    def levels(self) -> int:
        """s, steps on each side of zero: ``2**(bits - 1) - 1``."""
        return int(2 ** (self.bits - 1)) - 1

    @property
    def text(self) -> str:
        """``block(bits=8,bucket=512)``."""
        return f"block(bits={self.bits},bucket={self.bucket})"

    def q_bound(self, dimension: int) -> float:
        """Bound q by ``block_q_bound`` of the longest block."""
        return block_q_bound(self._bucket_of(dimension), self.levels)

    def _scales(self, delta: Vector, squares: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        starts = np.arange(0, delta.size, self._bucket_of(delta.size))
        low, high = np.minimum.reduceat(delta, starts), np.maximum.reduceat(delta, starts)
        return np.maximum(-low, high)


def block_q_bound(dimension: int, levels: int) -> float:
    """Bound q by the least number that holds for every block of n coordinates.

    ``(sqrt(s**2 + n - 1) - s) / (2 s)``. In steps of ``scale / s`` the largest coordinate is s and
    is not rounded; the others are u_i, and with f their fractions q is ``sum f (1 - f)`` over
    ``s**2 + sum u**2``, where ``f (1 - f) <= |u| - u**2`` up to 1 and no more beyond, with a larger
    u below. The numerator is concave in u and the denominator convex, so equal u are the worst
    case: ``m (u - u**2) / (s**2 + m u**2)`` with m = n - 1, largest at
    ``u = s / (sqrt(s**2 + m) + s)``, where it is ``1 / (2 u) - 1``. Those coordinates attain it.

    Args:
        dimension: n, at least 1.
        levels: s, at least 1.
    """
    return (math.sqrt(levels**2 + dimension - 1) - levels) / (2 * levels)
