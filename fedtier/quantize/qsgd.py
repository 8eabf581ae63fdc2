"""Stochastic rounding to a few levels of the l2 norm: the quantizer of the convergence analysis.

Source: Alistarh et al., "QSGD: Communication-Efficient SGD via Gradient Quantization and
Encoding", NeurIPS 2017, section 3.1 and Lemma 3.1.

Arithmetic is float32, one rounding per written operation, none contracted; norms are summed in
float64 by folding halves (``norm.py``) and rounded once to float32, and both sides use the rounded
norm, which is sent.

**The largest coordinate.** No code leaves ``[-s, s]``, and no clamp is needed that would bias it.
Each x is a float32. Its square is exact in float64, the sum is at least that square, the square
root of an exact square is exact, and both roundings are monotone: the sent norm is at least
``|x|``. So ``|x / norm| <= 1`` after rounding, ``|z| <= s``, and at ``z = s`` the fraction is 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from fedtier.draws import DrawKey, uniform16
from fedtier.errors import UpdateError
from fedtier.limits import BUCKET_MAX, LEVELS_MAX
from fedtier.model.layout import Vector
from fedtier.quantize.bitpack import pack, packed_bytes, unpack
from fedtier.quantize.codec import Encoded, check_delta, check_section_lengths
from fedtier.quantize.norm import bucket_sums_of_squares, fold

_CHUNK = 2**15  # coordinates per inner step; a multiple of 8, so that every step ends with a byte

_Norms: TypeAlias = npt.NDArray[np.float32] | np.float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Qsgd:
    """Round every coordinate to a multiple of ``norm / levels``, at random and without bias.

    With norm the sent l2 norm of the coordinate's bucket and draw r of the coordinate's index::

        z = (x / norm) * s        code = floor(z) + (1 if r + 1/2 < 65536 (z - floor(z)) else 0)
        decoded = (code / s) * norm

    Rounding z down or up by its fraction has the same law as rounding ``|z|`` and putting the sign
    back, in one operation less. A bucket of norm 0 has codes 0.

    Sections: the norms as little-endian float32, one per bucket; then ``code + s`` packed in
    fields of ``ceil(log2(2 s + 1))`` bits (``bitpack.py``).

    The bias per coordinate is at most 2**-17 of a step from the 16-bit draws, and a few units in
    the last place of float32.

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

    @property
    def width(self) -> int:
        """Bits per code: ``ceil(log2(2 s + 1))``."""
        return (2 * self.levels).bit_length()

    def encode(self, delta: Vector, key: DrawKey) -> Encoded:
        """Write a delta; see ``Codec.encode``.

        ``q`` is exact for this delta and these norms: with f the fractions above,
        ``sum over coordinates of (norm / s)**2 f (1 - f)``, over ``||delta||**2``.
        """
        check_delta(delta)
        squares = bucket_sums_of_squares(delta, self._bucket_of(delta.size))
        total = fold(squares)
        if not math.isfinite(total):
            raise UpdateError(f"{self.text}: the delta holds NaN or infinity")
        with np.errstate(over="ignore"):
            norms = np.sqrt(squares).astype(np.float32)
        if not np.isfinite(norms).all():
            raise UpdateError(f"{self.text}: the delta's norm {math.sqrt(total)} exceeds float32")

        packed: list[bytes] = []
        errors: list[float] = []
        divisors = np.where(norms > 0, norms, np.float32(1))  # 0 / 1 = 0 in an empty bucket
        for first in range(0, delta.size, _CHUNK):
            part = delta[first : first + _CHUNK]
            draws = uniform16(key, part.size, first)
            codes, error = self._round(part, self._spread(divisors, first, part.size), draws)
            packed.append(pack(codes, self.width))
            errors.append(error)
        q = math.fsum(errors) / self.levels**2 / total if total > 0 else 0.0
        sections = (norms.astype("<f4").tobytes(), b"".join(packed))
        return Encoded(sections=sections, q=q, norm=math.sqrt(total))

    def _round(
        self, part: Vector, norms: _Norms, draws: npt.NDArray[np.uint16]
    ) -> tuple[npt.NDArray[np.uint16], float]:
        """Give the codes offset by s, and the sum of ``norm**2 f (1 - f)`` of these coordinates."""
        levels = np.float32(self.levels)
        fraction = np.divide(part, norms)
        fraction *= levels
        code = np.floor(fraction)
        fraction -= code

        spread = np.subtract(np.float32(1), fraction)
        spread *= fraction
        variance = np.multiply(spread, norms, dtype=np.float64)
        variance *= norms

        # r < 65536 f - 1/2 is r + 1/2 < 65536 f: the product is exact, and so is the difference
        # but for f < 2**-18, where it stays negative and below every draw.
        fraction *= np.float32(65536)
        fraction -= np.float32(0.5)
        code += draws < fraction
        code += levels
        codes = code.astype(np.uint16)
        assert int(codes.max()) <= 2 * self.levels, (
            "a code beyond s: the norm is below a coordinate"
        )
        return codes, fold(variance)

    def decode(self, sections: Sequence[bytes | memoryview], dimension: int) -> Vector:
        """Read a delta; see ``Codec.decode``. Norms must be finite and >= 0, codes <= 2 s."""
        lengths = [4 * self._buckets(dimension), packed_bytes(self.width, dimension)]
        check_section_lengths(sections, lengths, codec=self.text)
        norms = np.frombuffer(sections[0], dtype="<f4").astype(np.float32)
        if not (np.isfinite(norms) & (norms >= 0)).all():
            raise UpdateError(f"{self.text}: a norm is negative, infinite or not a number")
        packed = memoryview(sections[1])
        delta = np.empty(dimension, dtype=np.float32)
        chunk_bytes = packed_bytes(self.width, _CHUNK)
        for index, first in enumerate(range(0, dimension, _CHUNK)):
            part = delta[first : first + _CHUNK]
            field = packed[index * chunk_bytes : (index + 1) * chunk_bytes]
            codes = unpack(field, self.width, part.size)
            if int(codes.max()) > 2 * self.levels:
                raise UpdateError(
                    f"{self.text}: code {int(codes.max())} is above {2 * self.levels}"
                )
            np.subtract(codes, self.levels, out=part, dtype=np.float32)
            part /= np.float32(self.levels)
            part *= self._spread(norms, first, part.size)
        return delta

    def payload_bytes(self, dimension: int) -> int:
        """Give four bytes a norm and the packed codes."""
        return 4 * self._buckets(dimension) + packed_bytes(self.width, dimension)

    def q_bound(self, dimension: int) -> float:
        """Bound q by ``tight_q_bound`` of the longest bucket.

        Its precondition is that of every bucket: a norm of 0, or of at least 2**-126.
        """
        return tight_q_bound(self._bucket_of(dimension), self.levels)

    def _bucket_of(self, dimension: int) -> int:
        return dimension if self.bucket is None else min(self.bucket, dimension)

    def _buckets(self, dimension: int) -> int:
        return -(-dimension // self._bucket_of(dimension))

    def _spread(self, norms: npt.NDArray[np.float32], first: int, count: int) -> _Norms:
        """Give each of ``count`` coordinates from ``first`` on the norm of its bucket."""
        if norms.size == 1:
            single: np.float32 = norms[0]
            return single
        assert self.bucket is not None
        low, skip = divmod(first, self.bucket)
        high = (first + count - 1) // self.bucket + 1
        return np.repeat(norms[low:high], self.bucket)[skip : skip + count]


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
