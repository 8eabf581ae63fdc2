"""A sweep does every run once, says what each came to, and goes on where it was stopped."""

from __future__ import annotations

import json
import os
import re
import signal
import tomllib
import xml.etree.ElementTree as ET

import pytest
from run_directory_page import check_keys
from testbed import DEADLINE_S, REPOSITORY, Program, all_gone, descendants, wait_until

FIRST, SECOND = "", "tau=4,1 levels=,31 mu=0.1"
LOUD = "mu=100 range_bits=0 kind=step milestones=[0.5]"


@pytest.fixture
def sweep(tmp_path):
    """Run a sweep to its end: its exit code, and what it said."""
    programs = []

    def run(file, *options, code=0):
        log_path = tmp_path / f"sweep-{len(programs)}.log"
        programs.append(Program.fedtier("sweep", file, *options, log_path=log_path))
        assert programs[-1].exit_code(deadline_s=2 * DEADLINE_S) == code, programs[-1].log
        return programs[-1].log

    yield run
    for program in programs:
        program.kill()


def plots(page):
    return [ET.fromstring(text) for text in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]


def test_two_variants_with_two_seeds_are_done_and_a_second_call_does_nothing_again(
    sweep, write_federation, digest_alone, tmp_path
):
    file, out = write_federation(), tmp_path / "out"
    options = ("--set", FIRST, "--set", SECOND, "--seeds", 2, "--out", out)
    said = sweep(file, *options)
    document = json.loads((out / "sweep.json").read_bytes())
    assert document["clock"] == "virtual"
    by_set = {variant["set"]: variant for variant in document["variants"]}
    assert set(by_set) == {FIRST, SECOND}

    # Each run is the run that the federation with these values is.
    links = [{"codec": "qsgd", "levels": 7, "bucket": 128}, {"codec": "qsgd", "levels": 31}]
    for seed in (1, 2):
        plain = by_set[FIRST]["runs"][seed - 1]
        assert plain["seed"] == seed
        assert plain["model_digest"] == digest_alone(seed=seed)
    other = tomllib.loads((out / by_set[SECOND]["directory"] / "federation.toml").read_text())
    assert other["plan"]["tau"] == [4, 1]
    assert other["link"] == links

    for variant in document["variants"]:
        runs = [run["loss"] for run in variant["runs"]]
        assert variant["min"]["loss"] == min(runs) < variant["mean"]["loss"] < max(runs)
        assert variant["max"]["loss"] == max(runs)
        assert len(variant["mean"]["bytes_up"]) == 2
        assert variant["errors"] == []
    means = [variant["mean"]["accuracy"] for variant in document["variants"]]
    assert means == sorted(means, reverse=True)

    assert [len(list(p.iter("{http://www.w3.org/2000/svg}polyline"))) for p in plots(
        (out / "sweep.html").read_text(encoding="utf-8"))] == [2, 2, 2, 2]  # fmt: skip
    assert said.count("took") == 4

    reports = sorted(out.rglob("report.json"))
    before = {path: path.stat().st_mtime_ns for path in reports}
    again = sweep(file, *options)
    assert again.count("done before") == 4
    assert "took" not in again
    assert {path: path.stat().st_mtime_ns for path in reports} == before
    assert json.loads((out / "sweep.json").read_bytes()) == document


def test_what_a_stopped_sweep_left_is_done_anew_and_other_runs_are_not_mixed_in(
    sweep, write_federation, tmp_path
):
    file, out = write_federation(), tmp_path / "out"
    sweep(file, "--out", out)
    run = out / "as-written" / "seed-1"
    digest = json.loads((run / "report.json").read_bytes())["model_digest"]
    (run / "report.json").unlink()  # as if it had been stopped before its end
    sweep(file, "--out", out)
    assert json.loads((run / "report.json").read_bytes())["model_digest"] == digest

    (run / "report.json").write_text('{"federation": "far', encoding="utf-8")
    said = sweep(file, "--out", out)
    assert f"{run}/report.json is no report of a run, so that run is done again" in said
    assert json.loads((run / "report.json").read_bytes())["model_digest"] == digest

    said = sweep(file, "--rounds", 1, "--out", out, code=78)
    assert "holds a run of another federation file than this sweep's" in said


