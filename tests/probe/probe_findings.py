"""Findings of a made-up board."""

from __future__ import annotations

from dataclasses import replace

from edge_agent.probe.findings import (
    Board,
    Disk,
    Energy,
    Findings,
    Inference,
    Link,
    Missing,
    NoSteps,
    Steps,
    Sustained,
    Temperature,
)

BOARD = Board(
    model="Pear Computer 3 Model B", architecture="aarch64", cores=4, memory_mib=905,
    system="Pear OS", virtual=False,
)  # fmt: skip
ROW = Steps(
    lowering="gemm", threads=1, median_ms=12.5, fastest_ms=12.0, slowest_ms=19.0, steps=80,
    peak_mib=70.2,
)  # fmt: skip
NOT_OFFERED = Missing("not offered: no such file")


def findings(**given) -> Findings:
    found = {
        "date": "2026-11-26", "artefact": "net", "artefact_digest": "ab" * 32, "batch": 32,
        "seconds": 60.0, "versions": {"numpy": "2"}, "board": BOARD, "agent_mib": 31.4,
        "disk": Disk(
            bytes_per_s=9.5 * 2**20, block_bytes=2**20, block_median_ms=104.0,
            block_slowest_ms=310.0, written_bytes=2**25,
        ),
        "link": Link(
            round_trip_median_ms=4.21, round_trip_slowest_ms=11.0, round_trips=50,
            bytes_per_s=2.5 * 2**20, part_bytes=65536, parts=120,
        ),
        "inference": Inference(median_ms=1.234, slowest_ms=2.0, runs=200),
        "steps": [
            ROW,
            replace(ROW, lowering="taps", median_ms=9.75),
            replace(ROW, threads=4, median_ms=5.5, peak_mib=75.9),
            NoSteps(lowering="taps", threads=4, why="memory: there was none"),
        ],
        "sustained": Sustained(
            seconds=31.0, steps=2480, first_ms=12.4, last_ms=14.9,
            temperature_c=Temperature(before=41.5, highest=63.0, end=62.5, seconds=58.0),
            energy=Energy(source="battery", joules=93.0, watts=3.0, joules_per_step=0.0375),
        ),
    }  # fmt: skip
    return Findings(**{**found, **given})
