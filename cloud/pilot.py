"""What a pilot found, round by round: durable at the cloud."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fedtier.core.effects import Aggregate
from fedtier.core.measured import Measured
from fedtier.ids import RunId, hex64
from fedtier.model.layout import Vector
from fedtier.quantize.norm import sum_of_squares
from fedtier.runtime.mean import MeanGradient
from fedtier.storage.records import FileRecord
from fedtier.wire.fields import Fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What the whole tree told before or in one round."""

    round: int
    task: str
    measured: Measured
    seconds: float | None = None  # for which a round's iteration was open; None: not whole
    spans: Mapping[int, int] = field(default_factory=dict)  # of a round: see ``Figures``
    model: float = 0.0  # |x|; this and the next two are of a gradient g at the model x
    change: float = 0.0  # |mean of its changes to the devices' end points|
    smoothness: float | None = None  # |g - g'| / |x - x'|, g' being the gradient before


class PilotLog:
    """The findings of one run's pilot, in the order in which they came."""

    def __init__(self, directory: Path, run: RunId) -> None:
        """Take up what an earlier boot of this run wrote into ``pilot.record`` in a directory.

        Raises:
            StorageError: If the disk does not give it.
        """
        self._record = FileRecord(directory / "pilot.record")
        self._run = run
        self.findings: list[Findings] = []
        self._last: tuple[Vector, Vector] | None = None  # the newest gradient's model, and itself
        stored = self._record.read()
        if stored is not None and stored[0]["run"] == hex64(run):
            document, arrays = stored
            self.findings = [_findings(row) for row in document["findings"]]
            if arrays:
                model, gradient = (np.frombuffer(arrays[n], "<f4") for n in ("model", "gradient"))
                self._last = (model, gradient)

    def knows_gradient(self, round_: int) -> bool:
        """Whether the gradient that is asked for before a round has come."""
        return any((f.round, f.task) == (round_, "gradient") for f in self.findings)

    def add_round(self, aggregate: Aggregate) -> None:
        """Take what a round measured."""
        self._add(finding_of_round(aggregate))

    def add_gradient(
        self, aggregate: Aggregate, found: MeanGradient | None, *, model: Vector, parameters: int
    ) -> None:
        """Take a gradient; ``found`` is None where nobody measured one.

        Args:
            aggregate: Of the answers.
            found: Their means.
            model: At which they were measured, shape ``(d,)``.
            parameters: How many of its first coordinates a gradient moves.
        """
        round_, measured = aggregate.head.path.round, aggregate.figures.measured
        if found is None:
            self._add(Findings(round=round_, task="gradient", measured=measured))
            return
        smoothness = None
        if self._last is not None:
            moved = _norm((model - self._last[0])[:parameters])
            if moved:
                smoothness = _norm(found.gradient - self._last[1]) / moved
        self._last = (model, found.gradient)
        self._add(Findings(
            round=round_, task="gradient",
            measured=measured + Measured(gradients=found.spread),
            model=_norm(model[:parameters]), change=_norm(found.change), smoothness=smoothness,
        ))  # fmt: skip

    def _add(self, new: Findings) -> None:
        """In the place of what an older state of the run had found there, and after it."""
        self.findings = [f for f in self.findings if _place(f) < _place(new)] + [new]

    def save(self) -> None:
        """Make all of it durable.

        Raises:
            StorageError: If the disk does not take it.
        """
        document = {
            "run": hex64(self._run),
            "findings": [_row(each) for each in self.findings],
        }
        last = {} if self._last is None else {"model": self._last[0], "gradient": self._last[1]}
        self._record.write(document, {n: v.astype("<f4").tobytes() for n, v in last.items()})


def finding_of_round(aggregate: Aggregate) -> Findings:
    """What a round of training told."""
    return Findings(
        round=aggregate.head.path.round,
        task="train",
        measured=aggregate.figures.measured,
        seconds=None if aggregate.resumed else aggregate.seconds,
        spans=aggregate.figures.spans,
    )


def _norm(vector: Vector) -> float:
    return math.sqrt(sum_of_squares(vector))


def _place(found: Findings) -> tuple[int, bool]:
    """In the order of a pilot: before each round comes its gradient."""
    return found.round, found.task == "train"


def _row(found: Findings) -> list[Any]:
    spans = [list(span) for span in sorted(found.spans.items())]
    named = (found.model, found.change, found.smoothness)
    return [found.round, found.task, found.measured.to_json(), found.seconds, spans, *named]


def _findings(row: Sequence[Any]) -> Findings:
    round_, task, measured, seconds, spans, model, change, smoothness = row
    return Findings(
        round=round_, task=task, seconds=seconds, spans=dict(spans),
        model=model, change=change, smoothness=smoothness,
        measured=Measured.from_fields(Fields(measured, what="pilot.record")),
    )  # fmt: skip
