"""When a child with a budget is better away, and when it looks whether something is asked."""

from __future__ import annotations

from fedtier.wire.costs import SIGNS_BYTES_PER_S


class Looks:
    """When to connect again, to see whether something is asked: ever rarer in one round."""

    FIRST_S = 15.0
    STAY_S = 2.0  # for the machine to answer what was heard
    STAY_MAX_S = 10.0  # where nothing is heard

    def __init__(self) -> None:
        self.at_s = 0.0
        self._interval_s = self.FIRST_S

    def later(self, now_s: float) -> None:
        """Look twice as much later than the last time."""
        self.at_s = now_s + self._interval_s
        self._interval_s *= 2

    def afresh(self) -> None:
        """There is another round."""
        self.at_s = 0.0
        self._interval_s = self.FIRST_S


class Idleness:
    """Whether a day's budget can pay for staying connected while nothing happens.

    An eighth of it is for that. Where this does not pay for the signs of life, the connection ends
    after a while, and the eighth pays for looks.
    """

    PATIENCE_S = 60.0

    def __init__(self, bytes_per_day: int | None, *, session: int, window_s: float) -> None:
        self.interval_s: float | None = None  # None = stay
        if bytes_per_day is not None:
            share = bytes_per_day / 8
            if share < SIGNS_BYTES_PER_S * window_s:
                self.interval_s = window_s * session / share
