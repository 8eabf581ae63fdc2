"""A weighted mean of vectors that no order of arrival can change, to the bit.

Floating-point addition depends on its order; integer addition does not. Every coordinate is
rounded once, to a multiple of ``2**-E``, and from there on everything is a sum of int64.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fedtier.errors import ConfigError, UpdateError
from fedtier.limits import (
    FIXED_POINT_BITS_MIN,
    FIXED_POINT_BITS_TOTAL,
    RANGE_BITS_DEFAULT,
    RANGE_BITS_MAX,
)
from fedtier.model.layout import Vector, check_vector

_CHUNK = 2**15  # coordinates per inner step: two temporaries of 256 KiB, however large d is


class ExactSum:
    """The sum of ``weight * vector`` over children, in 64-bit fixed point.

    With ``E = 62 - range_bits - bit_length(total_weight)``, a vector x of weight n adds
    ``n * rint(x * 2**E)``, ties to even, to an int64 per coordinate.

    The sum cannot overflow. Every x that is let in has ``|x| < 2**range_bits``, so its largest
    magnitude is the float32 below that and ``|rint(x * 2**E)| < 2**(range_bits + E)``, exact in
    float64 before and after the rounding (24 significant bits, no exponent near the limits). The
    weights that are let in add up to at most ``total_weight < 2**bit_length(total_weight)``. So
    every partial sum, in any order, stays below
    ``2**(bit_length(total_weight) + range_bits + E) = 2**62`` in magnitude.

    Memory: 8 bytes per coordinate and temporaries of at most 512 KiB.

    Args:
        dimension: d, at least 1.
        total_weight: The sum of the weights admitted to this mean, at least 1; those who come
            may add up to less.
        range_bits: R; every coordinate must lie in ``(-2**R, 2**R)``, 0 <= R <= 30.

    Raises:
        ConfigError: If the weights leave fewer than 30 bits to the fraction.
    """

    def __init__(
        self, dimension: int, *, total_weight: int, range_bits: int = RANGE_BITS_DEFAULT
    ) -> None:
        assert dimension >= 1, dimension
        assert total_weight >= 1, total_weight
        self._exponent = fixed_point_exponent(total_weight, range_bits)
        self._total_weight = total_weight
        self._range_bits = range_bits
        self._weight = 0
        self._sum: npt.NDArray[np.int64] = np.zeros(dimension, dtype=np.int64)

    @property
    def exponent(self) -> int:
        """E: coordinates are counted in units of ``2**-E``."""
        return self._exponent

    @property
    def weight(self) -> int:
        """The weights added so far."""
        return self._weight

    def add(self, vector: Vector, weight: int) -> None:
        """Add one child; when it raises, the sum is as it was.

        Args:
            vector: The child's decoded delta, float32 ``(d,)``.
            weight: At least 1.

        Raises:
            UpdateError: If the vector has another shape or type, holds NaN, infinity or a
                coordinate out of range, or if the weight is below 1 or more than what is left of
                ``total_weight``.
        """
        check_vector(vector, self._sum.size)
        if not 1 <= weight <= self._total_weight - self._weight:
            raise UpdateError(
                f"weight {weight} is not in 1..{self._total_weight - self._weight}, what is left "
                f"of the admitted {self._total_weight}"
            )
        if not in_range(vector, self._range_bits):
            raise UpdateError(
                f"a coordinate is not a number in (-{2**self._range_bits}, {2**self._range_bits})"
            )
        self._accumulate(vector, weight)
        self._weight += weight

    def _accumulate(self, vector: Vector, weight: int) -> None:
        size = min(_CHUNK, vector.size)
        scaled = np.empty(size, dtype=np.float64)
        counts = np.empty(size, dtype=np.int64)
        for first in range(0, vector.size, size):
            part = vector[first : first + size]
            fixed, count = scaled[: part.size], counts[: part.size]
            np.multiply(part, 2.0**self._exponent, out=fixed, dtype=np.float64)
            np.rint(fixed, out=fixed)
            np.copyto(count, fixed, casting="unsafe")  # an integer below 2**62: exact
            if weight > 1:
                count *= weight
            self._sum[first : first + size] += count

    def mean(self) -> Vector:
        """Divide by the weights that came.

        Returns:
            ``float32(float64(sum) / float64(weight) * 2**-E)``, a new vector ``(d,)``.
        """
        assert self._weight >= 1, "the mean of nobody: the caller leaves the model as it is"
        mean = np.empty(self._sum.size, dtype=np.float32)
        for first in range(0, mean.size, _CHUNK):
            part = self._sum[first : first + _CHUNK].astype(np.float64)
            part /= float(self._weight)
            part *= 2.0**-self._exponent
            mean[first : first + _CHUNK] = part
        return mean


def fixed_point_exponent(total_weight: int, range_bits: int = RANGE_BITS_DEFAULT) -> int:
    """Give the E of a mean, so that a round can be refused before it opens.

    Raises:
        ConfigError: If E would be below 30.
    """
    assert 0 <= range_bits <= RANGE_BITS_MAX, range_bits
    exponent = FIXED_POINT_BITS_TOTAL - range_bits - total_weight.bit_length()
    if exponent < FIXED_POINT_BITS_MIN:
        allowed = 2 ** (FIXED_POINT_BITS_TOTAL - range_bits - FIXED_POINT_BITS_MIN) - 1
        raise ConfigError(
            f"weights too large: {total_weight} together in a cell, at most {allowed} is exact at "
            f'range_bits = {range_bits}. Set weights = "devices" in [federation], use at most '
            f"{allowed} examples, or lower range_bits"
        )
    return exponent


def in_range(vector: Vector, range_bits: int = RANGE_BITS_DEFAULT) -> bool:
    """Whether every coordinate is a number in ``(-2**range_bits, 2**range_bits)``.

    A sender asks before it sends (and abstains as diverged), a parent before it adds.
    """
    bound = 2.0**range_bits
    # NaN spreads through min and max and fails both comparisons.
    return bool(vector.min() > -bound and vector.max() < bound)
