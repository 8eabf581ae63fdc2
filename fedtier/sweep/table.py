"""The table on the terminal: a line for each variant, the best first."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from rich.console import Console
from rich.measure import Measurement, measure_renderables
from rich.table import Table
from rich.text import Text

from fedtier.show.summary import plain_table
from fedtier.sweep.results import Row

_VARIANT_MIN = 12  # characters of a line of it
_WIDE = 10_000


def sweep_table(rows: Sequence[Row], console: Console) -> Table:
    """Means over seeds; the range where there are several.

    Args:
        rows: Best first; a variant of which no run is finished has no line.
        console: Where it is to fit; long variants go on in the next line.
    """
    judged = any(row.over_seeds(fmean)["accuracy"] is not None for row in rows)
    key = "accuracy" if judged else "loss"
    table = plain_table(
        "Means over seeds, the best first", "variant", "runs", key, "range", "worst device",
        "seconds", "MB up", "MB down",
    )  # fmt: skip
    for row in rows:
        if not row.runs:
            continue
        mean, low, high = row.over_seeds(fmean), row.over_seeds(min), row.over_seeds(max)
        table.add_row(
            _title(row), str(len(row.runs)), _figure(mean[key], judged),
            _range(low[key], high[key], judged),
            _figure(mean["accuracy_devices_worst"], True), f"{mean['seconds']:.1f}",
            _megabytes(mean["bytes_up"]), _megabytes(mean["bytes_down"]),
        )  # fmt: skip
    _wrap_variants(table, console)
    return table


def _title(row: Row) -> Text:
    return Text("\n".join([row.variant.title, *(f"chose {tau}" for tau in row.chosen)]))


def _wrap_variants(table: Table, console: Console) -> None:
    """Have the first column be as narrow as the others need it."""
    first, wide = table.columns[0], console.options.update_width(_WIDE)
    longest = measure_renderables(console, wide, list(first.cells)).maximum
    too_wide = max(0, Measurement.get(console, wide, table).maximum - console.width)
    first.no_wrap, first.overflow = False, "fold"
    first.max_width = max(_VARIANT_MIN, longest - too_wide)


def _figure(value: float | None, share: bool) -> str:
    if value is None:
        return "–"
    return f"{100 * value:.1f} %" if share else f"{value:.4g}"


def _range(low: float | None, high: float | None, share: bool) -> str:
    if low is None or high is None or low == high:
        return ""
    return f"{100 * low:.1f}–{100 * high:.1f}" if share else f"{low:.4g}–{high:.4g}"


def _megabytes(by_link: Sequence[float]) -> str:
    return f"{sum(by_link) / 1e6:.2f}"
