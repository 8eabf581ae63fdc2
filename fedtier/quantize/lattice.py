"""Stochastic rounding to the multiples of one spacing, written in little more than their entropy.

For deltas with many small and few large coordinates this is the fewest bits for an error: one
spacing for a whole vector is what reverse water-filling asks for, and an entropy coder makes small
numbers cheap. Where a cell shares its spacing, what its children send are whole numbers of it, and
so is their weighted sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from fedtier.draws import DrawKey, uniform16
from fedtier.errors import UpdateError, WireError
from fedtier.limits import LATTICE_SPACING_MAX, LATTICE_SPACING_MIN
from fedtier.model.layout import Vector
from fedtier.quantize.codec import Encoded, check_delta
from fedtier.quantize.norm import fold, sum_of_squares
from fedtier.quantize.qsgd import tight_q_bound
from fedtier.quantize.rans import decode_integers, encode_integers, encoded_bytes_max

_CHUNK = 2**15  # coordinates per inner step
_SMALLEST, _LARGEST = 2.0**-126, float(np.finfo(np.float32).max)  # float32 with all its digits
_CODE_MAX = 2**24  # float32 has every whole number up to here


@dataclass(frozen=True, slots=True, kw_only=True)
class Lattice:
    """Round every coordinate to a multiple of a spacing, at random and without bias.

    The spacing is the one that the parent has announced for the iteration; without one it is
    ``spacing * rms``, rms being the root of the mean square of the delta's own coordinates. Where
    the announced one is more than twice or less than half of that, it is halved or doubled as often
    as it takes: so a message stays small, its relative error has a bound, and all of a cell remain
    on one lattice. With D the spacing as it is sent, in float32, and draw r of the coordinate's
    index::

        z = x / D        code = floor(z) + (1 if r + 1/2 < 65536 (z - floor(z)) else 0)
        decoded = code * D

    Sections: D as a little-endian float32; the codes as ``rans.py`` writes them. The zero vector
    has D = 0 where nothing was announced.

    The bias per coordinate is at most 2**-17 of a spacing from the 16-bit draws, and a few units in
    the last place of float32.

    Attributes:
        spacing: In units of the deltas' root mean square, 1/256..64.
        announced: D as the parent announced it, a float32 above 0, or None.
    """

    spacing: float
    announced: float | None = None

    name: ClassVar[str] = "lattice"

    def __post_init__(self) -> None:
        # What an operator wrote has been checked, and the error worded, by `make_codec`.
        assert LATTICE_SPACING_MIN <= self.spacing <= LATTICE_SPACING_MAX, self.spacing
        assert self.announced is None or self.announced == np.float32(self.announced) > 0

    @property
    def text(self) -> str:
        """``lattice(spacing=2)``."""
        return f"lattice(spacing={self.spacing:g})"

    def encode(self, delta: Vector, key: DrawKey) -> Encoded:
        """Write a delta; see ``Codec.encode``.

        ``q`` is exact for this delta and spacing: with f the fractions above,
        ``D**2 * sum f (1 - f) / ||delta||**2``.
        """
        check_delta(delta)
        total = sum_of_squares(delta)
        if not math.isfinite(total):
            raise UpdateError(f"{self.text}: the delta holds NaN or infinity")
        spacing = np.float32(self._spacing(math.sqrt(total / delta.size)))
        codes = np.zeros(delta.size, dtype=np.int32)
        errors: list[float] = []
        for first in range(0, delta.size if total > 0 else 0, _CHUNK):
            part = codes[first : first + _CHUNK]
            draws = uniform16(key, part.size, first)
            part[:], error = _round(delta[first : first + _CHUNK], spacing, draws)
            errors.append(error)
        q = float(spacing) ** 2 * math.fsum(errors) / total if total > 0 else 0.0
        sections = (spacing.astype("<f4").tobytes(), encode_integers(codes))
        return Encoded(sections=sections, q=q, norm=math.sqrt(total))

    def _spacing(self, rms: float) -> float:
        if self.announced is None:
            return self.spacing_for(rms)
        spacing, own = self.announced, self.spacing_for(rms)
        while 2 * spacing < own:
            spacing *= 2
        while spacing > 2 * own > 0 and spacing >= 2 * _SMALLEST:
            spacing /= 2
        return spacing

    def spacing_for(self, rms: float) -> float:
        """D for deltas of this root mean square, as a float32 has it; 0 for that of 0."""
        usual = max(self.spacing * rms, _SMALLEST) if rms > 0 else 0.0
        return float(np.float32(min(usual, _LARGEST)))

    def decode(self, sections: Sequence[bytes | memoryview], dimension: int) -> Vector:
        """Read a delta; see ``Codec.decode``. D must be what it may be, codes below 2**24."""
        spacing, codes = self.read(sections, dimension)
        return codes.astype(np.float32) * spacing

    def read(
        self, sections: Sequence[bytes | memoryview], dimension: int
    ) -> tuple[np.float32, npt.NDArray[np.int64]]:
        """The spacing, and how many of it each coordinate is, shape ``(d,)``.

        Raises:
            WireError: If the sections are no such message.
            UpdateError: If the spacing or a code is out of its range.
        """
        if len(sections) != 2 or len(sections[0]) != 4:
            raise WireError(
                f"{self.text}: sections of {[len(s) for s in sections]} bytes, expected a spacing "
                "of 4 and the codes"
            )
        spacing: np.float32 = np.frombuffer(sections[0], dtype="<f4")[0]
        if not (np.isfinite(spacing) and spacing >= 0):
            raise UpdateError(f"{self.text}: the spacing is negative, infinite or not a number")
        codes = decode_integers(sections[1], dimension)
        largest = max(-int(codes.min()), int(codes.max()))
        if largest > _CODE_MAX or largest * float(spacing) > _LARGEST:
            raise UpdateError(
                f"{self.text}: a code of {largest} spacings of {spacing:g} is out of range"
            )
        return spacing, codes

    def payload_bytes(self, dimension: int) -> int:
        """Give what most deltas of length d stay below: no distribution of codes needs more.

        Of all whole numbers of variance v those nearly normal have the largest entropy, at most
        ``log2(2 pi e (v + 1/12)) / 2`` bits (Massey, "On the entropy of integer-valued random
        variables", 1988). Codes have ``v <= 1 / spacing**2 + 1/4``: of the coordinates, and of
        rounding.
        """
        variance = self.spacing**-2 + 1 / 4
        bits = math.log2(2 * math.pi * math.e * (variance + 1 / 12)) / 2
        return 4 + math.ceil(1.03 * dimension * bits / 8) + 32

    def payload_bytes_max(self, dimension: int) -> int:
        """Give what no message of a delta of length d exceeds."""
        return 4 + encoded_bytes_max(dimension)

    def q_bound(self, dimension: int) -> float:
        """Bound q by QSGD's bound, for a D of twice that of the delta itself: the most there is.

        With ``sqrt(d) / (2 spacing)`` levels it is ``spacing**2`` up to 1, ``2 spacing - 1`` above.
        """
        return tight_q_bound(dimension, math.sqrt(dimension) / (2 * self.spacing))


def _round(
    part: Vector, spacing: np.float32, draws: npt.NDArray[np.uint16]
) -> tuple[npt.NDArray[np.int32], float]:
    """Give the codes, and the sum of ``f (1 - f)`` over these coordinates."""
    fraction = np.divide(part, spacing)
    code = np.floor(fraction)
    fraction -= code
    variance = np.subtract(np.float32(1), fraction)
    variance *= fraction
    error = fold(variance.astype(np.float64))
    # As in levels.py: r < 65536 f - 1/2 is r + 1/2 < 65536 f.
    fraction *= np.float32(65536)
    fraction -= np.float32(0.5)
    code += draws < fraction
    return code.astype(np.int32), error
