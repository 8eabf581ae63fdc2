"""The federations of these benchmarks: data, nets, trees, links and their times.

Two tasks: LeNet on Fashion-MNIST, dealt to devices in several ways, and the demo's net on the
motion of wrists. A tree of depth N has N links; the same devices hang below all of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch

from benchmarks.federations import Document
from benchmarks.learning_curves import CLOTHES, tasks
from benchmarks.learning_nets import GruNet, LeNet
from benchmarks.measure import progress
from benchmarks.paper.campaign import FORMAT, PLACE
from benchmarks.paper.deals import HOLDOUT_PERCENT, PEOPLE, deal_exercises, deal_fashion, kept
from cloud.compiler.compile import compile_module
from fedtier.artefact.find import find_artefact
from fedtier.budget import Budget
from fedtier.config.federation import Federation
from fedtier.planner.cost import Costs, exchange
from fedtier.planner.padded import Padded
from fedtier.planner.round_time import Times
from fedtier.quantize.registry import make_codec

BATCH = 16  # of LeNet
LEVELS = (7, 31, 127, 127)
"""Of ``qsgd`` on links 1 to 4: 4, 6, 8 and 8 bits a coordinate."""

FAN_IN: Mapping[int, Mapping[int, tuple[int, ...]]] = {
    64: {1: (64,), 2: (8, 8), 3: (4, 4, 4), 4: (4, 4, 2, 2)},
    16: {1: (16,), 2: (4, 4), 3: (4, 2, 2), 4: (2, 2, 2, 2)},
    8: {3: (2, 2, 2)},
}
"""Children of a node on tier 1, 2, ...: by devices and depth."""

TAU: Mapping[int, tuple[int, ...]] = {1: (16,), 2: (4, 4), 3: (4, 2, 2), 4: (2, 2, 2, 2)}
"""By depth: sixteen local steps of every device in a round of each."""

# The same places in every tree: a home's network, a region's, and a slow one to the cloud.
HOME = {"rate_bytes_per_s": 2e6, "latency_s": 0.01}
REGION = {"rate_bytes_per_s": 5e5, "latency_s": 0.03}
CLOUD = {"rate_bytes_per_s": 1e5, "latency_s": 0.1}
LINES: Mapping[int, tuple[Mapping[str, float], ...]] = {
    1: (CLOUD,), 2: (HOME, CLOUD), 3: (HOME, REGION, CLOUD), 4: (HOME, HOME, REGION, CLOUD),
}  # fmt: skip
STEP_S = 0.02
DATA = f"data-{FORMAT}"
"""Where in the cache data and artefacts are."""


def lenet_document(
    cache: Path,
    *,
    division: str,
    tiers: int,
    devices: int = 64,
    divide_by: int = 255,
    **plan: object,
) -> Document:
    """LeNet on Fashion-MNIST.

    Args:
        cache: Where data and artefact are prepared, if they are not there.
        division: One of ``deals.DIVISIONS``.
        tiers: Depth of the tree, 1 to 4.
        devices: 64, 16 or 8.
        divide_by: What pixels, 0 to 255, are divided by. With 90 their deviation is 1, and the net
            learns from the first steps on; with 255 after some fifty.
        plan: Keys of ``[plan]`` in place of the usual ones.
    """
    data = deal_fashion(cache / DATA, division=division, devices=devices)
    name = f"lenet-{divide_by}"
    kept(cache / DATA / name, partial(_compile_lenet, divide_by=divide_by))
    source = {"source": "npz-directory", "path": f"{PLACE}/{DATA}/{data.name}"}
    return {
        "federation": {"id": f"lenet-{division.replace('.', '')}-{tiers}"},
        "tree": tree_of(FAN_IN[devices][tiers]),
        "model": {"artefact": f"{PLACE}/{DATA}/{name}"},
        "plan": {**_plan(tiers, rounds=30, mu=0.2), **plan},
        "link": links(LEVELS[:tiers]),
        "data": source,
        "evaluation": {**source, "devices": ["test"]},
        "simulation": {"step_s": STEP_S, "link": list(LINES[tiers])},
    }


def wrists_document(
    cache: Path, *, division: str, tiers: int, devices: int = len(PEOPLE), **plan: object
) -> Document:
    """The demo's net, people and links; the devices are sixteen wrists.

    Args:
        cache: Where data are prepared, if they are not there.
        division: ``people``: all exercises of each; ``3-of-7``: three of the seven of each.
        tiers: Depth of the tree, 1 to 4.
        devices: 16, or with ``people`` 8: one wrist of each person.
        plan: Keys of ``[plan]`` in place of the usual ones.
    """
    return {
        "federation": {"id": f"wrists-{division}-{tiers}"},
        "tree": tree_of(FAN_IN[devices][tiers]),
        "model": {"artefact": "package:imu"},
        "plan": {**_plan(tiers, rounds=40, mu=0.4), **plan},
        "link": links(LEVELS[:tiers]),
        **_wrists_of(cache, division, devices),
        "evaluation": {"source": "imu", "subjects": [9, 10]},
        "simulation": {"step_s": STEP_S, "link": list(LINES[tiers])},
    }


def gru_document(cache: Path, *, tiers: int, devices: int, **plan: object) -> Document:
    """A GRU on the same wrists.

    Args:
        cache: Where the artefact is prepared, if it is not there.
        tiers: Depth of the tree, 1 to 4.
        devices: 16, or 8: one wrist of each person.
        plan: Keys of ``[plan]`` in place of the usual ones.
    """
    kept(cache / DATA / "gru", _compile_gru)
    wrists = wrists_document(cache, division="people", tiers=tiers, devices=devices, **plan)
    return {
        **wrists,
        "federation": {"id": f"gru-{tiers}"},
        "model": {"artefact": f"{PLACE}/{DATA}/gru"},
    }


def links(levels: Sequence[int], *, bucket: int = 128) -> list[dict[str, Any]]:
    """A ``[[link]]`` table of ``qsgd`` for each number of levels."""
    return [{"codec": "qsgd", "levels": count, "bucket": bucket} for count in levels]


def with_schedule(document: Document, *, mu: float, kind: str = "cosine") -> Document:
    """The same federation with another step size."""
    schedule = {"kind": kind, "mu": mu}
    if kind == "cosine":
        schedule["floor"] = 0.05
    return {**document, "plan": {**document["plan"], "schedule": schedule}}


def with_fan_in(document: Document, fan_in: Sequence[int]) -> Document:
    """The same devices and links in another tree of the same depth."""
    return {**document, "tree": tree_of(fan_in)}


def tree_of(fan_in: Sequence[int]) -> dict[str, list[str]]:
    """Devices d0, d1, ... in order below gateways g1-0, g1-1, ... of tier 1, and so on.

    Args:
        fan_in: Children of a node on tier 1, 2, ...
    """
    tree: dict[str, list[str]] = {}
    below = [f"d{index}" for index in range(math.prod(fan_in))]
    for tier, children in enumerate(fan_in, start=1):
        count = len(below) // children
        top = tier == len(fan_in)
        here = ["cloud"] if top else [f"g{tier}-{index}" for index in range(count)]
        for index, parent in enumerate(here):
            tree[parent] = below[index * children : (index + 1) * children]
        below = here
    return tree


def costs_of(federation: Federation) -> Costs:
    """Seconds of the federation's plans in the simulator, from its ``[simulation]`` alone."""
    padded = Padded.of(federation.topology)
    d = int(find_artefact(federation.artefact).initial().size)
    exchanges = []
    for number, (link, line) in enumerate(
        zip(federation.links, federation.simulation.link, strict=True), start=1
    ):
        cells = [cell for cell in federation.topology.cells() if cell.link == number]
        exchanges.append(
            exchange(
                payload_bytes=make_codec(link.codec, link.parameters).payload_bytes(d),
                dimension=d,
                members=max(len(cell.children) for cell in cells),
                part_bytes=federation.plan.part_bytes,
                rate_bytes_per_s=line.rate_bytes_per_s,
                latency_s=2 * line.latency_s,
            )
        )
    times = Times(
        parents=padded.parents,
        step_s=[federation.simulation.step_s] * len(padded.devices),
        message_s=[
            [each.seconds if sent else 0.0 for sent in tier]
            for tier, each in zip(padded.sends, exchanges, strict=True)
        ],
    )
    return Costs(times=times, exchanges=exchanges, budgets=[Budget()] * len(exchanges))


