"""A parent that waits says for whom, soon and then seldom; one that does not wait says nothing."""

from __future__ import annotations

import numpy as np
import pytest
from core_messages import D0, D1, parts_of, update
from core_states import cell_at
from hypothesis import given
from hypothesis import strategies as st
from world import World
from world_shapes import make_plan, quadratic, random_centres, regular

from fedtier.core.effects import Note
from fedtier.core.waiting import MEMBERS, Waiting, some_of
from fedtier.ids import NodeId
from fedtier.limits import WAITING_AGAIN_S, WAITING_FIRST_S, WAITING_NAMES_MAX

DIMENSION = 40
SHAPE = regular(2, 2)
SLOW_S = 200.0


def make_world(disk, *, without=(), slow=(), shape=SHAPE, tau=(1, 2), rounds=2, **options):
    order = [n for n in (*sorted(shape.tiers), *shape.devices) if n not in without]
    return World(
        shape, make_plan(tau, rounds=rounds),
        quadratic(random_centres(shape, seed=1, dimension=DIMENSION)), disk=disk,
        start=np.zeros(DIMENSION), starting_order=order,
        work_s=lambda node: SLOW_S if node in slow else 0.0, **options,
    )  # fmt: skip


def waits(node):
    return [note for note in node.notes if note.event.startswith("waiting")]


def let_pass(world, seconds):
    until_s = world.now_s + seconds
    world.at(until_s, lambda: None)
    world.run(until=lambda world: world.now_s >= until_s)
    world.settle()


# Before an iteration


def test_a_parent_names_who_is_missing_and_who_is_there_but_not_ready(tmp_path):
    world = make_world(tmp_path, without=["d1"])
    let_pass(world, 30)
    (gateway,), (cloud,) = waits(world.nodes["g1-0"]), waits(world.cloud)
    assert (gateway.level, gateway.event) == ("info", "waiting for members")
    assert gateway.fields == {"seconds": 10, "ready": 1, "needed": 2, "missing": "d1"}
    assert cloud.fields == {"seconds": 10, "ready": 1, "needed": 2, "not_ready": "g1-0"}
    assert waits(world.nodes["g1-1"]) == []


def test_it_is_said_after_10_seconds_and_then_every_60(tmp_path):
    world = make_world(tmp_path, without=["d1"])
    let_pass(world, 200)
    said = [note.fields["seconds"] for note in waits(world.nodes["g1-0"])]
    assert said == [10, 70, 130, 190]


def test_the_end_of_a_wait_that_was_spoken_of_is_told(tmp_path):
    world = make_world(tmp_path, without=["d1"])
    let_pass(world, 30)
    world.start("d1")
    world.run()
    last = waits(world.nodes["g1-0"])[-1]
    assert (last.event, last.fields) == ("waiting is over", {"seconds": 28})  # 2 s it looked
    assert waits(world.cloud)[-1].event == "waiting is over"


def test_with_a_quorum_nobody_is_waited_for_who_is_not_needed(tmp_path):
    world = make_world(tmp_path, without=["d1"], members_min={"g1-0": 1})
    world.run()
    assert [waits(node) for node in world.nodes.values()] == [[]] * len(world.nodes)


def test_a_member_that_is_lost_between_runs_is_missed(tmp_path):
    world = make_world(tmp_path)
    world.run()
    world.crash("d1")
    let_pass(world, 30)
    (note,) = waits(world.nodes["g1-0"])
    assert note.fields["missing"] == "d1"


# While an iteration is open


def test_a_parent_names_who_has_not_answered_and_for_how_long(tmp_path):
    world = make_world(tmp_path, slow=["d1"], tau=(1, 1), rounds=1)
    let_pass(world, 100)
    gateway, cloud = waits(world.nodes["g1-0"]), waits(world.cloud)
    assert [note.event for note in gateway] == ["waiting for answers"] * 2
    assert [note.fields["seconds"] for note in gateway] == [10, 70]
    assert gateway[0].fields == {
        "path": "r0.0", "task": "train", "seconds": 10, "answered": 1, "members": 2, "silent": "d1",
    }  # fmt: skip
    assert (cloud[0].fields["path"], cloud[0].fields["silent"]) == ("r0", "g1-0")
    assert waits(world.nodes["g1-1"]) == []


def test_a_member_that_is_gone_is_told_from_one_that_is_silent(tmp_path):
    world = make_world(tmp_path, slow=["d1"], tau=(1, 1), rounds=1)
    let_pass(world, 50)
    world.crash("d1")
    let_pass(world, 50)
    first, second = waits(world.nodes["g1-0"])
    assert (first.fields["silent"], "missing" in first.fields) == ("d1", False)
    assert (second.fields["missing"], "silent" in second.fields) == ("d1", False)


