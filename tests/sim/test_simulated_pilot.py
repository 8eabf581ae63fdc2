"""To plan without a pilot of real boards: one is simulated, on the times that the file states."""

from __future__ import annotations

import json

import pytest

import fedtier
from fedtier import cli
from fedtier.config.named import check_named
from fedtier.errors import ConfigError
from tests.small_federation import QSGD

LINKS = """
[simulation]
step_s = 0.02
[[simulation.link]]
rate_bytes_per_s = 50_000
latency_s = 0.1
[[simulation.link]]
rate_bytes_per_s = 400_000
latency_s = 0.5
"""


@pytest.fixture
def file(write_federation):
    return write_federation("planned.toml", tables=LINKS)


def test_a_simulated_pilot_finds_the_times_that_the_file_states(file):
    federation = fedtier.load(file)
    choice = fedtier.plan(federation, deadline_s=600)
    known = choice.setting.estimates
    assert known.step_s == pytest.approx(dict.fromkeys(known.step_s, 0.02))
    for link, rate, latency_s in zip(known.link, (50_000, 400_000), (0.1, 0.5), strict=True):
        # Bytes are planned a little above what is carried: by 2 to 4 % here.
        assert link.rate_bytes_per_s == pytest.approx(rate, rel=0.05)
        assert link.latency_s == pytest.approx(2 * latency_s, abs=0.05), "there and back"
    # On links that take 10 and 50 steps' time the file's (2, 2) sends far too often.
    assert choice.tau[0] > 8
    assert choice.rounds >= 1
    again = fedtier.plan(federation, deadline_s=600)
    assert (again.tau, again.mu, again.rounds) == (choice.tau, choice.mu, choice.rounds)


def test_a_file_whose_tau_exceeds_a_budget_is_planned_within_it(write_federation):
    links = [QSGD[0] | {"budget_bytes_per_round": 250_000}, QSGD[1]]
    file = write_federation("planned.toml", tables=LINKS, links=links)
    with pytest.raises(ConfigError, match="does not carry a round of 2 iterations"):
        fedtier.simulate(fedtier.load(file))
    choice = fedtier.plan(fedtier.load(file), deadline_s=60)
    assert choice.tau[1] == 1
    file.write_text(file.read_text().replace("tau = [2, 2]", f"tau = {list(choice.tau)}"))
    check_named(fedtier.load(file), where=str(file))


def test_the_command_says_that_it_simulates_and_prints_one_document(file, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["plan", str(file), "--deadline", "600", "--json"])
    assert not ended.value.code
    out, err = capsys.readouterr()
    assert "measuring in the simulator" in err
    assert json.loads(out)["kind"] == "fedtier plan 1"


def test_a_plan_that_is_followed_gets_further_than_the_files(file):
    """The forecast orders these two, which are far apart, as the training does."""
    federation = fedtier.load(file)
    choice = fedtier.plan(federation, deadline_s=60)
    text = file.read_text().replace("tau = [2, 2]", f"tau = {list(choice.tau)}")
    text = text.replace("rounds = 2", f"rounds = {choice.rounds}").replace(
        "mu = 0.2", f"mu = {choice.mu}"
    )
    planned = file.with_name("followed.toml")
    planned.write_text(text)
    (own, *_) = choice.alternatives
    own_file = file.with_name("own.toml")
    own_file.write_text(file.read_text().replace("rounds = 2", f"rounds = {own.rounds}"))
    own_s = float(choice.setting.costs.round_s(own.tau))
    results = [fedtier.simulate(fedtier.load(each)) for each in (planned, own_file)]
    # Rounds take as long as planned; the tree comes up before them, and is evaluated after.
    for result, round_s in zip(results, (choice.found.round_s, own_s), strict=True):
        first, *_, last = (row["seconds"] for row in result.rounds)
        assert (last - first) / (len(result.rounds) - 1) == pytest.approx(round_s, rel=0.02)
    assert results[0].report["loss"] < results[1].report["loss"]


def test_a_run_is_kept_where_a_string_says(file, tmp_path):
    out = tmp_path / "kept"
    result = fedtier.simulate(fedtier.load(str(file)), out=str(out))
    assert result.directory == out
    report = json.loads((out / "report.json").read_bytes())
    assert report == result.report
    assert report["clock"] == "virtual"
    assert [tier["peak_rss_bytes_max"] for tier in report["tiers_usage"]] == [None] * 3
    assert [tier["peak_rss_bytes_mean"] for tier in report["tiers_usage"]] == [None] * 3
    assert "virtual seconds" in (out / "report.html").read_text(encoding="utf-8")


def test_the_mean_error_of_a_link_is_that_of_its_quantizer_and_not_of_float32(file, tmp_path):
    out = tmp_path / "out"
    result = fedtier.simulate(fedtier.load(file), rounds=4, pilot=4, out=out)
    measured = json.loads((out / "estimates.json").read_bytes())["link"]
    assert result.report["pilot"] == 4
    for rows in (result.report["links"], result.rounds[3]["links"], result.rounds[2]["links"]):
        for row, link in zip(rows, measured, strict=True):
            assert row["q_mean"] == pytest.approx(link["q"], rel=1e-4)
    assert [row["deltas"] for row in result.report["links"]] == [4 * 3, 4 * 2]
