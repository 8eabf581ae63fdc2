"""Stochastic rounding to a few levels of the l2 norm: the quantizer of the convergence analysis.

Source: Alistarh et al., "QSGD: Communication-Efficient SGD via Gradient Quantization and
Encoding", NeurIPS 2017, section 3.1 and Lemma 3.1.

Norms are summed in float64 by folding halves (``norm.py``) and rounded once to float32. No
coordinate exceeds its norm: its square is exact in float64, the sum is at least that square, the
square root of an exact square is exact, and both roundings are monotone.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from fedtier.limits import BUCKET_MAX, LEVELS_MAX
from fedtier.model.layout import Vector
from fedtier.quantize.levels import Levels


@dataclass(frozen=True, slots=True, kw_only=True)
class Qsgd(Levels):
    """Levels of a bucket's l2 norm; see ``Levels``.

    Attributes:
        levels: s, steps on each side of zero, 1..32767.
        bucket: Consecutive coordinates that share a norm, 1..2**20; None for the whole vector.
    """

    levels: int
    bucket: int | None = None

    name: ClassVar[str] = "qsgd"

    def __post_init__(self) -> None:
        # What an operator wrote has been checked, and the error worded, by `make_codec`.
        assert 1 <= self.levels <= LEVELS_MAX, self.levels
        assert self.bucket is None or 1 <= self.bucket <= BUCKET_MAX, self.bucket

    @property
    def text(self) -> str:
        """``qsgd(levels=7,bucket=128)``, or ``qsgd(levels=7)`` for one norm in all."""
        bucket = "" if self.bucket is None else f",bucket={self.bucket}"
        return f"qsgd(levels={self.levels}{bucket})"

    def q_bound(self, dimension: int) -> float:
        """Bound q by ``tight_q_bound`` of the longest bucket.

        Its precondition is that of every bucket: a norm of 0, or of at least 2**-126.
        """
        return tight_q_bound(self._bucket_of(dimension), self.levels)

    def _scales(self, delta: Vector, squares: npt.NDArray[np.float64]) -> npt.NDArray[np.float32]:
        return np.sqrt(squares).astype(np.float32)


def classical_q_bound(dimension: int, levels: int) -> float:
    """Bound q by ``min(d / s**2, sqrt(d) / s)`` (Alistarh et al. 2017, Lemma 3.1).

    Never below ``tight_q_bound``, and under the same precondition.
    """
    return min(dimension / levels**2, math.sqrt(dimension) / levels)


def tight_q_bound(dimension: int, levels: float) -> float:
    """Bound q by the least number that holds for every vector of length d and norm >= 2**-126.

    ``sqrt(d) / s - 1`` if ``s <= sqrt(d) / 2``, else ``d / (4 s**2)``. For ``f (1 - f)`` with f
    the fraction of u is at most ``sqrt(v) - v`` up to v = u**2 = 1/4 and 1/4 beyond, a concave
    function of v; the v of all coordinates add up to ``s**2``, so Jensen's inequality gives d times
    its value at ``s**2 / d``. The constant vector attains it where s <= sqrt(d) / 2.

    That the v add up to ``s**2`` takes the sent norm to be the norm, which float32 keeps to a
    relative 2**-24 from 2**-126 on. Below, with ``r = (sent norm / norm)**2``, they add up to
    ``s**2 / r`` and q carries a factor r: the bound is this one of ``s / sqrt(r)`` levels. A
    coordinate is a multiple of 2**-149, so r is at most 4/3, as for three coordinates of 2**-149.

    Args:
        dimension: d, at least 1.
        levels: s, above 0; a whole number but for the case of ``s / sqrt(r)``.
    """
    if levels <= math.sqrt(dimension) / 2:
        return math.sqrt(dimension) / levels - 1
    return dimension / (4 * levels**2)
