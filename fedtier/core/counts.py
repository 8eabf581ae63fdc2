"""The numbers of figures: integers that a sum never makes unsayable."""

from __future__ import annotations

FIGURE_MAX = 2**62
"""The largest number in a manifest's figures; the smallest is its negative."""


def capped(number: int) -> int:
    """Sums stop at the largest number a manifest takes: no child can make them unsayable."""
    if -FIGURE_MAX <= number <= FIGURE_MAX:
        return number
    return FIGURE_MAX if number > 0 else -FIGURE_MAX
