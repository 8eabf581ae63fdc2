"""How long a training step takes on this board."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedtier.artefact.open_graph import Array, OpenGraph

_STEPS_MIN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """Of the steps that were timed; the first one, in which memory is taken, is not among them."""

    median_s: float
    fastest_s: float
    slowest_s: float
    steps: int


def time_steps(
    graph: OpenGraph,
    outputs: Sequence[str],
    feed: Mapping[str, Array],
    *,
    steps: int,
    end_s: float,
) -> StepTime:
    """Run one and the same step several times.

    Args:
        graph: The training graph.
        outputs: What to take of it.
        feed: What to give it.
        steps: At most so many are timed; >= 1.
        end_s: On the monotonic clock, after which none begins but the first few.

    Raises:
        TrainingError: If the graph cannot be run.
    """
    graph.run(outputs, feed)
    taken_s: list[float] = []
    while len(taken_s) < min(steps, _STEPS_MIN) or (
        len(taken_s) < steps and time.monotonic() < end_s
    ):
        began_s = time.perf_counter()
        graph.run(outputs, feed)
        taken_s.append(time.perf_counter() - began_s)
    return StepTime(
        median_s=statistics.median(taken_s),
        fastest_s=min(taken_s),
        slowest_s=max(taken_s),
        steps=len(taken_s),
    )
