"""Virtual time: what is to happen when, and nothing else that makes time pass."""

from __future__ import annotations

import heapq
from collections.abc import Callable

Action = Callable[[], None]

_IDLE_MAX = 1_000_000


class Agenda:
    """Appointments in the order of their times; of two at one time the one made first comes first.

    Attributes:
        now_s: The time. It moves only to the time of what happens next.
    """

    def __init__(self) -> None:
        self.now_s = 0.0
        self._appointments: list[tuple[float, int, Action]] = []
        self._made = 0

    @property
    def next_s(self) -> float | None:
        """When something happens next; None if nothing ever does."""
        return self._appointments[0][0] if self._appointments else None

    def at(self, time_s: float, action: Action) -> None:
        """Have something happen; now, if that time has passed."""
        self._made += 1
        heapq.heappush(self._appointments, (max(time_s, self.now_s), self._made, action))

    def after(self, seconds: float, action: Action) -> None:
        """Have something happen so much later; with 0, after all that is due now already."""
        self.at(self.now_s + seconds, action)

    def step(self) -> bool:
        """Let the next thing happen; False if there is none."""
        if not self._appointments:
            return False
        self.now_s, _, action = heapq.heappop(self._appointments)
        action()
        return True

    def run_until_idle(self, *, limit: int = _IDLE_MAX) -> int:
        """Let everything happen; returns how many things there were."""
        for count in range(limit):
            if not self.step():
                return count
        raise AssertionError(f"still not idle after {limit} steps: two parties echo each other")
