"""Children that fail abstain, and the mean is of the others."""

from __future__ import annotations

import numpy as np
import pytest
from crooked_world import CENTRES, failing, make_world, mean_of
from world_shapes import quadratic

from fedtier.errors import TrainingError


@pytest.mark.covers("R-4")
@pytest.mark.covers("R-5")
def test_a_device_that_fails_abstains_and_the_mean_is_of_the_others(tmp_path):
    world = make_world(tmp_path, 3, train=failing("d1"))
    world.run()
    np.testing.assert_allclose(world.model, mean_of(["d0", "d2"]), atol=1e-6)
    assert "abstained" in world.nodes["d1"].events


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e9])
@pytest.mark.covers("R-3")
def test_a_device_that_diverges_abstains(tmp_path, value):
    good = quadratic(CENTRES)
    world = make_world(
        tmp_path, 3,
        train=lambda n, h, m: good(n, h, m) if n != "d1" else m + np.float32(value),
    )  # fmt: skip
    world.run()
    np.testing.assert_allclose(world.model, mean_of(["d0", "d2"]), atol=1e-6)


@pytest.mark.covers("R-5")
def test_a_gateway_abstains_upward_when_all_its_iterations_were_empty(tmp_path):
    world = make_world(tmp_path, 2, 2, tau=(1, 3), train=failing("d0", "d1"))
    world.run()
    assert ("cloud", "r0", ("g1-1",)) in world.sums
    np.testing.assert_allclose(world.model, mean_of(["d2", "d3"], 3), atol=1e-6)


@pytest.mark.covers("H-8")
def test_an_iteration_without_members_counts_as_done_and_leaves_the_model(tmp_path):
    def train(node, task, model):
        if node in ("d0", "d1") and task.path.indices[-1] != 1:
            raise TrainingError("asleep")
        return quadratic(CENTRES)(node, task, model)

    world = make_world(tmp_path, 2, 2, tau=(1, 3), train=train)
    world.run()
    assert ("g1-0", "r0.1", ("d0", "d1")) in world.sums
    expected = (mean_of(["d0", "d1"], 1) + mean_of(["d2", "d3"], 3)) / 2
    np.testing.assert_allclose(world.model, expected, atol=1e-6)
    assert world.nodes["g1-0"].events.count("empty iteration") == 2


@pytest.mark.covers("H-7")
@pytest.mark.covers("H-8")
def test_an_empty_iteration_that_was_closed_is_not_opened_again_after_a_restart(tmp_path):
    def train(node, task, model):
        if node in ("d0", "d1") and task.path.indices[-1] == 0:
            raise TrainingError("asleep")
        return quadratic(CENTRES)(node, task, model)

    world = make_world(
        tmp_path, 2, 2, tau=(1, 2), train=train, world_options={"work_s": lambda node: 5.0}
    )
    world.run(until=lambda world: ("d0", "r0.1") in world.trained)
    world.restart("g1-0")
    world.run()
    assert world.trained.count(("d0", "r0.0")) == 1
    expected = (mean_of(["d0", "d1"], 1) + mean_of(["d2", "d3"], 2)) / 2
    np.testing.assert_allclose(world.model, expected, atol=1e-6)


@pytest.mark.parametrize("restarts", [False, True])
@pytest.mark.covers("H-8")
def test_a_round_in_which_nobody_came_is_closed_like_any_other(tmp_path, restarts):
    world = make_world(tmp_path, 2, train=failing("d0", "d1"), rounds=3)
    if restarts:
        world.run(until=lambda world: world.rounds_done == 1)
        world.restart("cloud")
    start = world.digest
    world.run()
    assert world.sums == [("cloud", f"r{n}", ()) for n in range(3)]
    assert world.digest == start
    assert world.cloud.finished.rounds_trained == 0
    assert world.cloud.events.count("empty round") == (2 if restarts else 3)


def test_rounds_in_which_somebody_trained_are_counted_through_a_restart_of_the_cloud(tmp_path):
    def train(node, task, model):
        if task.path.indices[0] in (1, 3):
            raise TrainingError("asleep")
        return quadratic(CENTRES)(node, task, model)

    world = make_world(tmp_path, 2, train=train, rounds=5)
    world.run(until=lambda world: world.rounds_done == 3)
    world.restart("cloud")
    world.run()
    assert world.cloud.finished.rounds_trained == 3


@pytest.mark.covers("R-5")
def test_the_reason_of_a_device_reaches_the_cloud_through_every_gateway(tmp_path):
    everybody = [f"d{n}" for n in range(4)]
    world = make_world(tmp_path, 2, 1, 2, tau=(1, 1, 1), train=failing(*everybody))
    world.run()
    notes = [note for note in world.cloud.notes if note.event == "member abstained"]
    assert [note.fields["node"] for note in notes] == ["g2-0", "g2-1"]
    assert notes[0].fields["reason"].startswith("g1-0: d0: out of memory")
    assert notes[1].fields["reason"].startswith("g1-1: d2: out of memory")


def test_every_update_is_a_delta_an_abstention_or_an_evaluation(tmp_path):
    def train(node, task, model):
        if node == "d0" or (node == "d1" and task.path.indices[-1] == 1):
            raise TrainingError("asleep")
        return quadratic(CENTRES)(node, task, model)

    world = make_world(tmp_path, 2, 2, tau=(1, 3), train=train, rounds=2)
    world.run()
    one, two = (world.cloud.finished.figures.links[link] for link in (1, 2))
    assert (one.updates, one.deltas, one.abstained) == (2 * 3 * 4 + 4, 2 * (12 - 3 - 1), 2 * 4)
    assert (two.updates, two.deltas, two.abstained) == (2 * 2 + 2, 2 * 2, 0)
