"""Where should the bits go: to upper links or to lower ones, with the same bytes in all?

In a tree in which a link has half the senders of the one below, and every link sends once a round
for each, bits on links 1, 2 and 3 cost as 4 to 2 to 1. All settings of a budget have the same sum::

    python -m benchmarks.paper.codec_per_layer --out benchmarks/results/paper/codec_per_layer.json
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.federations import Document, with_identity_links
from benchmarks.measure import Record
from benchmarks.paper.campaign import Campaign, Result, paper_arguments
from benchmarks.paper.reading import claim, draw, mean_of, summary
from benchmarks.paper.settings import lenet_document, links, with_fan_in, wrists_document

SEEDS = (1, 2, 3)
COSTS = (4, 2, 1)
BITS: Mapping[int, Mapping[str, tuple[int, int, int]]] = {
    28: {
        "equal": (4, 4, 4),
        "more above": (3, 5, 6),
        "much more above": (2, 6, 8),
        "fewer above": (5, 3, 2),
    },
    21: {"equal": (3, 3, 3), "more above": (2, 4, 5)},
}
"""A coordinate's bits on links 1 to 3, by what they cost in all and by name."""
BUCKET = 512  # so large that few bits are felt
TAU = (4, 1, 1)
FAN_IN = {"wrists": (2, 2, 4), "lenet": (2, 2, 16)}
ROUNDS = {"wrists": 100, "lenet": 60}


def levels(bits: Sequence[int]) -> list[int]:
    """Of ``qsgd``, which fill so many bits with a sign."""
    return [2 ** (count - 1) - 1 for count in bits]


def documents(cache: Path, *, quick: bool) -> dict[tuple[str, str], Document]:
    """By net and name of the setting."""
    found: dict[tuple[str, str], Document] = {}
    for net in ("wrists",) if quick else FAN_IN:
        rounds = 1 if quick else ROUNDS[net]
        plan: dict[str, Any] = {"tau": list(TAU), "rounds": rounds}
        if net == "wrists":
            document = wrists_document(cache, division="people", tiers=3, **plan)
        else:
            document = lenet_document(cache, division="dirichlet-1", tiers=3, **plan)
        document = with_fan_in(document, FAN_IN[net])
        found[net, "float32"] = with_identity_links(document)
        for of_cost in BITS.values():
            for kind, bits in of_cost.items():
                changed = {**document, "link": links(levels(bits), bucket=BUCKET)}
                found[net, named(kind, bits)] = changed
    return found


def named(kind: str, bits: Sequence[int]) -> str:
    """What a setting is called, as ``equal: 4-4-4 bits``."""
    return f"{kind}: {'-'.join(map(str, bits))} bits"


def compared(runs: Mapping[str, Sequence[Result]]) -> list[dict[str, Any]]:
    """By how much the loss of equal and of fewer bits above exceeds that of more, at each cost."""
    claims = []
    for cost, of_cost in BITS.items():
        loss = {kind: mean_of(runs[named(kind, bits)], "loss") for kind, bits in of_cost.items()}
        claims += [
            claim(f"cost {cost}: loss, {kind!r} - 'more above'", gain, at_least=0.0)
            for kind in ("equal", "fewer above")
            if kind in loss
            for gain in [loss[kind] - loss["more above"]]
        ]
    return claims


def main() -> int:
    """Simulate every setting with every seed."""
    chosen = paper_arguments(__doc__).parse_args()
    record = Record("paper.codec_per_layer", chosen)
    settings = documents(chosen.cache, quick=chosen.quick)
    by_title = {", ".join(key): document for key, document in settings.items()}
    runs = Campaign.of(chosen).of_seeds(by_title, seeds=SEEDS[:1] if chosen.quick else SEEDS)
    results: dict[str, Any] = {}
    for net in dict.fromkeys(net for net, _ in settings):
        of_net = {name: runs[", ".join((net, name))] for own, name in settings if own == net}
        results[net] = {
            "settings": {name: summary(found) for name, found in of_net.items()},
            "claims": compared(of_net),
        }
        if chosen.out is not None:
            path = chosen.out.with_name(f"{chosen.out.stem}-{net}.svg")
            draw(path, f"{net}: bits on links 1-2-3", of_net, across="round")
    return record.close(results, complete=not chosen.quick)


if __name__ == "__main__":
    sys.exit(main())
