"""The laws every version must keep, on regular and irregular trees of one to five tiers."""

from __future__ import annotations

import numpy as np
from world import World, make_plan, quadratic, regular


def test_two_edges_with_two_devices_each_follow_the_worked_trajectory(tmp_path):
    shape = regular(2, 2)
    centres = dict(zip(["d0", "d1", "d2", "d3"], [0.0, 1.0, 2.0, 5.0], strict=True))
    world = World(shape, make_plan((2, 2)), quadratic(centres), disk=tmp_path, start=np.zeros(1))
    world.run()
    assert abs(float(world.model[0]) - 0.6878) < 1e-5
