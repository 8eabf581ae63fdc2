"""The report's page is made whatever a run came to."""

from __future__ import annotations

import pytest

from cloud.report_html import report_page

REPORT = {
    "federation": "farm", "run": "00" * 8, "tiers": 1, "devices": 2, "rounds": 2, "seed": 1,
    "rounds_trained": 2, "reasons": [],
    "tau": [4], "seconds": 2.0, "clock": "wall", "accuracy": None, "loss": None,
    "accuracy_held_out_worst": None, "ended": "2026-01-31T12:00:00+00:00",
    "accuracy_devices": {"mean": None, "p10": None, "worst": None},
    "loss_devices": None,
    "versions": {"fedtier": "1.2.3"}, "links": [], "tiers_usage": [],
    "model_digest": "ab" * 32, "rollout": [], "plans": [], "pilot": 0,
}  # fmt: skip


@pytest.mark.parametrize(
    "rounds",
    [
        [],
        [{"round": 0, "accuracy": None, "loss": None}],
        [{"round": n, "accuracy": 0.0, "loss": 0.0} for n in range(2)],
        [{"round": n, "accuracy": 1.0, "loss": 0.5} for n in range(3)],
    ],
    ids=["no round", "never evaluated", "a loss of nothing", "plain"],
)
def test_a_page_is_made(rounds):
    page = report_page(REPORT, rounds)
    assert page.startswith("<!doctype html>")
    assert page.count("<svg") == (2 if len(rounds) > 1 else 0)
    assert "nan" not in page
    assert "class=warning" not in page


def test_a_page_names_the_worst_the_date_and_the_version():
    devices = {"mean": 0.9, "p10": 0.8, "worst": {"node": "cow-1", "accuracy": 0.5}}
    group = {"group": "subject <9>", "accuracy": 0.25}
    page = report_page(REPORT | {"accuracy_devices": devices, "accuracy_held_out_worst": group}, [])
    assert "<b>25.0 %</b><span>worst held-out group: subject &lt;9&gt;</span>" in page
    assert "<b>50.0 %</b><span>worst device: cow-1</span>" in page
    assert "ended 2026-01-31T12:00:00+00:00" in page
    assert "fedtier 1.2.3" in page


def test_a_page_tells_every_decision_of_a_run_that_planned_itself():
    plan = {
        "after_round": 3, "seconds": 12.34, "tau": [8, 2], "mu": 0.05, "round_s": 1.5, "rounds": 40,
        "reason": "rounds took 1 s <so>",
    }  # fmt: skip
    assert "<h2>Plans</h2>" not in report_page(REPORT, [])
    page = report_page(REPORT | {"plans": [plan]}, [])
    assert "<td>3</td><td>12.3</td><td>8,2</td><td>0.05</td><td>1.50</td>" in page
    assert "rounds took 1 s &lt;so&gt;" in page


def test_a_page_tells_what_a_pilot_adds_to_the_bytes():
    assert "pilot" not in report_page(REPORT, [])
    assert "the pilot's float32 rounds and gradients" in report_page(REPORT | {"pilot": 4}, [])


def test_ticks_are_round_numbers():
    rounds = [{"round": n, "accuracy": 0.5, "loss": 0.864} for n in range(53)]
    page = report_page(REPORT, rounds)
    for tick in ("0.0", "0.2", "0.4", "0.6", "0.8", "1.0", "0", "20", "40", "60", "80", "100"):
        assert f">{tick}</text>" in page


@pytest.mark.parametrize(
    ("trained", "said"),
    [
        (0, "Nobody trained in any of the 2 rounds: the model is the initial one."),
        (1, "In 1 of 2 rounds nobody trained."),
        (2, "The cloud was last told of these reasons to abstain:"),
    ],
)
def test_a_page_says_in_how_many_rounds_nobody_trained_and_why(trained, said):
    reasons = [{"node": "barn", "reason": "out of <memory>"}]
    page = report_page(REPORT | {"rounds_trained": trained, "reasons": reasons}, [])
    assert said in page
    assert "barn: out of &lt;memory&gt;" in page


def test_a_page_shows_how_far_models_got_newest_first():
    assert "Roll-out" not in report_page(REPORT, [])
    rollout = [
        {"round": 39, "model": "ab" * 6, "accepted": 16, "refused": 0},
        {"round": 40, "model": "cd" * 6, "accepted": 14, "refused": 2},
    ]
    page = report_page(REPORT | {"rollout": rollout}, [])
    newest = f"<tr><td>40</td><td><code>{'cd' * 6}</code></td><td>14</td><td>2</td></tr>"
    assert newest in page
    assert page.index("<td>40</td>") < page.index("<td>39</td>")


def test_a_page_of_a_simulated_run_speaks_of_virtual_time_and_of_no_processes():
    tier = {
        "tier": 0, "count": 16, "peak_rss_bytes_max": 3 * 2**20, "peak_rss_bytes_mean": 2.0**20,
        "cpu_seconds_max": 36.1, "cpu_seconds_mean": 16.8,
    }  # fmt: skip
    page = report_page(REPORT | {"tiers_usage": [tier]}, [])
    assert "<b>2.0</b><span>seconds</span>" in page
    assert "<h2>Processes</h2>" in page
    assert "<tr><td>0</td><td>16</td><td>3</td><td>16.8</td></tr>" in page
    unmeasured = tier | {"peak_rss_bytes_max": None, "peak_rss_bytes_mean": None}
    page = report_page(REPORT | {"clock": "virtual", "tiers_usage": [unmeasured]}, [])
    assert "<b>2.0</b><span>virtual seconds</span>" in page
    assert "<h2>Virtual time: 2.0 s</h2>" in page
    assert "<th>mean work s</th><th>longest</th>" in page
    assert "<tr><td>0</td><td>16</td><td>16.8</td><td>36.1</td></tr>" in page
    assert "Processes" not in page
