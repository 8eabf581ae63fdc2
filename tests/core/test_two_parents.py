"""Of two parents of one cell one stays, and the other says why it goes."""

from __future__ import annotations

import numpy as np
import pytest
from crooked_world import make_world, mean_of

from fedtier.errors import EXIT_CONFIG


@pytest.mark.covers("H-10")
def test_a_clone_of_a_parent_finds_the_first_and_exits_naming_both(tmp_path):
    world = make_world(tmp_path, 2, 2, world_options={"work_s": lambda node: 10.0})
    world.run(until=lambda world: bool(world.trained))
    first = world.nodes["g1-0"]
    clone = world.start("g1-0", client="-clone")
    world.run()
    assert clone.stopped.exit_code == EXIT_CONFIG
    assert f"{clone.nonce:016x}" in clone.stopped.reason
    assert f"{first.nonce:016x}" in clone.stopped.reason
    assert first.stopped is None
    np.testing.assert_allclose(world.model, mean_of(["d0", "d1", "d2", "d3"]), atol=1e-6)


def test_of_two_parents_that_start_together_one_stays(tmp_path):
    world = make_world(tmp_path, 2, 2)
    clone = world.start("cloud", client="-clone")
    world.run()
    assert clone.stopped.exit_code == EXIT_CONFIG
    assert world.cloud.stopped is None


def test_two_parents_that_missed_each_other_find_out_at_the_next_sign_of_life(tmp_path):
    """Children may have obeyed the other meanwhile: a restart of the one that stayed heals that."""
    world = make_world(tmp_path, 3, world_options={"work_s": lambda node: 200.0})
    broker = world.brokers["cloud"]
    broker.fault = lambda d: () if d.topic.endswith("all/presence") and world.now_s < 5 else (0,)
    clone = world.start("cloud", client="-clone")
    world.run(until=lambda world: clone.stopped is not None)
    assert clone.stopped.exit_code == EXIT_CONFIG
    assert world.now_s < 40
    assert world.cloud.stopped is None
    world.restart("cloud")
    world.run()
    np.testing.assert_allclose(world.model, mean_of(["d0", "d1", "d2"]), atol=1e-6)


def test_a_parents_own_last_boot_is_no_second_parent(tmp_path):
    world = make_world(tmp_path, 2, 2, world_options={"work_s": lambda node: 10.0})
    world.run(until=lambda world: bool(world.trained))
    for node in ("cloud", "g1-0", "cloud", "g1-1"):
        world.restart(node)
    world.run()
    assert all(node.stopped is None for node in world.nodes.values())
