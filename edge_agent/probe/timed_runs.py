"""One and the same thing done again and again until the time is up, and how long each took."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator


def timed_runs(
    run: Callable[[], object],
    *,
    end_s: float,
    runs_min: int = 0,
    runs_max: int = sys.maxsize,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[float]:
    """Run it, and yield the seconds that it took.

    Args:
        run: What to do.
        end_s: On the clock. No run begins that would end later if it took as long as the last one,
            but for the first few: it would be broken off, and its time lost.
        runs_min: So many there are in any case.
        runs_max: There are no more.
        clock: In seconds; never goes back.
    """
    taken_s = 0.0
    for number in range(runs_max):
        began_s = clock()
        if number >= runs_min and began_s + taken_s >= end_s:
            return
        run()
        taken_s = clock() - began_s
        yield taken_s
