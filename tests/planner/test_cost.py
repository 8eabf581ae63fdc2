"""Bytes and seconds of plans: beside what was measured, on irregular trees, and within budgets."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier.budget import Budget
from fedtier.config.federation import load_federation
from fedtier.limits import DAY_S
from fedtier.planner.cost import Costs, Exchange, exchange
from fedtier.planner.padded import Padded
from fedtier.planner.round_time import Times
from fedtier.wire.costs import Needs, Prices
from tests.planner.given import FEDERATIONS, setting

COUNTS = st.integers(1, 9)


@pytest.mark.parametrize(
    ("link", "updates", "megabytes_up", "megabytes_down"),
    [(1, 6416, 89.12, 648.33), (2, 404, 7.85, 41.26), (3, 202, 5.19, 20.63)],
)
def test_no_fewer_bytes_are_planned_than_the_demo_counted(
    link, updates, megabytes_up, megabytes_down
):
    # The counts are those of a whole run, so artefacts and figures are in them; a plan may be a
    # little above, up to what one head and manifest may have at most.
    found = setting().costs.exchanges[link - 1]
    assert 1 <= found.bytes_up / (megabytes_up * 1e6 / updates) < 1.05
    assert 0.99 < found.bytes_down / (megabytes_down * 1e6 / updates) < 1.05


def test_a_child_below_a_higher_tier_sends_over_one_link_and_keeps_the_tau_of_all():
    topology = load_federation(FEDERATIONS / "campus-4-tier.toml").topology
    padded = Padded.of(topology)
    assert sorted(padded.devices) == list(topology.devices())
    ways = {}
    for position, device in enumerate(padded.devices):
        sent = []
        for tier, (parents, sends) in enumerate(zip(padded.parents, padded.sends, strict=True), 1):
            sent += [tier] * sends[position]
            position = parents[position]
        ways[device] = sent
    for device in topology.devices():
        path = topology.path_to_root(device)
        assert ways[device] == [topology.node(above).tier for above in path[1:]], device
    assert ways["kiosk-7-0"] == [3, 4]
    assert ways["porch-7-1"] == [2, 3, 4]


def test_a_round_of_an_irregular_tree_is_as_long_as_its_longest_way():
    # One device in a room of a house; one wired to the cloud directly.
    times = Times(parents=[[0, 1], [0, 0]], step_s=[1, 3], message_s=[[10, 0], [100, 20]])
    # By the room: 2 (3 * 1 + 10) + 100 = 126; directly: 2 * 3 * 3 + 20 = 38.
    assert times.round_s((3, 2)) == 126


def test_bytes_of_an_exchange_grow_by_the_parts_and_the_members():
    def of(**changes):
        usual = {
            "payload_bytes": 1000, "dimension": 1000, "members": 4, "part_bytes": 65536,
            "rate_bytes_per_s": 1000.0, "latency_s": 2.0,
        }  # fmt: skip
        return exchange(**{**usual, **changes})

    assert of(payload_bytes=1001).bytes_up == of().bytes_up + 1
    assert of(dimension=1001).bytes_down == of().bytes_down + 4
    assert of(members=5).bytes_down == of().bytes_down + 80
    assert of(part_bytes=4096).bytes > of().bytes
    assert of().seconds == of().bytes / 1000 + 2
    assert of(rate_bytes_per_s=None).seconds == 2


NEEDS = Needs(prices=Prices(head=30, part=50, session=20), model=320, update=120, parts=1)


def small(budget):
    each = Exchange(bytes_up=100, bytes_down=300, seconds=1.0)
    return Costs(
        times=Times.alike(step_s=1.0, message_s=[1.0, 1.0]),
        exchanges=[each, each],
        budgets=[budget, Budget()],
        needs=[{NEEDS}, {NEEDS}],
    )


@given(tau=st.tuples(COUNTS, COUNTS), deadline_s=st.floats(1, 4 * DAY_S))
def test_no_plan_exceeds_a_budget(tau, deadline_s):
    budget = Budget(bytes_per_round=NEEDS.of_round(4), bytes_per_day=NEEDS.of_day(40))
    costs = small(budget)
    rounds = costs.rounds(tau, deadline_s=deadline_s)
    assert rounds * costs.round_s(tau) <= deadline_s * (1 + 1e-9)
    if rounds:
        a_day = math.ceil(rounds / max(1, deadline_s // DAY_S))
        assert costs.bytes_per_round(tau)[0] <= costs.needed_per_round(tau, link=1)
        assert costs.needed_per_round(tau, link=1) <= budget.bytes_per_round
        assert costs.needed_per_day(tau, link=1, rounds=a_day) <= budget.bytes_per_day


@given(prefix=st.tuples(COUNTS), rest=COUNTS, deadline_s=st.floats(100, 4 * DAY_S))
def test_what_is_left_of_a_budget_leaves_out_no_plan(prefix, rest, deadline_s):
    costs = small(Budget(bytes_per_round=NEEDS.of_round(6), bytes_per_day=NEEDS.of_day(30)))
    rounds = costs.rounds((*prefix, rest), deadline_s=deadline_s)
    if rounds:
        assert rest <= costs.repeats_max(prefix)
        assert rounds * rest <= costs.iterations_max(prefix, deadline_s=deadline_s)


@given(tau=st.tuples(COUNTS, COUNTS), share=st.floats(0.01, 1))
def test_what_a_child_sends_keeps_to_rate_and_airtime(tau, share):
    costs = small(Budget(rate_bytes_per_s=50.0, airtime_share_max=share))
    sent_s = tau[1] * 100 / 50.0
    assert sent_s / costs.round_s(tau) <= share * (1 + 1e-12)


def test_without_budgets_only_time_counts():
    costs = small(Budget(bytes_per_round=1))
    assert costs.rounds((1, 1), deadline_s=1e9) == 0
    assert costs.without_budgets().rounds((1, 1), deadline_s=9) == 3
    assert np.array_equal(costs.exchanges_per_round((5, 3)), [3, 1])
