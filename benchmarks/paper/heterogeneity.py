"""How good is a model whose devices have very different data, with quantized links and three tiers?

Wrists with three of the seven exercises each; LeNet on 64 devices with shares of Dirichlet 0.1,
beside the same tree with equal shares, and beside the same tree without quantizers::

    python -m benchmarks.paper.heterogeneity --out benchmarks/results/paper/heterogeneity.json
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.federations import Document, with_identity_links
from benchmarks.measure import Gate, Record
from benchmarks.paper.campaign import Campaign, Result, paper_arguments
from benchmarks.paper.reading import draw, mean_of, summary
from benchmarks.paper.settings import lenet_document, wrists_document

SEEDS = (1, 2, 3)
ROUNDS = {"wrists": 60, "lenet": 200}
TAU = [2, 2, 1]  # of LeNet: shares of Dirichlet 0.1 have little in common, so it is averaged often
WRISTS_MIN = 0.82
BEHIND_IID_MAX, BEHIND_FLOATS_MAX = 0.04, 0.01


def documents(cache: Path, *, quick: bool) -> dict[str, Document]:
    """The settings by name."""
    rounds = {name: 1 if quick else count for name, count in ROUNDS.items()}
    plan: dict[str, Any] = {"tau": TAU, "rounds": rounds["lenet"]}
    skewed = lenet_document(cache, division="dirichlet-0.1", tiers=3, **plan)
    return {
        "wrists, 3 of 7": wrists_document(
            cache, division="3-of-7", tiers=3, rounds=rounds["wrists"]
        ),
        "wrists, all": wrists_document(cache, division="people", tiers=3, rounds=rounds["wrists"]),
        "lenet, dirichlet 0.1": skewed,
        "lenet, dirichlet 0.1, float32": with_identity_links(skewed),
        "lenet, iid": lenet_document(cache, division="iid", tiers=3, **plan),
    }


def gates_of(found: Mapping[str, Sequence[Result]]) -> list[Gate]:
    """What is asked of means over the seeds."""
    skewed = mean_of(found["lenet, dirichlet 0.1"])
    return [
        Gate(
            name="wrists, 3 of 7: held-out accuracy",
            value=mean_of(found["wrists, 3 of 7"]),
            at_least=WRISTS_MIN,
        ),
        Gate(
            name="lenet, dirichlet 0.1: accuracy behind equal shares",
            value=mean_of(found["lenet, iid"]) - skewed,
            at_most=BEHIND_IID_MAX,
        ),
        Gate(
            name="lenet, dirichlet 0.1: accuracy behind float32 links",
            value=mean_of(found["lenet, dirichlet 0.1, float32"]) - skewed,
            at_most=BEHIND_FLOATS_MAX,
        ),
    ]


def main() -> int:
    """Simulate every setting with every seed, and judge."""
    chosen = paper_arguments(__doc__).parse_args()
    record = Record("paper.heterogeneity", chosen)
    settings = documents(chosen.cache, quick=chosen.quick)
    seeds = SEEDS[:1] if chosen.quick else SEEDS
    found = Campaign.of(chosen).of_seeds(settings, seeds=seeds)
    if chosen.out is not None:
        for net in ("wrists", "lenet"):
            curves = {name: runs for name, runs in found.items() if name.startswith(net)}
            path = chosen.out.with_name(f"{chosen.out.stem}-{net}.svg")
            draw(path, f"{net}: skewed shares", curves, across="round")
    results = {name: summary(runs) for name, runs in found.items()}
    return record.close(results, gates=gates_of(found), complete=not chosen.quick)


if __name__ == "__main__":
    sys.exit(main())
