"""Results of simulations side by side: means over seeds, and curves as plots and as numbers."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from benchmarks.measure import Gate
from benchmarks.paper.campaign import Result
from fedtier.show.axis import Axis
from fedtier.show.line_plot import Series, line_plot

Across = Literal["round", "seconds"]
_ACROSS: Mapping[Across, str] = {"round": "round", "seconds": "virtual time, s"}


def summary(results: Sequence[Result]) -> dict[str, Any]:
    """Of the runs of one setting, one for each seed: figures at their end and curves.

    Returns:
        ``accuracy``, ``loss`` and those of ``devices``, each with ``mean``, ``min`` and ``max``
        over the seeds; ``seconds`` and ``bytes`` of a run; ``curve`` of means over the seeds.
    """
    figures = {key: [one[key] for one in results] for key in ("accuracy", "loss")}
    for key in ("mean", "p10", "worst"):
        figures[f"devices_{key}"] = [one["devices"][key] for one in results]
    last = [one["rounds"][-1] for one in results]
    return {
        **{key: _over_seeds(values) for key, values in figures.items()},
        "seconds": statistics.fmean(row["seconds"] for row in last),
        "bytes_up": [round(statistics.fmean(n)) for n in _by_link(last, "bytes_up")],
        "bytes_down": [round(statistics.fmean(n)) for n in _by_link(last, "bytes_down")],
        "q": results[0]["q"],
        "curve": {
            key: [_mean([row[key] for row in rows]) for rows in _by_round(results)]
            for key in ("seconds", "accuracy", "loss")
        },
        "model_digests": [one["model_digest"] for one in results],
    }


def mean_of(results: Sequence[Result], key: str = "accuracy") -> float:
    """Over the seeds, at the end; a run that diverged counts as without any right answer.

    Args:
        results: Of one setting.
        key: ``accuracy``, or ``loss`` or ``loss_devices``, which diverging makes infinite.
    """
    worst = 0.0 if key == "accuracy" else float("inf")
    return statistics.fmean(worst if one[key] is None else one[key] for one in results)


def error_of(result: Result) -> float:
    """The loss on the devices' own hold-outs at the end, by which step sizes are chosen."""
    loss: float | None = result["loss_devices"]
    return float("inf") if loss is None else loss


def begun_s(result: Result) -> float:
    """When the first round began, by the length of the second: before it the tree comes up."""
    first, second = (row["seconds"] for row in result["rounds"][:2])
    return float(2 * first - second)


def accuracy_at(result: Result, deadline_s: float) -> float:
    """Held-out accuracy of the last round that had closed by then; 0 where none had.

    Args:
        result: Of two rounds at least, or of one that fits.
        deadline_s: From the beginning of the first round.
    """
    alone = len(result["rounds"]) == 1  # when it began is not known then
    return accuracy_by(result, float("inf") if alone else begun_s(result) + deadline_s)


def accuracy_by(result: Result, end_s: float) -> float:
    """The same by a time of the run's own clock, on which the tree comes up, too."""
    closed = [row["accuracy"] for row in result["rounds"] if row["seconds"] <= end_s]
    return (closed[-1] or 0.0) if closed else 0.0


def draw(
    path: Path, title: str, settings: Mapping[str, Sequence[Result]], *, across: Across
) -> None:
    """Write a plot of held-out accuracy, a line for each setting with the range over its seeds."""
    series = [_series(name, results, across) for name, results in settings.items()]
    axes = {"x": Axis(title=_ACROSS[across], low=0), "y": Axis(title="held-out accuracy, %")}
    write_plot(path, title, [one for one in series if one.points], **axes)


def write_plot(path: Path, title: str, series: Sequence[Series], *, x: Axis, y: Axis) -> None:
    """Write a plot into a file, if there is something to draw."""
    if series:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(line_plot(title, series, x=x, y=y) + "\n", encoding="utf-8")


def claim(name: str, value: float, *, at_least: float) -> dict[str, Any]:
    """What is expected of a figure and whether it is so; nothing fails where it is not."""
    return Gate(name=name, value=value, at_least=at_least).to_json()


def _series(name: str, results: Sequence[Result], across: Across) -> Series:
    points, band = [], []
    for number, rows in enumerate(_by_round(results), start=1):
        found = [100 * row["accuracy"] for row in rows if row["accuracy"] is not None]
        if found:
            seconds = statistics.fmean(row["seconds"] for row in rows)
            points.append((seconds if across == "seconds" else number, statistics.fmean(found)))
            band.append((min(found), max(found)))
    return Series(name=name, points=points, band=band)


def _by_round(results: Sequence[Result]) -> list[tuple[Mapping[str, Any], ...]]:
    return list(zip(*(one["rounds"] for one in results), strict=True))


def _by_link(rows: Sequence[Mapping[str, Any]], key: str) -> list[tuple[float, ...]]:
    return list(zip(*(row[key] for row in rows), strict=True))


def _over_seeds(values: Sequence[float | None]) -> dict[str, float | None]:
    found = [value for value in values if value is not None]
    if not found:
        return {"mean": None, "min": None, "max": None}
    return {"mean": statistics.fmean(found), "min": min(found), "max": max(found)}


def _mean(values: Sequence[float | None]) -> float | None:
    return _over_seeds(values)["mean"]


def rank_correlation(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Spearman's, with the mean rank for equal values."""
    ranks = []
    for values in (np.asarray(a, np.float64), np.asarray(b, np.float64)):
        ordered = np.sort(values)
        left, right = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
        ranks.append((left + right) / 2)
    one, other = (each - each.mean() for each in ranks)
    return float(one @ other / math.sqrt((one @ one) * (other @ other)))
