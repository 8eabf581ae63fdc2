"""Faults as they are asked for on the command line, and how many of them there are then."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sim_nodes import make_world

from fedtier.errors import ConfigError
from fedtier.sim.broker import Delivery
from fedtier.sim.faults import Faults

share = st.floats(0, 0.25)
count = st.integers(0, 10_000)
some_faults = st.builds(
    Faults, drop=share, double=share, delay=share, reorder=share, cut=count, restart=count,
    crash=count, until=st.floats(0.001, 1e7), budget=st.one_of(st.none(), count),
)  # fmt: skip


@given(some_faults.filter(lambda faults: faults.text))
def test_faults_are_read_as_they_are_written(faults):
    assert Faults.parse(faults.text) == faults


def test_what_is_not_named_is_as_by_default():
    faults = Faults.parse(" drop=0.2, delay=0.1 ,crash=5,until=60")
    assert faults == Faults(drop=0.2, delay=0.1, crash=5, until=60.0)
    assert faults.text == "drop=0.2,delay=0.1,crash=5"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("dorp=0.1", r"'dorp' is no fault\. Did you mean 'drop'\?.*keys are drop, double, delay"),
        ("", "'' is no fault"), ("drop=0.1,", "'' is no fault"),
        ("drop=0.1,drop=0.2", "drop is there twice"),
        ("drop", "drop = '' is not a number"), ("drop=x", "drop = 'x' is not a number"),
        ("crash=1.5", "crash = '1.5' is not a whole number"),
        ("drop=1.5", r"drop = 1.5 is outside \[0, 1\]"),
        ("drop=-0.1", r"drop = -0.1 is outside \[0, 1\]"),
        ("drop=nan", r"drop = nan is outside \[0, 1\]"),
        ("drop=0.6,delay=0.6", r"drop \+ double \+ delay \+ reorder = 1.2 is outside \[0, 1\]"),
        ("cut=-1", r"cut = -1 is outside \[0, 10000\]"),
        ("crash=10001", r"crash = 10001 is outside \[0, 10000\]"),
        ("until=0", r"until = 0 is outside \(0, 1e\+07\] seconds"),
        ("until=inf", r"until = inf is outside"), ("budget=-1", "budget = -1 is outside"),
    ],
)  # fmt: skip
def test_faults_that_cannot_be_are_refused_with_what_can(text, complaint):
    with pytest.raises(ConfigError, match=complaint):
        Faults.parse(text)


def delivery(number):
    return Delivery(number=number, client_id="a", topic="t", payload=b"", retained=False)


def become(disk, faults, count=2000, **options):
    """What became of so many messages at the beginning."""
    world = make_world(disk, {})
    befallen = faults.befall(world, **options)
    fault = world.brokers["c"].fault
    return befallen, [tuple(fault(delivery(number))) for number in range(count)]


def test_each_kind_of_fault_has_its_share_of_the_messages(tmp_path):
    befallen, found = become(tmp_path, Faults(drop=0.1, double=0.2, delay=0.15, reorder=0.25))
    kinds = {
        "drop": sum(each == () for each in found),
        "double": sum(len(each) == 2 for each in found),
        "delay": sum(len(each) == 1 and each[0] > 0.3 for each in found),
        "reorder": sum(len(each) == 1 and 0 < each[0] <= 0.3 for each in found),
    }
    # Delays below 0.3 s, one in a hundred, pass for reordering.
    for kind, share in {"drop": 0.1, "double": 0.2, "delay": 0.15, "reorder": 0.25}.items():
        spread = 5 * math.sqrt(2000 * share * (1 - share))
        assert abs(kinds[kind] - 2000 * share) <= spread, kind
    assert befallen.touched == sum(each != (0.0,) for each in found)
    assert befallen.touched == sum(kinds.values())
    assert max(max(each, default=0.0) for each in found) <= 20.0


def test_a_budget_and_a_choice_of_messages_are_kept(tmp_path):
    befallen, found = become(
        tmp_path, Faults(drop=1.0, budget=30), touches=lambda delivery: delivery.number % 2 == 0
    )
    assert befallen.touched == 30
    assert [number for number, each in enumerate(found) if each == ()] == list(range(0, 60, 2))


def test_after_its_end_the_world_is_left_alone(tmp_path):
    world = make_world(tmp_path, {})
    faults = Faults(drop=1.0, cut=7, restart=5, crash=6, until=50)
    befallen = faults.befall(world)
    world.start()
    world.run(until=lambda: world.agenda.now_s >= 50)
    happened = (befallen.cuts, befallen.restarts, befallen.crashes)
    assert happened[1] == 5
    assert 0 < happened[0] <= 7  # of a node that is down nothing is cut, nor is it killed
    assert 0 < happened[2] <= 6
    assert world.brokers["c"].fault(delivery(0)) == (0.0,)
    world.agenda.at(91.0, lambda: None)
    world.run(until=lambda: world.agenda.now_s >= 91)
    assert all(node.running for node in world.nodes.values()), "whoever was killed is back"
    assert (befallen.cuts, befallen.restarts, befallen.crashes) == happened
    assert sum(node.boots for node in world.nodes.values()) == 3 + befallen.crashes


def test_without_shares_no_message_is_looked_at(tmp_path):
    world = make_world(tmp_path, {})
    Faults(crash=1).befall(world)
    assert world.brokers["c"].fault is None
