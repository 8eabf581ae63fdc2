"""An axis of a plot: what it spans, where its ticks are, and what they are called."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

_NEAR = 1e-9  # of a step: what rounding may do to a tick
_ZERO_SHARE = 0.25  # an axis begins at zero where that takes no more of it than this


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """What is asked of an axis.

    Args:
        title: With the unit, such as ``sent upwards, MB``.
        low: Where it begins; found from the values by default.
        high: Where it ends; found from the values by default.
        log: Whether equal ratios are equally far apart; all values are above zero then.
    """

    title: str
    low: float | None = None
    high: float | None = None
    log: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """An axis with its span; ``low < high``, and all three are finite."""

    title: str
    low: float
    high: float
    ticks: tuple[float, ...]  # ascending, in [low, high]
    log: bool

    def share(self, value: float) -> float:
        """How far along the axis a value is: 0 at ``low``, 1 at ``high``."""
        if self.log:
            return math.log(value / self.low) / math.log(self.high / self.low)
        return (value - self.low) / (self.high - self.low)

    def holds(self, value: float) -> bool:
        """Whether a value lies on the axis."""
        return self.low <= value <= self.high

    @property
    def labels(self) -> tuple[str, ...]:
        """The ticks as people write them, on a linear axis all with as many decimals."""
        places = [_decimals(tick) for tick in self.ticks]
        if not self.log:
            places = [max(places, default=0)] * len(places)
        return tuple(_label(t, decimals=n) for t, n in zip(self.ticks, places, strict=True))


def scale_of(axis: Axis, values: Iterable[float], *, ticks_max: int, rounded: bool) -> Scale:
    """Find an axis's span and ticks.

    Args:
        axis: What is asked.
        values: All that is drawn, finite; at least one, if the axis does not give both ends.
        ticks_max: The most ticks, 2 or more.
        rounded: Whether an end that is found is moved outwards to a tick.
    """
    drawn = list(values)
    low, high = _span(axis, drawn)
    if axis.log:
        assert low > 0, f"a logarithmic axis has no {low}"
        ticks = _log_ticks(low, high, most=ticks_max)
        return Scale(title=axis.title, low=low, high=high, ticks=ticks, log=True)
    step = round_step((high - low) / (ticks_max - 1))
    if rounded:
        low = low if axis.low is not None else min(low, step * math.floor(low / step + _NEAR))
        high = high if axis.high is not None else max(high, step * math.ceil(high / step - _NEAR))
    return Scale(
        title=axis.title, low=low, high=high, ticks=linear_ticks(low, high, step=step), log=False
    )


def _span(axis: Axis, drawn: list[float]) -> tuple[float, float]:
    low = min(drawn) if axis.low is None else axis.low
    high = max(drawn) if axis.high is None else axis.high
    assert math.isfinite(high - low), f"no axis spans {low} to {high}"
    if axis.low is None and not axis.log and 0 < low <= _ZERO_SHARE * high:
        low = 0.0
    if low < high:
        return low, high
    around = abs(low) / 2 or 1.0  # one value alone stands between ends that are not given
    return (
        low if axis.low is not None else low - around,
        high if axis.high is not None else high + around,
    )


def round_step(least: float) -> float:
    """The least 1, 2 or 5 times a power of ten that is not below ``least``, which is above 0."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(k * power for k in (1, 2, 5, 10) if k * power >= least * (1 - _NEAR))


def linear_ticks(low: float, high: float, *, step: float) -> tuple[float, ...]:
    """The multiples of a step from ``low`` to ``high``."""
    first, last = math.ceil(low / step - _NEAR), math.floor(high / step + _NEAR)
    digits = max(0, 1 - math.floor(math.log10(step)))  # so that 3 x 0.1 is 0.3
    return tuple(round(step * n, digits) for n in range(first, last + 1))


def _log_ticks(low: float, high: float, *, most: int) -> tuple[float, ...]:
    """Powers of ten, and 2 and 5 times these where there is room."""
    for factors, every in ((_FINE, 1), (_COARSE, 1), *((_COARSE, n) for n in range(2, 20))):
        ticks = _powers(low, high, factors, every=every)
        if len(ticks) <= most:
            break
    return (
        ticks
        if len(ticks) > 1
        else linear_ticks(low, high, step=round_step((high - low) / (most - 1)))
    )


_FINE, _COARSE = (1, 2, 5), (1,)


def _powers(low: float, high: float, factors: Iterable[int], *, every: int) -> tuple[float, ...]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    found = (k * 10.0**n for n in range(first, last + 1) if n % every == 0 for k in factors)
    return tuple(t for t in found if low * (1 - _NEAR) <= t <= high * (1 + _NEAR))


def _decimals(value: float) -> int:
    return len(f"{value:.6f}".rstrip("0").partition(".")[2])


def _label(value: float, *, decimals: int) -> str:
    if value and not 1e-4 <= abs(value) < 1e7:
        mantissa, _, exponent = f"{value:.6g}".partition("e")
        return f"{mantissa}e{int(exponent)}"
    text = f"{value:,.{decimals}f}".replace(",", "\N{THIN SPACE}")
    return text.replace("-", "\N{MINUS SIGN}")
