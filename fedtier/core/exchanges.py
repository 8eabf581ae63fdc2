"""How long updates took from their first offer to `accepted`: sums from which two numbers follow.

Updates of two sizes tell a link's rate and its latency apart. The sums are those of a straight
line's least squares, so they fold over any number of senders, in any order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from typing import Self

from fedtier.errors import WireError

EXCHANGE_MAX = 2**100
"""The largest of the sums, which are of squares."""

_WIDTH = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchanges:
    """Sums over the updates that a link carried since the run began."""

    updates: int = 0
    size: int = 0  # bytes of their blobs
    micros: int = 0
    size_squared: int = 0
    size_micros: int = 0  # of each its bytes times its microseconds

    @classmethod
    def of(cls, *, size: int, micros: int) -> Self:
        """Of one update of ``size`` bytes."""
        return cls(
            updates=1, size=size, micros=micros, size_squared=size**2, size_micros=size * micros
        )

    def __add__(self, other: Exchanges) -> Exchanges:
        sums = (a + b for a, b in zip(astuple(self), astuple(other), strict=True))
        return Exchanges.from_row([min(EXCHANGE_MAX, value) for value in sums])

    def to_row(self) -> list[int]:
        """As it stands in figures."""
        return list(astuple(self))

    @classmethod
    def from_row(cls, row: Sequence[int]) -> Self:
        """Read it from figures.

        Raises:
            WireError: If there are not five numbers, each an integer from 0 to 2^100.
        """
        odd = not all(type(n) is int and 0 <= n <= EXCHANGE_MAX for n in row)
        if len(row) != _WIDTH or odd:
            raise WireError("figures: exchanges are not five integers from 0 to 2^100")
        updates, size, micros, size_squared, size_micros = row
        return cls(
            updates=updates, size=size, micros=micros, size_squared=size_squared,
            size_micros=size_micros,
        )  # fmt: skip

    def rate_and_latency(self) -> tuple[float | None, float]:
        """Bytes a second, and the seconds of an update of no bytes, by least squares.

        Returns:
            No rate where larger updates took no longer: the latency is then an update's mean time.
            Where the line passes below zero the latency is 0.
        """
        if not self.updates:
            return None, 0.0
        n, x, t = self.updates, self.size, self.micros
        spread, slope = n * self.size_squared - x * x, n * self.size_micros - x * t
        if spread <= 0 or slope <= 0:
            return None, t / n / 1e6
        micros_per_byte = slope / spread
        latency_s = (t - micros_per_byte * x) / n / 1e6
        if latency_s < 0:
            return 1e6 * self.size_squared / self.size_micros, 0.0
        return 1e6 / micros_per_byte, latency_s
