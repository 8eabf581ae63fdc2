"""Stochastic rounding to a few levels of a scale that a bucket of coordinates shares.

Arithmetic is float32, one rounding per written operation, none contracted. Both sides use the
scales as they are sent.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fedtier.draws import DrawKey, uniform16
from fedtier.errors import UpdateError
from fedtier.model.layout import Vector
from fedtier.quantize.bitpack import pack, packed_bytes, unpack
from fedtier.quantize.codec import Encoded, check_delta, check_section_lengths
from fedtier.quantize.norm import bucket_sums_of_squares, fold

_CHUNK = 2**15  # coordinates per inner step; a multiple of 8, so that every step ends with a byte

_Doubles: TypeAlias = npt.NDArray[np.float64]
_Scales: TypeAlias = npt.NDArray[np.float32]


class Levels(ABC):
    """Round every coordinate to a multiple of ``scale / levels``, at random and without bias.

    With scale that of the coordinate's bucket, at least its magnitude, and draw r of the
    coordinate's index::

        z = (x / scale) * s       code = floor(z) + (1 if r + 1/2 < 65536 (z - floor(z)) else 0)
        decoded = (code / s) * scale

    Rounding z down or up by its fraction has the same law as rounding ``|z|`` and putting the sign
    back, in one operation less. A bucket of scale 0 has codes 0.

    Sections: the scales as little-endian float32, one per bucket; then ``code + s`` packed in
    fields of ``ceil(log2(2 s + 1))`` bits (``bitpack.py``).

    The bias per coordinate is at most 2**-17 of a step from the 16-bit draws, and a few units in
    the last place of float32.

    **No code leaves** ``[-s, s]``, and no clamp is needed that would bias it: ``|x / scale| <= 1``
    after rounding, so ``|z| <= s``, and at ``z = s`` the fraction is 0.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def levels(self) -> int:
        """Steps on each side of zero, s, 1..32767."""

    @property
    @abstractmethod
    def bucket(self) -> int | None:
        """Consecutive coordinates that share a scale, 1..2**20; None for the whole vector."""

    @property
    @abstractmethod
    def text(self) -> str:
        """As reports show it."""

    @abstractmethod
    def q_bound(self, dimension: int) -> float:
        """Bound ``q``; see ``Codec.q_bound``."""

    @abstractmethod
    def _scales(self, delta: Vector, squares: _Doubles) -> _Scales:
        """Of each bucket, at least the magnitude of each of its coordinates; not all are finite.

        Args:
            delta: All of it, shape ``(d,)``.
            squares: The sums of the buckets' squares.
        """

    @property
    def width(self) -> int:
        """Bits per code: ``ceil(log2(2 s + 1))``."""
        return (2 * self.levels).bit_length()

    def encode(self, delta: Vector, key: DrawKey) -> Encoded:
        """Write a delta; see ``Codec.encode``.

        ``q`` is exact for this delta and these scales: with f the fractions above,
        ``sum over coordinates of (scale / s)**2 f (1 - f)``, over ``||delta||**2``.
        """
        check_delta(delta)
        squares = bucket_sums_of_squares(delta, self._bucket_of(delta.size))
        total = fold(squares)
        if not math.isfinite(total):
            raise UpdateError(f"{self.text}: the delta holds NaN or infinity")
        with np.errstate(over="ignore"):
            scales = self._scales(delta, squares)
        if not np.isfinite(scales).all():
            raise UpdateError(f"{self.text}: the delta's norm {math.sqrt(total)} exceeds float32")

        packed: list[bytes] = []
        errors: list[float] = []
        divisors = np.where(scales > 0, scales, np.float32(1))  # 0 / 1 = 0 in an empty bucket
        for first in range(0, delta.size, _CHUNK):
            part = delta[first : first + _CHUNK]
            draws = uniform16(key, part.size, first)
            codes, error = self._round(part, self._spread(divisors, first, part.size), draws)
            packed.append(pack(codes, self.width))
            errors.append(error)
        q = math.fsum(errors) / self.levels**2 / total if total > 0 else 0.0
        sections = (scales.astype("<f4").tobytes(), b"".join(packed))
        return Encoded(sections=sections, q=q, norm=math.sqrt(total))

    def _round(
        self, part: Vector, scales: _Scales | np.float32, draws: npt.NDArray[np.uint16]
    ) -> tuple[npt.NDArray[np.uint16], float]:
        """Give the codes offset by s, and the sum of ``scale**2 f (1 - f)`` over these."""
        levels = np.float32(self.levels)
        fraction = np.divide(part, scales)
        fraction *= levels
        code = np.floor(fraction)
        fraction -= code

        spread = np.subtract(np.float32(1), fraction)
        spread *= fraction
        variance = np.multiply(spread, scales, dtype=np.float64)
        variance *= scales

        # r < 65536 f - 1/2 is r + 1/2 < 65536 f: the product is exact, and so is the difference
        # but for f < 2**-18, where it stays negative and below every draw.
        fraction *= np.float32(65536)
        fraction -= np.float32(0.5)
        code += draws < fraction
        code += levels
        codes = code.astype(np.uint16)
        assert int(codes.max()) <= 2 * self.levels, (
            "a code beyond s: the scale is below a coordinate"
        )
        return codes, fold(variance)

    def decode(self, sections: Sequence[bytes | memoryview], dimension: int) -> Vector:
        """Read a delta; see ``Codec.decode``. Scales must be finite and >= 0, codes <= 2 s."""
        lengths = [4 * self._buckets(dimension), packed_bytes(self.width, dimension)]
        check_section_lengths(sections, lengths, codec=self.text)
        scales = np.frombuffer(sections[0], dtype="<f4").astype(np.float32)
        if not (np.isfinite(scales) & (scales >= 0)).all():
            raise UpdateError(f"{self.text}: a scale is negative, infinite or not a number")
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
            part *= self._spread(scales, first, part.size)
        return delta

    def payload_bytes(self, dimension: int) -> int:
        """Give four bytes a scale and the packed codes."""
        return 4 * self._buckets(dimension) + packed_bytes(self.width, dimension)

    def payload_bytes_max(self, dimension: int) -> int:
        """The same: every message is as long."""
        return self.payload_bytes(dimension)

    def _bucket_of(self, dimension: int) -> int:
        return dimension if self.bucket is None else min(self.bucket, dimension)

    def _buckets(self, dimension: int) -> int:
        return -(-dimension // self._bucket_of(dimension))

    def _spread(self, scales: _Scales, first: int, count: int) -> _Scales | np.float32:
        """Give each of ``count`` coordinates from ``first`` on the scale of its bucket."""
        if scales.size == 1:
            single: np.float32 = scales[0]
            return single
        assert self.bucket is not None
        low, skip = divmod(first, self.bucket)
        high = (first + count - 1) // self.bucket + 1
        return np.repeat(scales[low:high], self.bucket)[skip : skip + count]
