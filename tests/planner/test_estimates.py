"""Estimates are what they were after a way through JSON, and wrong ones are refused by name."""

from __future__ import annotations

import json

import pytest

from fedtier.errors import ConfigError
from fedtier.planner.estimates import estimates_for, estimates_json, parse_estimates
from tests.planner.given import estimates, wearables


def changed(**keys):
    return json.dumps({**json.loads(estimates_json(estimates())), **keys})


def test_they_come_back_as_they_were():
    text = estimates_json(estimates(links=((1e5, 0.0), (None, 2.0), (None, 5.0))))
    assert estimates_json(parse_estimates(text, where="e.json")) == text
    assert json.loads(text)["link"][0]["rate_bytes_per_s"] == 1e5
    assert "rate_bytes_per_s" not in json.loads(text)["link"][1], "absent: without a limit"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "e.json: this is not JSON"),
        ("[]", "not a JSON object"),
        (changed(L=0), "e.json: L = 0 is out of range: 1e-15 to 1e+15"),
        (changed(L=10**400), "... is out of range: 1e-15 to 1e+15"),
        (changed(Lh=1e300), "e.json: Lh = 1e+300 is out of range: 1e-15 to 1e+15"),
        (changed(gap=5e-324), "e.json: gap = 5e-324 is out of range: 1e-15 to 1e+15"),
        (changed(zeta2=[0, 0, 1.7e308]), "zeta2[3] = 1.7e+308 is out of range: 0 to 1e+15"),
        (changed(step_s={"watch-1-0": 1e300}), "= 1e+300 is out of range: 0 to 2592000 s"),
        (
            changed(progress=[{"tau": [1] * 3, "mu": 1.7e308, "loss_before": 2, "loss_after": 1}]),
            "[[progress]] 1 mu = 1.7e+308 is out of range: 1e-15 to 100",
        ),
        (changed(L=float("nan")), "L = nan is out of range"),
        (changed(sigma=1), "sigma is no table or key of this file. Did you mean 'sigma2'"),
        (changed(step_s={"watch-1-0": -1}), "[step_s] watch-1-0 = -1 is out of range"),
        (changed(zeta2=[0.1]), "zeta2 has 1 entries, but there are 3 links"),
        (changed(kind="fedtier estimates 2"), "kind"),
        (
            changed(progress=[{"tau": [1], "mu": 1, "loss_before": 2, "loss_after": 1}]),
            "progress[1] tau has 1 entries, but there are 3 links",
        ),
    ],
)
def test_what_cannot_be_is_refused(text, said):
    with pytest.raises(ConfigError) as refused:
        parse_estimates(text, where="e.json")
    assert said in str(refused.value)


def test_estimates_of_another_model_are_refused(tmp_path):
    (tmp_path / "e.json").write_text(estimates_json(estimates()), encoding="utf-8")
    assert estimates_for(wearables(), tmp_path / "e.json", dimension=24_807) == estimates()
    with pytest.raises(ConfigError, match=r"dimension = 24807, and the model of .* has 24808 numb"):
        estimates_for(wearables(), tmp_path / "e.json", dimension=24_808)
