"""The report's page is made whatever a run came to."""

from __future__ import annotations

import pytest

from cloud.report_html import report_page

REPORT = {
    "federation": "farm", "run": "00" * 8, "tiers": 1, "devices": 2, "rounds": 2, "seed": 1,
    "tau": [4], "seconds": 2.0, "accuracy": None, "loss": None,
    "accuracy_devices": {"mean": None, "p10": None}, "links": [], "tiers_usage": [],
    "model_digest": "ab" * 32,
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
