"""What the runs of a sweep came to: the document of ``sweep.json``."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from fedtier.show.progress import Progress
from fedtier.sweep.queue import Run
from fedtier.sweep.variant import Variant

_FIGURES = (
    "accuracy", "loss", "accuracy_held_out_worst", "accuracy_devices", "accuracy_devices_p10",
    "accuracy_devices_worst", "seconds", "bytes_up", "bytes_down",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one run ended."""

    run: Run
    report: Mapping[str, Any] | None  # None = it wrote none
    exit_code: int = 0
    error: str | None = None  # why it failed; None = it did not


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A variant, and what its runs came to."""

    variant: Variant
    outcomes: Sequence[Outcome]
    runs: Sequence[Mapping[str, Any]]  # a line for each finished one, as in sweep.json

    def over_seeds(self, of: Callable[[Sequence[float]], float]) -> dict[str, Any]:
        """Mean, least or greatest of every figure; None of one that no run has."""
        return {name: _together([run[name] for run in self.runs], of) for name in _FIGURES}

    @property
    def chosen(self) -> list[str]:
        """Each tau that runs of it chose themselves, as ``--set`` takes it."""
        reports = [o.report for o in self.outcomes if o.report is not None and o.report["plans"]]
        return list(dict.fromkeys(",".join(map(str, report["tau"])) for report in reports))

    def curves(self) -> list[list[dict[str, Any]]]:
        """The rounds of every finished run: lines of ``metrics.jsonl``."""
        done = (o.run.directory for o in self.outcomes if o.report is not None)
        return [Progress(directory / "metrics.jsonl").look() for directory in done]


def rows_of(outcomes: Sequence[Outcome]) -> list[Row]:
    """A row for every variant, the best first: by mean accuracy, or by loss where there is none."""
    grouped: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        grouped.setdefault(outcome.run.variant.directory, []).append(outcome)
    rows = [
        Row(
            variant=own[0].run.variant,
            outcomes=own,
            runs=[_figures(o.run.seed, o.report) for o in own if o.report is not None],
        )
        for own in grouped.values()
    ]
    return sorted(rows, key=_rank)


def _rank(row: Row) -> tuple[bool, float, bool, float]:
    mean = row.over_seeds(fmean)
    accuracy, loss = mean["accuracy"], mean["loss"]
    return accuracy is None, -(accuracy or 0.0), loss is None, loss or 0.0


def _figures(seed: int, report: Mapping[str, Any]) -> dict[str, Any]:
    devices, worst = report["accuracy_devices"], report["accuracy_held_out_worst"]
    return {
        "seed": seed,
        "accuracy": report["accuracy"],
        "loss": report["loss"],
        "accuracy_held_out_worst": worst and worst["accuracy"],
        "accuracy_devices": devices["mean"],
        "accuracy_devices_p10": devices["p10"],
        "accuracy_devices_worst": devices["worst"] and devices["worst"]["accuracy"],
        "seconds": report["seconds"],
        "bytes_up": [link["bytes_up"] for link in report["links"]],
        "bytes_down": [link["bytes_down"] for link in report["links"]],
        "rounds_trained": report["rounds_trained"],
        "tau": report["tau"],
        "model_digest": report["model_digest"],
    }


def _together(values: Sequence[Any], of: Callable[[Sequence[float]], float]) -> Any:  # noqa: ANN401 (a number, or one per link)
    if values and isinstance(values[0], list):
        return [of(numbers) for numbers in zip(*values, strict=True)]
    known = [value for value in values if value is not None]
    return of(known) if known else None


def document_of(rows: Sequence[Row], *, federation: str, file: Path, clock: str) -> dict[str, Any]:
    """The document of ``sweep.json``."""
    return {
        "federation": federation,
        "file": str(file),
        "clock": clock,
        "variants": [
            {
                "set": row.variant.text,
                "directory": row.variant.directory,
                "settings": {s.key: s.value for s in row.variant.settings},
                "runs": list(row.runs),
                "mean": row.over_seeds(fmean),
                "min": row.over_seeds(min),
                "max": row.over_seeds(max),
                "errors": [
                    {"seed": o.run.seed, "error": o.error}
                    for o in row.outcomes
                    if o.error is not None
                ],
            }
            for row in rows
        ],
    }


def json_text(document: Mapping[str, Any]) -> bytes:
    """As it stands in the file."""
    return (json.dumps(document, indent=2) + "\n").encode()
