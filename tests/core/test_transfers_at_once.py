"""At most K updates travel at once, and at most a window of parts for each want."""

from __future__ import annotations

import numpy as np
import pytest
from crooked_world import Rogue, open_cell
from world import World
from world_shapes import make_plan, quadratic, random_centres, regular

from fedtier.limits import WINDOW_PARTS
from fedtier.wire.messages import Want


def deaf_until(world, time_s):
    """Nothing that a parent wants of an update arrives before, so that offers pile up."""
    return lambda d: () if d.topic.endswith("/ack") and world.now_s < time_s else (0,)


@pytest.mark.covers("T-5")
def test_at_most_four_updates_travel_at_once_and_all_arrive(tmp_path):
    shape = regular(9)
    start = np.zeros(30_000)  # updates of 31 parts: two windows each
    centres = random_centres(shape, seed=1, dimension=30_000)
    world = World(shape, make_plan((1,)), quadratic(centres), disk=tmp_path, start=start)
    world.brokers["cloud"].fault = deaf_until(world, 6.0)
    world.run()
    assert world.transfers["cloud"] == 4
    assert len(world.sums[0][2]) == 9
    assert world.now_s < 30  # places are taken as they become free


def test_a_sender_that_dies_in_mid_transfer_loses_its_place(tmp_path):
    shape = regular(6)
    centres = random_centres(shape, seed=1, dimension=30_000)
    world = World(
        shape, make_plan((1,), quorum=("2",), deadline_s=(400.0,)), quadratic(centres),
        disk=tmp_path, start=np.zeros(30_000), work_s=lambda n: 50.0 if n in ("d4", "d5") else 0.0,
        starting_order=[*shape.devices, "cloud"], members_min={"cloud": 2},
    )  # fmt: skip
    world.brokers["cloud"].fault = deaf_until(world, 6.0)
    cloud = world.cloud.machine.cell
    world.run(until=lambda world: world.transfers["cloud"] == 4)
    for device in ("d0", "d1", "d2", "d3"):
        world.crash(device)
    world.run()
    assert world.sums[0][2] == ("d4", "d5")
    assert cloud.figures().links[1].lost >= 4


@pytest.mark.covers("T-3")
@pytest.mark.covers("T-4")
def test_a_parent_sends_at_most_a_window_per_want(tmp_path):
    centres = random_centres(regular(2), seed=1, dimension=60_000)
    world = World(
        regular(2), make_plan((1,)), quadratic(centres), disk=tmp_path, start=np.zeros(60_000),
        work_s=lambda node: 50.0,
    )  # fmt: skip
    head = open_cell(world)
    rogue = Rogue(world, "cloud", hears="d0/model/+")
    rogue.say(
        Want(digest=head.blobs[0].digest, parts=(*range(WINDOW_PARTS - 2), 0, 10**6)), node="d0"
    )
    world.settle()
    assert len(rogue.heard) == WINDOW_PARTS - 2
