"""What one child of a link may put on it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """What one child may put on its link; None = as much as it takes."""

    bytes_per_round: int | None = None  # both directions together
    bytes_per_day: int | None = None  # in any 24 hours, both directions together
    rate_bytes_per_s: float | None = None  # upwards, on average
    airtime_share_max: float | None = None  # of the time, in (0, 1]; only with a rate
