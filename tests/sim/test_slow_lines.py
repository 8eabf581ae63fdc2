"""On a slow line everything takes longer, and nothing goes over it twice."""

from __future__ import annotations

import json

import pytest

from tests.small_federation import IDENTITY, QSGD

LINE = """
[simulation]
step_s = 0.02
[[simulation.link]]
rate_bytes_per_s = {rate}
latency_s = 0.1
[[simulation.link]]
"""
ROUNDS = 4
PILOT = 3  # two of its rounds have gradients, of twice 4 d bytes each


def link_1(run, write_federation, directory, *, rate, links, pilot):
    file = write_federation(
        f"{rate}.toml", tables=LINE.format(rate=rate), links=links, rounds=ROUNDS, tau=(2, 1)
    )
    out = directory / str(rate)
    result = run(file, seed=1, out=out, pilot=pilot)
    return result, json.loads((out / "report.json").read_bytes())["links"][0]


@pytest.mark.covers("T-16")
@pytest.mark.parametrize("rate", [2_000, 5_000])
@pytest.mark.parametrize("links", [QSGD, (IDENTITY, IDENTITY)], ids=["qsgd", "identity"])
@pytest.mark.parametrize("pilot", [None, PILOT], ids=["plain", "pilot"])
def test_a_slow_line_carries_no_more_than_a_fast_one(
    run, write_federation, tmp_path, rate, links, pilot
):
    fast, there = link_1(run, write_federation, tmp_path, rate=10**6, links=links, pilot=pilot)
    slow, here = link_1(run, write_federation, tmp_path, rate=rate, links=links, pilot=pilot)
    assert slow.model_digest == fast.model_digest
    assert (here["duplicates"], here["late"]) == (0, 0)
    for way in ("bytes_up", "bytes_down"):
        # Presence, a beacon and a question every 30 s come on top: some 3 kB in 10 minutes.
        assert here[way] <= 1.02 * there[way] + 3 * 5_000
    # Three devices; what comes down and what goes up do so one after the other. A round has small
    # messages besides, each of which waits for the line's latency.
    carried_s = (here["bytes_up"] + here["bytes_down"]) / 3 / rate
    assert slow.seconds <= 1.05 * carried_s + 5 * ROUNDS
