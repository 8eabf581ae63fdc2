"""Who is waited for, until when, and what becomes of those who come late."""

from __future__ import annotations

import numpy as np
import pytest
from crooked_world import CENTRES, DIMENSION, make_world, mean_of, silent
from world import World
from world_shapes import make_plan, quadratic, regular


@pytest.mark.covers("H-6")
def test_past_its_deadline_a_cell_closes_with_its_quorum(tmp_path):
    world = make_world(tmp_path, 3, quorum=("2",), deadline_s=(60.0,), world_options=silent("d2"))
    world.run()
    assert world.sums == [("cloud", "r0", ("d0", "d1"))]
    assert 2 * 60 <= world.now_s < 2 * 60 + 10  # the round, and the evaluation
    np.testing.assert_allclose(world.model, mean_of(["d0", "d1"]), atol=1e-6)
    assert world.cloud.finished.figures.links[1].lost == 2


def test_below_its_quorum_a_cell_waits_past_the_deadline_and_closes_at_the_quorum(tmp_path):
    late = {"work_s": lambda node: {"d1": 100.0, "d2": 1e9}.get(node, 1.0)}
    world = make_world(tmp_path, 3, quorum=("2",), deadline_s=(60.0,), world_options=late)
    world.run(until=lambda world: bool(world.sums))
    assert world.sums == [("cloud", "r0", ("d0", "d1"))]
    assert 100 <= world.now_s < 110


@pytest.mark.covers("H-6")
def test_a_cell_that_never_reaches_its_quorum_gives_up_and_abstains(tmp_path):
    world = make_world(
        tmp_path, 2, 2, quorum=("2", "1"), deadline_s=(60.0, None), give_up_s=100.0,
        world_options=silent("d3"),
    )  # fmt: skip
    world.run()
    assert [s for s in world.sums if s[0] == "g1-1"] == [("g1-1", "r0.0", ())]
    assert "empty iteration" in world.nodes["g1-1"].events
    assert ("cloud", "r0", ("g1-0",)) in world.sums
    np.testing.assert_allclose(world.model, mean_of(["d0", "d1"]), atol=1e-6)


def test_full_membership_without_a_deadline_waits_for_ever(tmp_path):
    world = make_world(tmp_path, 3, world_options=silent("d2"))
    with pytest.raises(AssertionError, match="not done"):
        world.run(limit_s=20_000)


def test_an_answer_after_the_closing_is_stale_and_is_counted(tmp_path):
    late = {"work_s": lambda node: 100.0 if node == "d2" else 1.0}
    world = make_world(tmp_path, 3, quorum=("2",), deadline_s=(60.0,), rounds=3, world_options=late)
    world.run()
    assert all(names == ("d0", "d1") for _, _, names in world.sums)
    assert ("d2", "r0") in world.preempted


@pytest.mark.covers("M-4")
def test_late_joiners_enter_at_the_next_round_and_weights_follow(tmp_path):
    shape = regular(2, 2)
    order = ["cloud", "g1-0", "g1-1", "d0", "d2", "d3"]
    world = World(
        shape, make_plan((1, 1), rounds=2), quadratic(CENTRES), disk=tmp_path,
        start=np.zeros(DIMENSION), members_min={"g1-0": 1}, starting_order=order,
        work_s=lambda node: 5.0,
    )  # fmt: skip
    world.run(until=lambda world: bool(world.trained))
    world.start("d1")
    world.run()
    assert ("g1-0", "r0.0", ("d0",)) in world.sums
    assert ("g1-0", "r1.0", ("d0", "d1")) in world.sums
    first = (CENTRES["d0"] + CENTRES["d2"] + CENTRES["d3"]).astype(np.float64) / 3 * 0.1
    second = 0.9 * first + 0.1 * np.mean([CENTRES[f"d{i}"] for i in range(4)], axis=0)
    np.testing.assert_allclose(world.model, second, atol=1e-6)


def test_members_that_were_lost_are_not_admitted_and_come_back(tmp_path):
    world = World(
        regular(3), make_plan((1,), rounds=3), quadratic(CENTRES), disk=tmp_path,
        start=np.zeros(DIMENSION), members_min={"cloud": 2}, work_s=lambda node: 5.0,
        starting_order=["d0", "d1", "d2", "cloud"],
    )  # fmt: skip
    world.run(until=lambda world: bool(world.sums))
    world.nodes["d2"].cut("up")
    world.at(world.now_s + 30, lambda: world.nodes["d2"].reconnect("up"))
    world.run()
    assert world.sums[0][2] == ("d0", "d1", "d2")
    assert len(world.sums) == 3
