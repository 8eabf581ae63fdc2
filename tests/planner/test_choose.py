"""What is chosen obeys what was asked, gets no worse with more time, and is told whole."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from fedtier.budget import Budget
from fedtier.errors import ConfigError
from fedtier.planner.choose import MU_STEPS, Wish, choose
from fedtier.planner.document import document_of
from fedtier.planner.setting import Setting
from tests.planner.given import PILOT, estimates, setting, wearables

FAST = ((None, 0.02),) * 3
MEGABIT = ((125_000.0, 0.02),) * 3


def chosen(deadline_s=120.0, *, wish=None, **given):
    return choose(setting(**given), replace(wish or Wish(deadline_s=1), deadline_s=deadline_s))


def test_where_messages_are_slow_devices_go_further_between_them():
    fast, slow = chosen(links=FAST).found, chosen().found
    assert math.prod(fast.tau) < math.prod(slow.tau)
    assert fast.rounds > slow.rounds


def test_what_passes_before_the_first_round_is_taken_from_the_deadline():
    whole = chosen(100.0)
    assert chosen(113.0, wish=Wish(deadline_s=1, start_s=13.0)).found == whole.found
    with pytest.raises(ConfigError, match=r"13 s pass before.* is 21\.01 s"):
        chosen(14.0, wish=Wish(deadline_s=1, start_s=13.0))


def test_more_time_is_never_worse():
    losses = [chosen(deadline_s).found.value for deadline_s in (9, 20, 60, 61, 120, 600)]
    assert losses == sorted(losses, reverse=True)


@pytest.mark.parametrize("links", [FAST, MEGABIT])
@pytest.mark.parametrize("kilobytes", [200, 400, 1000])
def test_budgets_are_kept_and_named(links, kilobytes):
    budget = Budget(bytes_per_round=1000 * kilobytes, bytes_per_day=20_000_000)
    made = chosen(links=links, budgets=(budget,) * 3)
    document = document_of(made)
    for carried, row in zip(document["bytes_per_round"], document["links"], strict=True):
        assert carried <= row["needed"]["bytes_per_round"] <= budget.bytes_per_round
        assert carried * document["rounds"] <= row["needed"]["bytes_per_day"]
        assert row["needed"]["bytes_per_day"] <= budget.bytes_per_day
    free = chosen(links=links)
    assert made.found.value >= free.found.value
    assert (document["binds"] == "budget") == (made.found != free.found)


def test_airtime_makes_a_round_longer():
    budget = Budget(rate_bytes_per_s=10_000.0, airtime_share_max=0.01)
    document = document_of(chosen(budgets=(budget,), deadline_s=3600))
    up = document["links"][0]["bytes_up_per_round"]
    assert up / 10_000 <= 0.01 * document["round_s"] * (1 + 1e-9)


def test_a_pinned_step_size_is_kept():
    assert chosen(wish=Wish(deadline_s=1, mu=0.05)).found.mu == 0.05


def test_no_step_size_beyond_what_the_pilot_tried_is_chosen():
    assert chosen().found.mu in [0.3 * share for share in MU_STEPS]
    rising = PILOT[0], replace(PILOT[1], mu=0.6, loss_before=1.24, loss_after=1.3), *PILOT[2:]
    assert chosen(progress=rising).found.mu <= 0.3, "at 0.6 the loss rose"


def test_an_impossible_deadline_names_the_least_that_is_possible():
    with pytest.raises(ConfigError, match=r"takes 8\.01 s, so the smallest deadline") as refused:
        chosen(8.0)
    assert "deadline_s = 8" in str(refused.value)
    assert chosen(8.011).found.tau == (1, 1, 1)


def test_an_impossible_budget_names_the_least_that_is_possible():
    with pytest.raises(ConfigError, match=r"\[\[link\]\] 2 budget_bytes_per_round = 1000") as said:
        chosen(budgets=(Budget(), Budget(bytes_per_round=1000)))
    least = int(re.search(r"Use (\d+) or more", str(said.value))[1])
    budgets = (Budget(), Budget(bytes_per_round=least))
    needed = document_of(chosen(budgets=budgets))["links"][1]["needed"]
    assert needed == {"bytes_per_round": least}
    with pytest.raises(ConfigError, match=rf"= {least - 1} .* Use {least} or more"):
        chosen(budgets=(Budget(), Budget(bytes_per_round=least - 1)))


def test_codecs_are_chosen_only_where_asked_and_never_make_it_worse():
    plain = chosen(links=MEGABIT)
    free = chosen(links=MEGABIT, wish=Wish(deadline_s=1, codecs=True))
    assert [link.q_source for link in plain.setting.links] == ["measured"] * 3
    assert free.found.value <= plain.found.value
    for link, row in zip(free.setting.links, document_of(free)["links"], strict=True):
        same = link.parameters == dict(wearables().links[row["link"] - 1].parameters)
        assert (row["q_source"] == "measured") == same
        assert row["bytes_per_update"] == link.codec.payload_bytes(24_807)


def test_a_guarantee_is_told_apart_from_the_forecast():
    document = document_of(chosen())
    assert not document["guarantee"]["holds"]
    assert document["guarantee"]["B"] is None
    assert document["terms"]["bound"]["drift"] is None
    mu_max = document["guarantee"]["mu_max"]
    assert 0 < mu_max < document["mu"]
    careful = document_of(chosen(wish=Wish(deadline_s=1, mu=1e-5)))
    assert careful["guarantee"]["holds"]
    assert careful["guarantee"]["B"] == pytest.approx(sum(careful["terms"]["bound"].values()))
    assert careful["guarantee"]["cloud"] >= careful["guarantee"]["B"]


def test_the_theorem_holds_up_to_the_step_size_that_is_named():
    made = chosen()
    for mu, holds in ((made.mu_max, True), (made.mu_max * 1.05, False)):
        again = chosen(wish=Wish(deadline_s=1, mu=mu))
        theorem = choose(again.setting, Wish(deadline_s=120, mu=mu)).guarantee
        if again.found.tau == made.found.tau:
            assert bool(theorem.holds) == holds


def test_no_neighbour_is_better():
    made = chosen()
    named = {each.name for each in made.alternatives}
    assert {"the file's tau and mu", "twice tau_1", "twice tau_3", "the least bound"} <= named
    for each in made.alternatives:
        if each.mu <= 0.3:  # the file's own is 0.4, which the pilot has not tried
            assert each.loss >= made.found.value, each.name


def test_the_document_is_whole_and_plain_json():
    document = json.loads(json.dumps(document_of(chosen()), allow_nan=False))
    wanted = (
        "tau", "mu", "links", "guarantee", "forecast", "terms", "round_s", "rounds",
        "bytes_per_round", "alternatives",
    )  # fmt: skip
    assert set(wanted) <= set(document)
    row = document["links"][0]
    assert {"codec", "parameter", "bytes_per_update", "q", "q_source"} <= set(row)
    terms = document["terms"]["forecast"]
    taken = sum(terms["drift"]) + terms["noise"] + sum(terms["quantization"])
    assert terms["steps"] - taken == pytest.approx(terms["reach"])
    assert document["rounds"] * document["round_s"] <= 120


def test_another_federations_estimates_are_refused():
    two = estimates(
        links=FAST, zeta2=(0.1, 0.1), link=estimates().link[:2],
        progress=tuple(replace(each, tau=each.tau[:2]) for each in PILOT),
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"3 links, and the estimates have 2"):
        Setting.of(wearables(), two)
    with pytest.raises(ConfigError, match=r"no step_s of 'watch-1-0' and 15 others"):
        Setting.of(wearables(), estimates(step_s=0.1, **{"sigma2": 0.1}) and nobody())


def nobody():
    return replace(estimates(), step_s={"somebody-else": 0.1})


def test_the_slowest_device_is_waited_for():
    slow = dict.fromkeys(wearables().topology.devices(), 0.01) | {"watch-1-0": 1.0}
    made = choose(Setting.of(wearables(), replace(estimates(), step_s=slow)), Wish(deadline_s=120))
    counts = [np.asarray(float(count)) for count in made.found.tau]
    assert made.found.round_s == float(made.setting.costs.round_s(counts))
    assert made.found.round_s >= math.prod(made.found.tau) * 1.0


def test_a_choice_is_printed_in_a_line():
    made = chosen()
    assert str(made).startswith(f"tau = {list(made.tau)}, mu = 0.3: {made.rounds} rounds of ")
    assert "\n" not in str(made)
