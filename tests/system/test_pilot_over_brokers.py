"""A pilot of real processes leaves estimates, the same whoever is restarted in it."""

from __future__ import annotations

import json
import signal
from dataclasses import replace

import pytest
from run_directory_page import check_keys, listed
from testbed import Program

from fedtier.artefact.find import find_artefact
from fedtier.planner.estimates import load_estimates

PILOT = {"rounds": 4, "tau": (4, 2)}
OPTIONS = ("--pilot", "3")


def found(bed, out):
    """The estimates but for the times, which no two runs share; and the model."""
    report = bed.finished(out)
    estimates = load_estimates(out / "estimates.json")
    links = tuple(replace(each, latency_s=0, rate_bytes_per_s=None) for each in estimates.link)
    return replace(estimates, step_s={}, link=links), report["model_digest"]


def test_a_pilot_measures_everything_and_no_restart_changes_it(testbed):
    calm = testbed("calm", **PILOT)
    calm.start_fleet()
    out = calm.directory / "out"
    calm.start_cloud("--out", out, *OPTIONS)
    expected = found(calm, out)
    estimates, _ = expected
    measured = load_estimates(out / "estimates.json")
    assert set(measured.step_s) == {"w-0", "w-1", "e-0"}
    assert all(seconds > 0 for seconds in measured.step_s.values())
    assert all(link.latency_s > 0 or link.rate_bytes_per_s for link in measured.link)
    assert estimates.sigma2 > 0
    assert all(zeta2 > 0 for zeta2 in estimates.zeta2)
    # What holds of any loss: the mean gradient changes no more than the gradients in the mean.
    assert 0 < estimates.Lh <= estimates.Lv
    assert [each.tau for each in estimates.progress] == [(4, 1)] * 2
    losses = [each.loss_before for each in estimates.progress] + [estimates.progress[-1].loss_after]
    least = find_artefact("package:imu").manifest.least_loss
    assert estimates.gap == pytest.approx(losses[0] - least, rel=1e-12)
    assert len(set(losses)) == 3

    shaken = testbed("shaken", **PILOT)
    shaken.start_fleet()
    out = shaken.directory / "out"
    west, first = shaken.nodes["west"], shaken.nodes["w-0"]
    shaken.wait_until(lambda: west.log.count("member ready") == 2, "west's cell is ready")
    shaken.start_cloud("--out", out, *OPTIONS)
    shaken.wait_until(lambda: "gradient measured" in first.log, "w-0 has measured")
    shaken.nodes["w-1"].signal(signal.SIGSTOP)  # so that the pilot does not go on
    for victim in ("w-0", "west", "cloud"):
        shaken.restart(victim, *(("--out", out, *OPTIONS) if victim == "cloud" else ()))
    shaken.nodes["w-1"].signal(signal.SIGCONT)
    assert found(shaken, out) == expected


def test_a_run_goes_on_under_the_pilot_that_it_began_with(testbed):
    bed = testbed(rounds=500, tau=(8, 2))
    bed.start_fleet()
    out = bed.directory / "out"
    cloud = bed.start_cloud("--out", out, "--pilot", "2")
    bed.wait_until(lambda: len(bed.rows(out)) >= 1, "a round has closed")
    cloud.signal(signal.SIGTERM)
    cloud.exit_code()
    again = bed.start_cloud("--out", out)
    assert again.exit_code() == 78
    assert "pilot = 2 (now absent)" in again.log
    longer = bed.start_cloud("--out", bed.directory / "new", "--pilot", "501", "--abandon")
    assert longer.exit_code() == 78
    assert "a pilot of 501 rounds does not fit into the 500 of the run" in longer.log


def test_the_demo_measures_too(write_federation, tmp_path, mosquitto_binary):
    """As a user asks for it; what is written is what a planner reads."""
    out = tmp_path / "out"
    demo = Program.fedtier(
        "demo", "--federation", write_federation(**PILOT), "--out", out, "--broker", "mosquitto",
        "--pilot", "2", log_path=tmp_path / "demo.log",
    )  # fmt: skip
    assert demo.exit_code() == 0, demo.log
    assert {path.name for path in out.iterdir()} == listed("Files") - {
        "reference.json",
        "plans.jsonl",
    }
    document = json.loads((out / "estimates.json").read_bytes())
    for link in document["link"]:  # on this machine either may be absent
        link |= {"rate_bytes_per_s": 1.0, "q": 0.1}
    check_keys("estimates.json", document)
    estimates = load_estimates(out / "estimates.json")
    assert [each.tau for each in estimates.progress] == [(4, 1)], "of its second round"
    assert json.loads((out / "report.json").read_bytes())["rounds"] == PILOT["rounds"]


def test_a_run_with_a_pilot_is_not_compared_with_more_steps_than_its_own(
    write_federation, tmp_path, mosquitto_binary
):
    demo = Program.fedtier(
        "demo", "--federation", write_federation(**PILOT), "--out", tmp_path / "out",
        "--pilot", "2", "--reference", log_path=tmp_path / "demo.log",
    )  # fmt: skip
    assert demo.exit_code() == 78
    assert "a pilot's rounds have fewer. Leave one of the two out" in demo.log
