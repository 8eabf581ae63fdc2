"""A simulated run that plans itself: a function of file and seed, links that change included."""

from __future__ import annotations

import itertools
import json
import math

import pytest

LINKS = """
[simulation]
step_s = 0.1
[[simulation.link]]
rate_bytes_per_s = 200_000
[[simulation.link]]
rate_bytes_per_s = 400_000
latency_s = 0.05
"""
CHANGE = """
[[simulation.change]]
at_s = 40
number = 2
rate_bytes_per_s = 8000
latency_s = 2.0
"""
AUTO = {"tau": "auto", "rounds": 100_000, "plan": "[plan.auto]\ndeadline_s = 120\n"}


def lines_of(out):
    return [json.loads(line) for line in (out / "plans.jsonl").read_text().splitlines()]


def test_a_run_keeps_its_deadline_and_is_the_same_again(write_federation, run, tmp_path):
    file = write_federation("auto.toml", **AUTO, tables=LINKS)
    results = [run(file, seed=3, out=tmp_path / name) for name in ("one", "two")]
    first, second = (each.report for each in results)
    assert first["model_digest"] == second["model_digest"]
    assert lines_of(tmp_path / "one") == lines_of(tmp_path / "two")
    (line,) = lines_of(tmp_path / "one")
    assert line["after_round"] == 4
    assert first["tau"] == line["tau"]
    closed_s = [row["seconds"] for row in results[0].rounds]
    assert len(closed_s) == first["rounds"] == first["rounds_trained"]
    # The last round ended before the deadline, and another one would not have.
    assert closed_s[-1] <= 120 < closed_s[-1] + 1.5 * line["round_s"]


def test_links_that_become_slow_lead_to_another_plan(write_federation, run, tmp_path):
    file = write_federation("slower.toml", **AUTO, tables=LINKS + CHANGE)
    result = run(file, seed=3, out=tmp_path / "run")
    first, second, *_ = lines_of(tmp_path / "run")
    assert first["seconds"] < 40 < second["seconds"]
    assert "an exchange on link 2 took" in second["reason"]
    assert second["tau"][0] * second["tau"][1] > first["tau"][0] * first["tau"][1]
    # Every line is of a boundary between rounds, from which on rounds go by it.
    closed_s = {row["round"] + 1: row["seconds"] for row in result.rounds}
    assert closed_s[second["after_round"]] == second["seconds"]


def test_without_time_for_a_pilot_the_first_rounds_times_are_enough(
    write_federation, run, tmp_path
):
    """Gateways fetch the artefact in that round, which takes them 2 and 4 s; no later one does."""
    ways = LINKS.replace("[[simulation.link]]\n", "[[simulation.link]]\nlatency_s = 1.0\n", 1)
    ways = ways.replace("latency_s = 0.05", "latency_s = 2.0")
    short = {**AUTO, "plan": AUTO["plan"].replace("120", "60")}
    result = run(write_federation("short.toml", **short, tables=ways), seed=3, out=tmp_path / "run")
    (line,) = lines_of(tmp_path / "run")
    assert line["reason"].startswith("by the times of one round")
    closed_s = [row["seconds"] for row in result.rounds]
    assert len(closed_s) == line["rounds"] > 2
    taken_s = [b - a for a, b in itertools.pairwise(closed_s)]
    # The first and largest update is one message of every link: what it took the next takes, too.
    assert taken_s == pytest.approx([line["round_s"]] * len(taken_s), rel=0.01)


def test_earlier_estimates_take_the_place_of_a_pilot(write_federation, run, tmp_path):
    run(write_federation("auto.toml", **AUTO, tables=LINKS), seed=3, out=tmp_path / "run")
    known = {**AUTO, "plan": f"{AUTO['plan']}estimates = '{tmp_path / 'run' / 'estimates.json'}'\n"}
    result = run(write_federation("known.toml", **known, tables=LINKS), seed=3, out=tmp_path / "b")
    (line, *_) = lines_of(tmp_path / "b")
    assert (line["after_round"], line["reason"]) == (0, "by earlier estimates")
    assert result.report["tau"] == line["tau"]
    assert not (tmp_path / "b" / "estimates.json").exists()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_crashes_in_the_pilot_make_nothing_look_quick(write_federation, run, tmp_path, seed):
    """A boot that takes up a round finds answers there: it has not seen how long they took."""
    file = write_federation("auto.toml", **AUTO, tables=LINKS)
    result = run(file, seed=seed, faults="crash=12,until=20", out=tmp_path / "run")
    assert result.befallen.crashes > 3
    for line in lines_of(tmp_path / "run"):
        assert line["round_s"] >= 0.1 * math.prod(line["tau"]) * (1 - 1e-6)  # in microseconds
    closed_s = [row["seconds"] for row in result.rounds]
    assert closed_s[-1] <= 120
    assert result.report["rounds"] == len(closed_s)


@pytest.mark.parametrize("ways_s", [(0.5, 0.1), (0.1, 1.5), (1.0, 1.0), (0.0, 2.0)])
def test_a_run_of_earlier_estimates_ends_by_its_deadline_though_it_must_begin(
    write_federation, run, tmp_path, ways_s
):
    """Artefact and connections take several ways before the first round of a fresh fleet."""
    lines = "".join(f"[[simulation.link]]\nlatency_s = {way}\n" for way in ways_s)
    tables = f"[simulation]\nstep_s = 0.1\n{lines}"
    measured = write_federation("measured.toml", tau=[4, 1], rounds=2, tables=tables)
    run(measured, seed=3, out=tmp_path / "a", pilot=2)
    plan = f"[plan.auto]\ndeadline_s = 40\nestimates = '{tmp_path / 'a' / 'estimates.json'}'\n"
    known = {**AUTO, "plan": plan}
    result = run(write_federation("known.toml", **known, tables=tables), seed=3, out=tmp_path / "b")
    (line,) = lines_of(tmp_path / "b")
    closed_s = [row["seconds"] for row in result.rounds]
    begun_s = closed_s[0] - line["round_s"]
    assert len(closed_s) >= line["rounds"], "the start took no longer than was counted in"
    assert begun_s > 2 * max(ways_s), "there was something to count in"
    assert closed_s[-1] <= 40 < closed_s[-1] + 1.5 * line["round_s"]
