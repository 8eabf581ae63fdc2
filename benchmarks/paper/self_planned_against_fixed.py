"""Is a run that plans itself as good as one whose tau was fixed by hand, by the same deadline?

One of three nets, with three kinds of links, by three deadlines. A run with ``tau = "auto"`` begins
with a pilot, which costs it of its deadline; beside it the shipped tau and another one, each with
the best of three step sizes, which costs them nothing. All have the same cosine from their step
size down::

    python -m benchmarks.paper.self_planned_against_fixed wrists \
        --out benchmarks/results/paper/self_planned_against_fixed-wrists.json
"""

from __future__ import annotations

import math
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.federations import Document, with_plan
from benchmarks.measure import Gate, Record, progress
from benchmarks.paper.campaign import Campaign, Result, Simulation, paper_arguments
from benchmarks.paper.nets_and_lines import LINES, MU, net_document
from benchmarks.paper.plans import Tau
from benchmarks.paper.reading import accuracy_by, begun_s, write_plot
from benchmarks.paper.settings import with_schedule
from fedtier.show.axis import Axis
from fedtier.show.line_plot import Series

SEEDS: Mapping[float, Sequence[int]] = {60.0: (1, 2, 3), 300.0: (1, 2), 1800.0: (1,)}
"""By deadline: the shorter a run, the more of its accuracy is chance."""
FIXED: Sequence[Tau] = ((4, 4, 1), (8, 2, 2))
MUS = (0.03, 0.1, 0.3)
PACE_ROUNDS = 3
BEHIND_MAX = 0.01
AHEAD_MIN = 4  # of nine


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One net, with one kind of links, by one deadline."""

    net: str
    lines: str
    deadline_s: float
    document: Document

    @property
    def name(self) -> str:
        """As results call it."""
        return f"{self.net}, {self.lines}, {self.deadline_s:g} s"

    def self_planned(self, seed: int) -> Simulation:
        """A run that measures and plans itself."""
        document = with_plan(self.document, tau="auto", auto={"deadline_s": self.deadline_s})
        del document["plan"]["rounds"]  # as many as fit
        return Simulation(document=document, seed=seed)

    def paces(self) -> Iterator[tuple[Tau, Simulation]]:
        """Short runs, which tell how long rounds of a fixed tau take."""
        for tau in FIXED:
            yield tau, Simulation(document=_fixed(self.document, tau, PACE_ROUNDS), seed=1)

    def fixed(self, tau: Tau, mu: float, *, pace: Result, seed: int) -> Simulation | None:
        """A run of as many rounds as fit; None where not one does."""
        begin_s = begun_s(pace)
        first, last = pace["rounds"][0], pace["rounds"][-1]
        round_s = (last["seconds"] - first["seconds"]) / (PACE_ROUNDS - 1)
        rounds = math.floor((self.deadline_s - begin_s) / round_s * (1 + 1e-9))
        if rounds < 1:
            return None
        document = with_schedule(_fixed(self.document, tau, rounds), mu=mu)
        return Simulation(document=document, seed=seed)


def _fixed(document: Document, tau: Tau, rounds: int) -> Document:
    return with_plan(document, tau=list(tau), rounds=rounds)


def cells(net: str, cache: Path, *, quick: bool) -> list[Cell]:
    """All of a net; long deadlines first, so that no processor waits at the end."""
    return [
        Cell(
            net=net,
            lines=lines,
            deadline_s=deadline_s,
            document=net_document(net, lines, cache),
        )
        for deadline_s in (sorted(SEEDS)[:1] if quick else sorted(SEEDS, reverse=True))
        for lines in (list(LINES)[1:2] if quick else LINES)
    ]


def judged(campaign: Campaign, found: Sequence[Cell], *, quick: bool) -> list[dict[str, Any]]:
    """A row for each cell: accuracies over the seeds of the self-planned run and of the best."""
    paces = campaign.results([one for cell in found for _, one in cell.paces()])
    pace = iter(paces)
    runs: list[tuple[Cell, str, float, list[Simulation | None]]] = []
    for cell in found:
        seeds = SEEDS[cell.deadline_s][: 1 if quick else None]
        runs.append((cell, "auto", MU[cell.net], [cell.self_planned(seed) for seed in seeds]))
        for tau in FIXED:
            its = next(pace)
            runs += [
                (cell, str(tau), mu, [cell.fixed(tau, mu, pace=its, seed=s) for s in seeds])
                for mu in MUS
            ]
    campaign.results([one for *_, ones in runs for one in ones if one is not None])
    rows = []
    for cell in found:
        auto, *others = (
            _variant(name, mu, [_known(campaign, one) for one in ones], cell.deadline_s)
            for whose, name, mu, ones in runs
            if whose is cell
        )
        best = max(others, key=lambda variant: variant["accuracy"])
        ahead = auto["accuracy"] - best["accuracy"]
        progress(f"{cell.name}: {auto['accuracy']:.4f}, ahead by {ahead:+.4f} of {best['name']}")
        rows.append(
            {
                "net": cell.net, "links": cell.lines, "deadline_s": cell.deadline_s,
                "ahead": ahead, "auto": auto, "best": best, "fixed": others,
            }
        )  # fmt: skip
    return rows


def _known(campaign: Campaign, one: Simulation | None) -> Result | None:
    return None if one is None else campaign.results([one], quiet=True)[0]


def _variant(
    name: str, mu: float, results: Sequence[Result | None], deadline_s: float
) -> dict[str, Any]:
    accuracies = [0.0 if one is None else accuracy_by(one, deadline_s) for one in results]
    last = results[0]
    return {
        "name": f"{name} at mu {mu:g}",
        "mu": mu,
        "accuracy": statistics.fmean(accuracies),
        "accuracies": accuracies,
        "rounds": 0 if last is None else len(last["rounds"]),
        "seconds": None if last is None else last["rounds"][-1]["seconds"],
        "plans": None if last is None else last.get("plans"),
    }


def gates_of(rows: Sequence[Mapping[str, Any]]) -> list[Gate]:
    """What is asked of a net."""
    ahead = [row["ahead"] for row in rows]
    return [
        Gate(name="behind at worst", value=-min(ahead), at_most=BEHIND_MAX),
        Gate(
            name="ahead in so many of nine",
            value=sum(each > 0 for each in ahead),
            at_least=AHEAD_MIN,
        ),
    ]


def draw(net: str, rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    """How far ahead, against the deadline; a line for each kind of links."""
    series = []
    for lines in dict.fromkeys(row["links"] for row in rows):
        these = [row for row in rows if row["links"] == lines]
        points = sorted((row["deadline_s"], 100 * row["ahead"]) for row in these)
        series.append(Series(name=lines, points=points))
    x = Axis(title="deadline, virtual s", log=True)
    y = Axis(title="accuracy ahead of the best fixed tau, points")
    write_plot(path, f"{net}: runs that plan themselves", series, x=x, y=y)


def main() -> int:
    """Simulate every cell of a net, and judge."""
    parser = paper_arguments(__doc__)
    parser.add_argument("net", choices=MU, help="what is trained")
    chosen = parser.parse_args()
    record = Record("paper.self_planned_against_fixed", chosen)
    found = cells(chosen.net, chosen.cache, quick=chosen.quick)
    rows = judged(Campaign.of(chosen), found, quick=chosen.quick)
    if chosen.out is not None:
        draw(chosen.net, rows, chosen.out.with_suffix(".svg"))
    return record.close({"cells": rows}, gates=gates_of(rows), complete=not chosen.quick)


if __name__ == "__main__":
    sys.exit(main())
