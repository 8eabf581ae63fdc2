"""How long a training step takes on this board."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

from fedtier.artefact.open_graph import Array, OpenGraph


def step_seconds(
    graph: OpenGraph,
    outputs: Sequence[str],
    feed: Mapping[str, Array],
    *,
    steps: int,
    end_s: float,
    cancelled: Callable[[], bool] = lambda: False,
) -> float | None:
    """Seconds of a step: the median of several, after a first in which memory is taken.

    Args:
        graph: The training graph.
        outputs: What to take of it.
        feed: What to give it.
        steps: At most so many are timed; >= 1.
        end_s: On the monotonic clock, after which none begins but the first that is timed.
        cancelled: Asked before every step.

    Returns:
        None where it was cancelled.

    Raises:
        TrainingError: If the graph cannot be run.
    """
    taken_s: list[float] = []
    while len(taken_s) < 2 or (len(taken_s) <= steps and time.monotonic() < end_s):
        if cancelled():
            return None
        began_s = time.perf_counter()
        graph.run(outputs, feed)
        taken_s.append(time.perf_counter() - began_s)
    del taken_s[0]
    return statistics.median(taken_s)
