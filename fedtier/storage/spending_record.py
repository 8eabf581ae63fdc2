"""The spending of a link's budget across restarts: one small record, and a clock that goes on.

The record counts ahead (see ``Spending``), so it is written about eight times for a whole budget.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from fedtier.budget import Budget
from fedtier.core.spending import Spending
from fedtier.errors import StorageError
from fedtier.limits import DAY_S
from fedtier.storage.durable import read_record, write_record

_SET_S = 60.0  # the wall clock was set if it has moved so much against the other


class SpendingRecord:
    """One budget's spending, stored in a file, and the time by which it is counted.

    Time goes on with the monotonic clock while the process runs, and by the wall clock between two
    of them, never backwards: a board that boots in the past waits longer, and spends no more.
    """

    def __init__(
        self,
        place: Path,
        budget: Budget,
        *,
        window_s: float = DAY_S,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Go on from the file, if there is one.

        Args:
            place: The file.
            budget: What is spent.
            window_s: How long a day is.
            clock: Seconds that never go back.
            wall: Seconds since 1970, as far as this machine knows.

        Raises:
            StorageError: If the file cannot be read or does not verify.
        """
        self._place = place
        self._clock, self._wall = clock, wall
        self._clock_s, self._wall_s = clock(), wall()
        self._start_s = self._wall_s
        self.spending = Spending(budget, window_s=window_s)
        found = read_record(place)
        if found is not None:
            record = found[0]
            away_s = max(0.0, self._wall_s - record["wall_s"])
            self._start_s = record["now_s"] + away_s
            self.spending.restore(record["spending"], self._start_s)
        elif place.exists():
            raise StorageError(
                f"{place} is damaged: what this node has spent of its link's budget is not known. "
                "Remove the file once it may spend a whole budget again: a day after it last ran."
            )

    @property
    def now_s(self) -> float:
        """The time for ``Spending``."""
        return self._start_s + self._clock() - self._clock_s

    def cover(self, count: int) -> None:
        """Make sure that the file counts so many more bytes than have gone, before they go.

        Raises:
            StorageError: If the disk does not take it.
        """
        if self.spending.is_covered(count) and not self._clock_was_set():
            return
        clock_s, wall_s = self._clock(), self._wall()
        self._start_s += clock_s - self._clock_s
        self._clock_s, self._wall_s = clock_s, wall_s
        record = {
            "now_s": self._start_s, "wall_s": wall_s, "spending": self.spending.record(count),
        }  # fmt: skip
        write_record(self._place, record, {})

    def _clock_was_set(self) -> bool:
        moved_s = (self._wall() - self._wall_s) - (self._clock() - self._clock_s)
        return abs(moved_s) > _SET_S
