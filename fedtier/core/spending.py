"""What a link's budget still allows: bytes spent in a round and in any day, and the pace of sends.

Pure arithmetic on bytes and seconds. Times are of one clock that never goes back.

A record of the spending is written rarely and yet is never behind: it counts, beside what was
spent, bytes that may be spent before it is written again. After a crash these count as spent.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fedtier.budget import Budget
from fedtier.limits import DAY_S

_SLICES = 96  # of a window: what is spent in one is forgotten at once


class Window:
    """Never more than so many bytes in any window of so many seconds."""

    def __init__(self, bytes_max: int, *, window_s: float = DAY_S) -> None:
        """Begin with nothing spent.

        Args:
            bytes_max: The most that any window may hold, >= 1.
            window_s: How long a window is, > 0.
        """
        self.bytes_max = bytes_max
        self._window_s = window_s
        self._slice_s = window_s / _SLICES
        self._spent: list[tuple[float, int]] = []  # end of a slice, bytes; ascending

    def spend(self, count: int, now_s: float) -> None:
        """Take in that so many bytes went."""
        end_s = (math.floor(now_s / self._slice_s) + 1) * self._slice_s
        if self._spent and self._spent[-1][0] >= end_s:
            end_s, before = self._spent.pop()
            count += before
        self._spent.append((end_s, count))
        self._forget(now_s)

    def left(self, now_s: float) -> int:
        """Bytes that may go now; negative once more went."""
        self._forget(now_s)
        return self.bytes_max - sum(count for _, count in self._spent)

    def when(self, count: int, now_s: float) -> float:
        """From when on so many may go, if nothing goes before; infinite where never."""
        if count > self.bytes_max:
            return math.inf
        left = self.left(now_s)
        for end_s, spent in self._spent:
            if left >= count:
                break
            left += spent
            now_s = end_s + self._window_s
        return now_s

    def to_json(self) -> list[list[float]]:
        """What was spent when."""
        return [[end_s, count] for end_s, count in self._spent]

    def load(self, rows: list[list[float]]) -> None:
        """Go on from what ``to_json`` gave."""
        self._spent = [(float(end_s), int(count)) for end_s, count in rows]

    def _forget(self, now_s: float) -> None:
        while self._spent and self._spent[0][0] + self._window_s <= now_s:
            self._spent.pop(0)


class Pace:
    """Leaves so much time after each send that the rate is kept in the long run.

    In any t seconds no more than rate x t goes, and one message more.
    """

    def __init__(self, bytes_per_s: float, *, ready_at_s: float) -> None:
        """Begin at rest until ``ready_at_s``: what went before a restart is not known."""
        self._bytes_per_s = bytes_per_s
        self.ready_at_s = ready_at_s

    def sent(self, count: int, now_s: float) -> None:
        """Take in that so many bytes were sent."""
        self.ready_at_s = max(self.ready_at_s, now_s) + count / self._bytes_per_s


class Spending:
    """All that one budget counts, and what a record says of it."""

    def __init__(self, budget: Budget, *, window_s: float = DAY_S) -> None:
        """Begin with nothing spent and no round.

        Args:
            budget: Of it, the bytes of a round and of a day.
            window_s: How long a day is.
        """
        self._round_max = budget.bytes_per_round
        self._round: tuple[str, int] = ("", -1)
        self._round_spent = 0
        self.day = None if budget.bytes_per_day is None else Window(
            budget.bytes_per_day, window_s=window_s
        )  # fmt: skip
        limits = [b for b in (budget.bytes_per_round, budget.bytes_per_day) if b is not None]
        self._is_limited = bool(limits)
        self._ahead = max(1, min(limits, default=0) // 8)
        self._covered = 0  # how much may be spent until the record must be written

    def spend(self, count: int, now_s: float) -> None:
        """Take in that so many bytes were carried."""
        self._covered -= count
        self._round_spent += count
        if self.day is not None:
            self.day.spend(count, now_s)

    def hear_round(self, run: str, number: int) -> bool:
        """Begin anew with a later round, or another run; whether this is one."""
        if run == self._round[0] and number <= self._round[1]:
            return False
        self._round = (run, number)
        self._round_spent = 0
        if self._round_max is not None:
            self._covered = 0  # the record is of another round
        return True

    def left_of_round(self) -> int | None:
        """Bytes that may go in this round; None where rounds have no budget."""
        return None if self._round_max is None else self._round_max - self._round_spent

    def left_of_day(self, now_s: float) -> int | None:
        """Bytes that may go now by the day's budget; None where days have none."""
        return None if self.day is None else self.day.left(now_s)

    # The record

    def is_covered(self, count: int) -> bool:
        """Whether the record, as it was last written, counts so many bytes that have not gone."""
        return self._covered >= count or not self._is_limited

    def record(self, count: int) -> dict[str, Any]:
        """What is to be written, durably, before ``count`` more bytes go."""
        self._covered = count + self._ahead
        return {
            "round": list(self._round), "round_spent": self._round_spent,
            "day": [] if self.day is None else self.day.to_json(), "ahead": self._covered,
        }  # fmt: skip

    def restore(self, record: Mapping[str, Any], now_s: float) -> None:
        """Go on from a record; what it counts ahead has gone, for all that is known."""
        run, number = record["round"]
        self._round, self._round_spent = (run, number), record["round_spent"]
        if self.day is not None:
            self.day.load(record["day"])
        self.spend(record["ahead"], now_s)
        self._covered = 0
