"""A run of real processes that plans itself, and plans again when a link slows down.

How fast the machine is decides which tau is chosen, and not whether one is.
"""

from __future__ import annotations

import json
import re
import signal

import pytest
from counting_proxy import CountingProxy
from run_directory_page import check_keys

from fedtier.errors import EXIT_TERMINATED
from fedtier.planner.estimates import load_estimates

AUTO = {
    "tau": "auto", "rounds": 100_000,
    "plan": "[plan.auto]\ndeadline_s = 3600\npilot_rounds = 2\npilot_share = 0.5\n",
}  # fmt: skip
SLOW_BYTES_PER_S = 20_000.0  # an update of link 2 takes 1 s, whatever it took before; a model 5 s


def lines_of(path) -> list[dict]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_run_plans_itself_and_anew_when_a_link_is_throttled(testbed):
    bed = testbed(**AUTO)
    out = bed.directory / "out"
    with CountingProxy(bed.brokers["cloud"].port) as link:
        file = bed.file("west")
        text, changed = re.subn(bed.urls["cloud"], link.url, file.read_text())
        assert changed == 1
        file.write_text(text)
        bed.start_fleet()
        cloud = bed.start_cloud("--out", out)
        plans = out / "plans.jsonl"
        bed.wait_until(lambda: lines_of(plans), "the run is planned")
        (first,) = lines_of(plans)[:1]
        assert first["reason"] == "after a pilot of 2 rounds"
        assert {"tau", "mu", "links", "rounds", "round_s", "forecast_loss"} <= first.keys()
        assert load_estimates(out / "estimates.json").sigma2 > 0
        rounds = out / "metrics.jsonl"
        bed.wait_until(lambda: len(lines_of(rounds)) > 4, "rounds go by the plan")
        link.slow_down(SLOW_BYTES_PER_S)

        def is_found_out() -> bool:
            """By an update of 1 s and a model of 5; a busy machine's hiccups are shorter."""
            return any(
                "an exchange on link 2 took" in line["reason"] and line["round_s"] > 3
                for line in lines_of(plans)
            )

        bed.wait_until(is_found_out, "the run is planned anew")
        cloud.signal(signal.SIGTERM)
        assert cloud.exit_code() == EXIT_TERMINATED


def test_a_run_that_plans_itself_ends_by_its_deadline_and_reports_what_it_did(testbed):
    wanted = {**AUTO, "plan": AUTO["plan"].replace("3600", "12"), "rounds": 40}
    bed = testbed(**wanted)
    bed.start_fleet()
    out = bed.directory / "out"
    bed.start_cloud("--out", out)
    report = bed.finished(out)
    (first, *_) = lines_of(out / "plans.jsonl")
    last = lines_of(out / "plans.jsonl")[-1]
    check_keys("plans.jsonl", first, last)
    assert report["tau"] == last["tau"]
    count = len(lines_of(out / "metrics.jsonl"))
    assert report["rounds"] == report["rounds_trained"] == count <= 40
    assert 1 <= first["after_round"] <= 2  # a slow machine has no time for the second
    assert first["after_round"] <= count


@pytest.mark.parametrize("victim", ["cloud", "west"])
def test_who_is_restarted_goes_on_by_the_plan(testbed, victim):
    bed = testbed(**AUTO)
    bed.start_fleet()
    out = bed.directory / "out"
    cloud = bed.start_cloud("--out", out)
    rounds = out / "metrics.jsonl"
    bed.wait_until(lambda: len(lines_of(rounds)) > 3, "rounds go by the plan")
    count = len(lines_of(rounds))
    bed.restart(victim, *(("--out", out) if victim == "cloud" else ()))
    bed.wait_until(lambda: len(lines_of(rounds)) > count + 1, "rounds go on")
    first, *others = lines_of(out / "plans.jsonl")
    assert first["reason"] == "after a pilot of 2 rounds"
    assert not any(line["reason"].startswith("after a pilot") for line in others)
    cloud = bed.nodes["cloud"]
    cloud.signal(signal.SIGTERM)
    assert cloud.exit_code() == EXIT_TERMINATED
