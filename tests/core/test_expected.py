"""A fleet of another tree than the cloud's federation file describes trains nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest
from world import World
from world_shapes import Shape, make_plan, quadratic

from cloud.expected import expected_of
from fedtier.core.expected import Expected
from fedtier.errors import EXIT_CONFIG

FLEET = {"cloud": ["g", "d"], "g": ["a", "b"]}
DEEP = {"cloud": ["m"], "m": ["g", "h"], "g": ["a", "b"], "h": ["c"]}


def shape_of(tree: Mapping[str, Sequence[str]], weights: Mapping[str, int] | None = None) -> Shape:
    def tier(node: str) -> int:
        return 1 + max(tier(child) for child in tree[node]) if node in tree else 0

    parents = {child: parent for parent, children in tree.items() for child in children}
    tiers = {node: tier(node) for node in tree}
    return Shape(parents=parents, tiers=tiers, weights=weights or {})


class OtherFile(World):
    """A world whose cloud is started with the federation file of another tree."""

    def __init__(
        self, disk, fleet, file, *, weights=None, rounds=1, whole=False, quorum=(), deadline_s=(),
        **options,
    ):  # fmt: skip
        self.file, self.whole = shape_of(file), whole
        shape = shape_of(fleet, weights)
        plan = make_plan((1,) * shape.height, rounds=rounds, quorum=quorum, deadline_s=deadline_s)
        super().__init__(
            shape, plan, quadratic(dict.fromkeys(shape.devices, np.ones(2))), disk=disk,
            start=np.zeros(2), **options,
        )  # fmt: skip

    def expected(self) -> Expected:
        least = {} if self.whole else self.members_min
        return expected_of(
            self.file.topology(), where="other.toml",
            members_needed=lambda n: least.get(n, len(self.file.children(n))),
        )  # fmt: skip


@pytest.mark.covers("M-6")
@pytest.mark.parametrize(
    ("fleet", "file", "child", "announced", "written"),
    [
        (FLEET, FLEET | {"g": ["a"]}, "g", "2 devices (digest ", "1 device (digest "),
        (FLEET, FLEET | {"g": ["a", "z"]}, "g", "2 devices (digest ", "a, z"),
        (FLEET, FLEET | {"g": ["a", "b", "c"]}, "g", "2 devices (digest ", "3 devices (digest "),
        (FLEET, {"cloud": ["g", "d"], "d": ["x"], "g": ["a", "b"]}, "d", "1 device, ", "x"),
        (DEEP, DEEP | {"g": ["a"], "h": ["c", "b"]}, "m", "3 devices (digest ", "a, b, c"),
        (DEEP, DEEP | {"h": ["c", "e"]}, "m", "3 devices (digest ", "4 devices (digest "),
    ],
)
def test_a_child_of_another_tree_ends_the_cloud_before_anything_is_trained(
    tmp_path, fleet, file, child, announced, written
):
    world = OtherFile(tmp_path, fleet, file)
    world.run(until=lambda world: world.cloud.stopped is not None)
    stopped = world.cloud.stopped
    assert stopped.exit_code == EXIT_CONFIG
    assert stopped.reason.startswith(f"child '{child}' stands for {announced}")
    assert "but other.toml has" in stopped.reason
    assert written in stopped.reason.partition("other.toml")[2]
    assert "fedtier config nodes" in stopped.reason
    assert world.trained == []


@pytest.mark.parametrize("weights", [{}, {"a": 5, "c": 2}], ids=["weight 1", "other weights"])
def test_the_fleet_of_the_file_trains_whatever_its_devices_weigh(tmp_path, weights):
    world = OtherFile(tmp_path, DEEP, DEEP, weights=weights)
    world.run()
    assert world.cloud.finished is not None
    assert {node for node, _ in world.trained} == {"a", "b", "c"}


def test_a_gateway_that_is_ready_with_few_may_have_more_of_the_file_s_devices_later(tmp_path):
    world = OtherFile(
        tmp_path, FLEET, FLEET, rounds=4, members_min={"g": 1},
        starting_order=["cloud", "g", "a", "d"], work_s=lambda node: 5.0,
    )  # fmt: skip
    world.run(until=lambda world: world.rounds_done == 1)
    world.start("b")
    world.run()
    assert world.cloud.finished is not None
    assert {node for node, _ in world.trained} == {"a", "b", "d"}


def test_a_stranger_that_comes_later_below_a_gateway_ends_the_cloud_at_the_next_round(tmp_path):
    world = OtherFile(
        tmp_path, FLEET | {"g": ["a", "z"]}, FLEET, rounds=4, members_min={"g": 1},
        starting_order=["cloud", "g", "a", "d"], work_s=lambda node: 5.0,
    )  # fmt: skip
    world.run(until=lambda world: world.rounds_done == 1)
    world.start("z")
    world.run(until=lambda world: world.cloud.stopped is not None)
    assert "child 'g' stands for 2 devices" in world.cloud.stopped.reason
    assert "z" not in {node for node, _ in world.trained}


def test_devices_that_are_lost_during_a_run_are_a_loss_and_no_other_tree(tmp_path):
    """The file asks for all; the gateway's own file lets it be ready with one."""
    world = OtherFile(
        tmp_path, FLEET, FLEET, rounds=3, members_min={"g": 1}, whole=True,
        starting_order=["a", "b", "d", "g", "cloud"], work_s=lambda node: 5.0,
        quorum=("1", "1"), deadline_s=(20.0, 60.0),
    )  # fmt: skip
    world.run(until=lambda world: world.rounds_done == 1)
    world.crash("b")
    world.run()
    assert world.cloud.finished is not None