def _plan(tiers: int, *, rounds: int, mu: float) -> dict[str, Any]:
    return {
        "rounds": rounds, "tau": list(TAU[tiers]), "quorum": "all",
        "schedule": {"kind": "cosine", "mu": mu, "floor": 0.05},
    }  # fmt: skip


def _wrists_of(cache: Path, division: str, devices: int) -> dict[str, Any]:
    if division == "people":
        # Where devices are half as many, each is one wrist of a person, left and right in turn.
        half = devices < len(PEOPLE)
        chosen = [(s, side) for s, side in PEOPLE if not half or side == s % 2]
        nodes = [
            {"id": f"d{index}", "data": {"subject": subject, "side": side}}
            for index, (subject, side) in enumerate(chosen)
        ]
        return {"data": {"source": "imu"}, "node": nodes}
    assert division == "3-of-7", division
    data = deal_exercises(cache / DATA)
    nodes = [
        {"id": f"d{index}", "data": {"traits": {"side": side}}}
        for index, (_, side) in enumerate(PEOPLE)
    ]
    path = f"{PLACE}/{DATA}/{data.name}"
    source = {"source": "npz-directory", "path": path, "holdout_percent": HOLDOUT_PERCENT}
    return {"data": source, "node": nodes}


def _compile_gru(directory: Path) -> None:
    progress("compiling a GRU")
    torch.manual_seed(1)
    compile_module(GruNet(), out=directory, **tasks()["gru on wrists"].artefact)


def _compile_lenet(directory: Path, *, divide_by: int) -> None:
    progress("compiling LeNet")
    torch.manual_seed(1)
    compile_module(
        LeNet(), out=directory, name="lenet", input_shape=[1, 28, 28], labels=CLOTHES, batch=BATCH,
        preprocessing=[{"name": "scale", "divide_by": divide_by}],
    )  # fmt: skip
