"""What do more tiers do to accuracy, over rounds and over time, however the data are divided?

The same devices below 1, 2, 3 and 4 links, with as many local steps of each device in a round::

    python -m benchmarks.paper.accuracy_by_depth \
        --out benchmarks/results/paper/accuracy_by_depth.json
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.federations import Document
from benchmarks.measure import Record
from benchmarks.paper.campaign import Campaign, Result, paper_arguments
from benchmarks.paper.deals import DIVISIONS
from benchmarks.paper.reading import accuracy_at, begun_s, claim, draw, mean_of, summary
from benchmarks.paper.settings import lenet_document, wrists_document

DEPTHS = (1, 2, 3, 4)
SEEDS = (1, 2)
ROUNDS = {"lenet": 25, "wrists": 40}
WRISTS = ("people", "3-of-7")


def documents(cache: Path, *, quick: bool) -> dict[tuple[str, str, int], Document]:
    """By net, division and depth."""
    depths = DEPTHS[1:2] if quick else DEPTHS
    rounds = {net: 2 if quick else count for net, count in ROUNDS.items()}
    found: dict[tuple[str, str, int], Document] = {}
    for tiers in depths:
        for division in WRISTS[:1] if quick else WRISTS:
            document = wrists_document(
                cache, division=division, tiers=tiers, rounds=rounds["wrists"]
            )
            found["wrists", division, tiers] = document
        for division in () if quick else DIVISIONS:
            document = lenet_document(cache, division=division, tiers=tiers, rounds=rounds["lenet"])
            found["lenet", division, tiers] = document
    return found


def compared(by_depth: Mapping[int, Sequence[Result]]) -> dict[str, Any]:
    """One net and division: every depth, and all of them when the first of them ends."""
    ends_s = min(runs[0]["rounds"][-1]["seconds"] - begun_s(runs[0]) for runs in by_depth.values())
    rows = {}
    for tiers, runs in by_depth.items():
        at_end = [accuracy_at(run, ends_s) for run in runs]
        rows[str(tiers)] = {**summary(runs), "accuracy_by_then": sum(at_end) / len(at_end)}
    return {"then_s": ends_s, "depths": rows}


def main() -> int:
    """Simulate every tree with every division and seed."""
    chosen = paper_arguments(__doc__).parse_args()
    record = Record("paper.accuracy_by_depth", chosen)
    settings = documents(chosen.cache, quick=chosen.quick)
    named = {str(key): document for key, document in settings.items()}
    runs = Campaign.of(chosen).of_seeds(named, seeds=SEEDS[:1] if chosen.quick else SEEDS)
    by_task: dict[tuple[str, str], dict[int, list[Result]]] = {}
    for net, division, tiers in settings:
        by_task.setdefault((net, division), {})[tiers] = runs[str((net, division, tiers))]
    results: dict[str, Any] = {}
    claims = []
    for (net, division), by_depth in by_task.items():
        name = f"{net}, {division}"
        results[name] = compared(by_depth)
        accuracies = {tiers: mean_of(found) for tiers, found in by_depth.items()}
        deepest, flat = max(accuracies), min(accuracies)
        gain = accuracies[deepest] - accuracies[flat]
        claims.append(claim(f"{name}: {deepest} links ahead of {flat}", gain, at_least=0.0))
        if chosen.out is not None:
            curves = {f"N = {tiers}": found for tiers, found in by_depth.items()}
            for across in ("round", "seconds"):
                file = f"{chosen.out.stem}-{net}-{division}-{across}.svg"
                draw(chosen.out.with_name(file), name, curves, across=across)
    results["claims"] = claims
    return record.close(results, complete=not chosen.quick)


if __name__ == "__main__":
    sys.exit(main())
