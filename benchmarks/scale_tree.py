"""Federations of four tiers with as many devices as wanted, on the demo's recordings and net."""

from __future__ import annotations

from pathlib import Path
from typing import Any

DEVICES_PER_GATEWAY = 10
_FAN_OUT = 5  # gateways beneath a gateway of a higher tier
TAU = (2, 2, 2, 1)


def scale_document(devices: int, *, artefact: Path, rounds: int) -> dict[str, Any]:
    """A federation file's content.

    Ten devices hang below a gateway of tier 1, five of these below one of tier 2, and so on. Each
    device has the recordings of one wrist of the five people that train, which many share.

    Args:
        devices: A multiple of ten.
        artefact: The compiled model's directory.
        rounds: Of the run.
    """
    first = devices // DEVICES_PER_GATEWAY
    second = max(1, first // _FAN_OUT)
    third = max(1, second // _FAN_OUT)
    tree = {"cloud": [f"t3-{{1..{third}}}"]}
    tree |= _dealt("t3", third, "t2", second) | _dealt("t2", second, "t1", first)
    tree |= {f"t1-{g}": [f"d-{g}-{{1..5}}-{{0,1}}"] for g in range(1, first + 1)}
    return {
        "federation": {"id": "scale"},
        "tree": tree,
        "model": {"artefact": str(artefact)},
        "plan": {"rounds": rounds, "tau": list(TAU), "schedule": {"mu": 0.3}},
        "link": [
            {"codec": "qsgd", "levels": 7, "bucket": 128},
            {"codec": "qsgd", "levels": 15, "bucket": 256},
            {"codec": "qsgd", "levels": 31, "bucket": 512},
            {"codec": "qsgd", "levels": 127, "bucket": 512},
        ],
        "data": {"source": "imu"},
        "node": [
            {"id": f"d-{{1..{first}}}-{{1..5}}-{{0,1}}", "data": {"subject": "$2", "side": "$3"}}
        ],
        "evaluation": {"source": "imu", "subjects": [8, 9, 10]},
        "simulation": {
            "step_s": 0.02,
            "tail": 3.0,
            "link": [
                {"rate_bytes_per_s": 125_000, "latency_s": 0.02, "jitter_s": 0.01},
                {"rate_bytes_per_s": 1_250_000, "latency_s": 0.01},
                {"rate_bytes_per_s": 1_250_000, "latency_s": 0.02},
                {"rate_bytes_per_s": 1_250_000, "latency_s": 0.05},
            ],
        },
    }


def _dealt(above: str, parents: int, below: str, children: int) -> dict[str, list[str]]:
    """Children dealt out to parents in order."""
    ends = [parent * children // parents for parent in range(parents + 1)]
    return {
        f"{above}-{parent}": [f"{below}-{{{ends[parent - 1] + 1}..{ends[parent]}}}"]
        for parent in range(1, parents + 1)
    }
