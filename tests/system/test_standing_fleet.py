"""Agents and gateways stay; the cloud comes once for every run, with a plan of its own."""

from __future__ import annotations

from small_federation import IDENTITY
from testbed import DIMENSION

PLANS = (
    {"tau": (2, 2), "rounds": 2, "seed": 7},
    {"tau": (4, 1), "rounds": 2, "seed": 8, "links": [{"codec": "qsgd", "levels": 31}] * 2},
    {"tau": (1, 3), "rounds": 1, "seed": 7, "links": [IDENTITY, {"codec": "qsgd", "levels": 7}]},
)


def test_a_standing_fleet_trains_run_after_run_each_as_if_it_were_the_only_one(
    testbed, write_federation, digest_alone
):
    bed = testbed()
    bed.start_fleet()
    pids = {node: program.pid for node, program in bed.nodes.items()}
    reports = []
    for number, plan in enumerate(PLANS):
        file = write_federation(f"plans/{number}.toml", **plan)
        reports.append(bed.run("--federation", file))
    assert [r["model_digest"] for r in reports] == [digest_alone(**plan) for plan in PLANS]
    assert [r["tau"] for r in reports] == [list(plan["tau"]) for plan in PLANS]
    assert len({r["run"] for r in reports}) == len(PLANS)
    standing = {node: program.pid for node, program in bed.nodes.items() if node != "cloud"}
    assert standing == pids
    # Each run counts its own traffic. The third: three devices, three updates of 4 d bytes each,
    # and an evaluation; headers and control come to less than a tenth of that.
    assert reports[2]["links"][0]["updates"] == 3 * 3 + 3
    assert 9 * 4 * DIMENSION < reports[2]["links"][0]["bytes_up"] < 1.1 * 9 * 4 * DIMENSION


def test_seed_and_rounds_of_the_command_line_stand_above_those_of_the_file(testbed, digest_alone):
    bed = testbed()
    bed.start_fleet()
    first, second, third = bed.run(), bed.run("--seed", 11, "--rounds", 1), bed.run()
    assert first["model_digest"] == third["model_digest"] == digest_alone()
    assert second["model_digest"] != first["model_digest"]
    assert second["seed"] == 11
    assert second["rounds"] == 1
