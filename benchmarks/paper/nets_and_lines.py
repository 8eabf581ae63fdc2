"""Three nets, each on a tree of eight devices, and three kinds of links below which they learn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.federations import Document
from benchmarks.paper.settings import (
    gru_document,
    lenet_document,
    with_schedule,
    wrists_document,
)  # fmt: skip

DEVICES = 8
STEP_S = 0.25
LINES: Mapping[str, Sequence[Mapping[str, float]]] = {
    "loopback": [{}, {}, {}],
    "1 Mbit/s": [{"rate_bytes_per_s": 125_000, "latency_s": 0.02}] * 3,
    # An update and the next model take two of these.
    "1, 2, 5 s": [{"latency_s": 0.5}, {"latency_s": 1.0}, {"latency_s": 2.5}],
}
MU = {"wrists": 0.3, "lenet": 0.1, "gru": 0.3}
"""Of each net its usual one, the most that a planner may choose."""


def net_document(net: str, lines: str, cache: Path) -> Document:
    """The federation of a net.

    Args:
        net: One of ``MU``.
        lines: One of ``LINES``.
        cache: Where data and artefact are prepared, if they are not there.
    """
    match net:
        case "wrists":
            document = wrists_document(cache, division="people", tiers=3, devices=DEVICES)
        case "lenet":
            document = lenet_document(
                cache, division="dirichlet-1", tiers=3, devices=DEVICES, divide_by=90
            )
        case _:
            document = gru_document(cache, tiers=3, devices=DEVICES)
    return {
        **with_schedule(document, mu=MU[net]),
        "simulation": {"step_s": STEP_S, "link": list(LINES[lines])},
    }