def test_a_member_whose_update_is_on_its_way_is_told_from_one_that_is_silent():
    under = cell_at("collecting")
    cell = under.machine
    cell.hear_part(D0, parts_of(update(cell.head, D0), cell.head)[0], 3.0)
    (note,) = (e for e in cell.tick(12.0) if isinstance(e, Note) and "waiting" in e.event)
    assert (note.fields["sending"], note.fields["missing"]) == (D0, D1)


def test_every_iteration_is_waited_for_anew(tmp_path):
    world = make_world(tmp_path, slow=["d1"], tau=(1, 2), rounds=1)
    world.run()
    said = [(n.fields["path"], n.fields["seconds"]) for n in waits(world.nodes["g1-0"])]
    per_iteration = (10, 70, 130, 190)
    paths = ("r0.0", "r0.1", "r1.0")  # the last is the evaluation
    assert said == [(path, seconds) for path in paths for seconds in per_iteration]


# What is not said


@pytest.mark.parametrize("fan_outs", [(3,), (2, 2), (2, 2, 2)])
def test_a_healthy_run_speaks_of_no_wait_and_says_one_line_per_unit_of_work(tmp_path, fan_outs):
    shape = regular(*fan_outs)
    world = make_world(tmp_path, shape=shape, tau=(1,) * len(fan_outs), rounds=3)
    world.run()
    world.settle()
    for name, node in world.nodes.items():
        events = [note.event for note in node.notes if note.level != "debug"]
        rounds = 3 + 1  # and the evaluation
        if shape.parents.get(name) == "cloud":
            assert events.pop() == "parent left"
        if name in shape.devices:
            assert events == ["following run"]
            continue
        gateway = name != "cloud"
        assert events.count("iteration closed") == events.count("answered") == gateway * rounds
        assert events.count("round opened") == rounds * (not gateway)
        assert events.count("member ready") == len(shape.children(name))
        assert set(events) <= {
            "following run", "iteration closed", "answered", "round opened", "member ready",
            "member not ready", "fetching artefact", "artefact installed",
        }  # fmt: skip


def test_an_iteration_that_closes_says_who_answered_and_how_long_it_was_open(tmp_path):
    world = make_world(tmp_path, slow=["d1"], tau=(1, 1), rounds=1)
    world.run()
    notes = {note.event: note.fields for note in reversed(world.nodes["g1-0"].notes)}
    assert notes["iteration closed"] == {
        "path": "r0.0", "task": "train", "answered": 2, "members": 2, "seconds": SLOW_S,
    }  # fmt: skip
    answered = dict(notes["answered"])
    assert answered.pop("bytes") > 4 * DIMENSION
    assert answered == {"path": "r0", "task": "train", "iterations": 1, "seconds": SLOW_S}


# The parts


@pytest.mark.parametrize(
    ("names", "text"),
    [
        (1, "d0"),
        (3, "d0, d1, d2"),
        (WAITING_NAMES_MAX, "d0, d1, d2, d3, d4, d5, d6, d7, d8, d9"),
        (WAITING_NAMES_MAX + 1, "d0, d1, d2, d3, d4, d5, d6, d7, d8, d9 and 1 more"),
        (4096, "d0, d1, d2, d3, d4, d5, d6, d7, d8, d9 and 4086 more"),
    ],
)
def test_at_most_ten_names_are_written_out(names, text):
    assert some_of([NodeId(f"d{n}") for n in range(names)]) == text


@given(
    steps=st.lists(
        st.tuples(st.floats(0, 200), st.sampled_from([None, MEMBERS, 1, 2])), max_size=60
    )
)
def test_whatever_happens_no_wait_is_spoken_of_too_early_or_too_often(steps):
    waiting, now_s, what = Waiting(), 0.0, None
    began_s, said_s = 0.0, None
    for pause_s, now_what in steps:
        now_s += pause_s
        if waiting.is_due(now_s):
            assert what is not None
            assert now_s - began_s >= WAITING_FIRST_S
            assert said_s is None or now_s - said_s >= WAITING_AGAIN_S
            said_s = now_s
        over = waiting.wait_for(now_what, now_s)
        if now_what != what:
            assert bool(over) == (what == MEMBERS and said_s is not None)
            what, began_s, said_s = now_what, now_s, None
        else:
            assert over == []
        assert (waiting.timer_s is None) == (what is None)
        assert waiting.timer_s is None or waiting.timer_s > now_s