def test_a_stopped_sweep_stops_its_run_and_keeps_what_is_finished(write_federation, tmp_path):
    file, out = write_federation(rounds=500), tmp_path / "out"
    program = Program.fedtier(
        "sweep", file, "--set", "rounds=1", "--set", "", "--out", out, log_path=tmp_path / "log"
    )
    metrics = out / "as-written" / "seed-1" / "metrics.jsonl"
    try:
        wait_until(lambda: metrics.exists() or not program.running, "the second run is on its way")
        below = descendants(program.pid)
        assert below
        program.signal(signal.SIGINT)
        assert program.exit_code() == 130
    finally:
        program.kill()
    assert all_gone(below)
    (variant,) = json.loads((out / "sweep.json").read_bytes())["variants"]
    assert variant["set"] == "rounds=1"
    assert "1 of 2 runs done" in program.log


def test_a_run_that_fails_does_not_stop_the_others(sweep, write_federation, tmp_path):
    # Such steps move coordinates by more than the 1 that range_bits = 0 allows: all abstain.
    file, out = write_federation(), tmp_path / "out"
    said = sweep(file, "--set", LOUD, "--set", "", "--out", out, code=65)
    assert "1 run failed:" in said
    assert f"{LOUD}, seed 1: nobody trained in any of its rounds" in said
    document = json.loads((out / "sweep.json").read_bytes())
    check_keys("sweep.json", document, page=REPOSITORY / "docs" / "sweeps.md")
    best, worst = document["variants"]
    assert best["errors"] == []
    assert [error["seed"] for error in worst["errors"]] == [1]


@pytest.mark.mosquitto
def test_a_fleet_that_stands_does_all_runs(testbed, sweep, digest_alone, tmp_path):
    bed = testbed()
    bed.start_fleet()
    out, cloud = tmp_path / "out", bed.file("cloud")
    options = ("--set", "", "--set", "tau=1,2", "--seeds", 2, "--out", out, "--config", cloud)
    sweep(bed.federation_file, *options)
    document = json.loads((out / "sweep.json").read_bytes())
    assert document["clock"] == "wall"
    found = {
        (variant["set"], run["seed"]): run["model_digest"]
        for variant in document["variants"]
        for run in variant["runs"]
    }
    assert found == {
        (text, seed): digest_alone(seed=seed, **({"tau": (1, 2)} if text else {}))
        for text in ("", "tau=1,2")
        for seed in (1, 2)
    }
    said = sweep(bed.federation_file, *options[:-2], code=78)  # simulated into the same directory
    assert "holds a run whose seconds are wall" in said


@pytest.mark.mosquitto
def test_a_cloud_that_is_killed_costs_its_own_run_alone(testbed, digest_alone, tmp_path):
    bed = testbed()
    bed.start_fleet()
    out = tmp_path / "out"
    program = Program.fedtier(
        "sweep", bed.federation_file, "--set", "rounds=500", "--set", "", "--out", out,
        "--config", bed.file("cloud"), log_path=tmp_path / "log",
    )  # fmt: skip
    metrics = out / "rounds=500" / "seed-1" / "metrics.jsonl"

    def closed() -> int:
        return metrics.read_bytes().count(b"\n") if metrics.exists() else 0

    try:
        # Two rounds are on the cloud's disk, as a run that is not finished and not to be lost.
        bed.wait_until(lambda: closed() > 2 or not program.running, "rounds have closed")
        for pid in descendants(program.pid):
            os.kill(pid, signal.SIGKILL)
        assert program.exit_code() == 70, program.log
    finally:
        program.kill()
    assert "rounds=500, seed 1: was killed by SIGKILL; its log is" in program.log
    (found,) = (v for v in json.loads((out / "sweep.json").read_bytes())["variants"] if v["runs"])
    assert [run["model_digest"] for run in found["runs"]] == [digest_alone(seed=1)]
