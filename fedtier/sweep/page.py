"""The sweep as one page without scripts: variants side by side, and their curves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from statistics import fmean
from typing import Any
from urllib.parse import quote

from fedtier.runtime.host import Clock
from fedtier.show.axis import Axis
from fedtier.show.line_plot import Series, line_plot
from fedtier.show.page import page, table
from fedtier.sweep.results import Row
from fedtier.words import counted

Line = Mapping[str, Any]
"""Of ``metrics.jsonl``: a round."""

_SECONDS: Mapping[Clock, str] = {"virtual": "virtual time, s", "wall": "time, s"}


def sweep_page(rows: Sequence[Row], *, federation: str, clock: Clock) -> str:
    """The page.

    Args:
        rows: The variants, best first.
        federation: Its id.
        clock: What seconds are of.
    """
    runs = sum(len(row.runs) for row in rows)
    return page(
        f"{federation}: sweep",
        [
            f"<h1>{escape(federation)}: sweep</h1>",
            f"<p class=sub>{counted(len(rows), 'variant')}, {counted(runs, 'run')}; "
            "figures are means over seeds, bands and small print their range</p>",
            _errors(rows),
            _variants(rows),
            *_plots(rows, clock),
            _runs(rows),
        ],
    )


def _plots(rows: Sequence[Row], clock: Clock) -> list[str]:
    accuracy, loss = Axis(title="held-out accuracy, %"), Axis(title="held-out loss", low=0)
    rounds, time = Axis(title="round", low=0), Axis(title=_SECONDS[clock], low=0)
    sent = Axis(title="sent upwards on all links without each child's newest update, MB", low=0)
    wanted = [
        ("Held-out accuracy over rounds", "accuracy", _round, rounds, accuracy),
        ("Held-out accuracy over time", "accuracy", _seconds, time, accuracy),
        ("Held-out accuracy over bytes", "accuracy", _megabytes_up, sent, accuracy),
        ("Held-out loss over rounds", "loss", _round, rounds, loss),
    ]
    curves = [(row.variant.title, row.curves()) for row in rows]
    plots = []
    for title, key, across, x, y in wanted:
        series = [_series(name, runs, across, key) for name, runs in curves]
        drawn = [one for one in series if one.points]
        if drawn:
            plots.append(line_plot(title, drawn, x=x, y=y))
    return plots


def _series(
    name: str, runs: Sequence[Sequence[Line]], across: Callable[[Line], float], key: str
) -> Series:
    """A figure after each round: mean and range over the runs that had it, at their mean x."""
    scale = 100 if key == "accuracy" else 1
    rounds: dict[int, list[tuple[float, float]]] = {}
    for run in runs:
        for line in run:
            if line[key] is not None:
                here = (across(line), scale * line[key])
                rounds.setdefault(line["round"], []).append(here)
    points, band = [], []
    for _, found in sorted(rounds.items()):
        ys = [y for _, y in found]
        points.append((fmean(x for x, _ in found), fmean(ys)))
        band.append((min(ys), max(ys)))
    return Series(name=name, points=points, band=band)


def _round(line: Line) -> float:
    return float(line["round"] + 1)


def _seconds(line: Line) -> float:
    return float(line["seconds"])


def _megabytes_up(line: Line) -> float:
    return float(sum(link["bytes_up"] for link in line["links"]) / 1e6)


def _errors(rows: Sequence[Row]) -> str:
    lines = [
        f"{row.variant.title}, seed {outcome.run.seed}: {outcome.error}"
        for row in rows
        for outcome in row.outcomes
        if outcome.error is not None
    ]
    return f"<p class=warning>{'<br>'.join(map(escape, lines))}</p>" if lines else ""


def _variants(rows: Sequence[Row]) -> str:
    return table(
        ["variant", "runs", "accuracy", "loss", "worst group", "worst device", "seconds",
         "MB up by link, and down"],
        [
            [
                _title(row), str(len(row.runs)),
                _ranged(row, "accuracy", _percent), _ranged(row, "loss", _three),
                _ranged(row, "accuracy_held_out_worst", _percent),
                _ranged(row, "accuracy_devices_worst", _percent), _ranged(row, "seconds", _one),
                f"{_by_link(row, 'bytes_up')}<br><small>{_by_link(row, 'bytes_down')}</small>",
            ]
            for row in rows
        ],
    )  # fmt: skip


def _title(row: Row) -> str:
    chosen = "".join(f"<br><small>chose {tau}</small>" for tau in row.chosen)
    return f"{escape(row.variant.title)}{chosen}"


def _runs(rows: Sequence[Row]) -> str:
    cells = [
        [
            f'<a href="{escape(quote(row.variant.directory))}/seed-{run["seed"]}/report.html">'
            f"{escape(row.variant.title)}</a>",
            str(run["seed"]), _percent(run["accuracy"]), _three(run["loss"]),
            _percent(run["accuracy_devices_worst"]), _one(run["seconds"]),
            f"<code>{run['model_digest'][:12]}</code>",
        ]
        for row in rows
        for run in row.runs
    ]  # fmt: skip
    columns = ["run", "seed", "accuracy", "loss", "worst device", "seconds", "model"]
    return f"<h2>Runs</h2>{table(columns, cells)}" if cells else ""


def _ranged(row: Row, key: str, write: Callable[[float | None], str]) -> str:
    mean, low, high = (row.over_seeds(of)[key] for of in (fmean, min, max))
    if low == high:
        return write(mean)
    return f"{write(mean)}<br><small>{write(low)} to {write(high)}</small>"


def _by_link(row: Row, key: str) -> str:
    values: list[float] | None = row.over_seeds(fmean)[key]
    return "–" if values is None else " / ".join(f"{value / 1e6:.2f}" for value in values)


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _three(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _one(value: float | None) -> str:
    return "–" if value is None else f"{value:.1f}"
