"""The tree: what it answers, and what it refuses with a message that says what to do."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier.errors import ConfigError
from fedtier.ids import NodeId
from fedtier.limits import CHILDREN_MAX, TIERS_MAX
from fedtier.topology import Cell, Node, Topology


def node(text: str) -> Node:
    """``id tier parent``, without a parent for the cloud."""
    id_, tier, *parent = text.split()
    return Node(id=NodeId(id_), tier=int(tier), parent=NodeId(parent[0]) if parent else None)


def tree(*lines: str) -> Topology:
    return Topology(tuple(node(line) for line in lines), "farm.toml: [tree]")


def refusal(*lines: str) -> str:
    with pytest.raises(ConfigError) as caught:
        tree(*lines)
    assert caught.value.exit_code == 78
    assert "farm.toml: [tree]" in str(caught.value)
    return str(caught.value)


IRREGULAR = (
    "cloud 3",
    "north 2 cloud",
    "south 2 cloud",
    "barn 1 north",
    "cow-1 0 barn",
    "cow-2 0 barn",
    "mast 0 north",  # a device below tier 2
    "well 0 cloud",  # a device below tier 3
    "shed 1 south",
    "pig 0 shed",
)


def test_a_federation_of_one_tier_is_a_cloud_with_its_devices():
    topology = tree("cloud 1", "b 0 cloud", "a 0 cloud")
    assert topology.tiers == 1
    assert topology.cloud == "cloud"
    assert topology.devices() == ("a", "b")
    assert topology.gateways() == ()
    assert topology.cells() == (Cell(parent="cloud", children=("a", "b"), link=1),)


def test_nodes_and_children_come_in_name_order_whatever_order_they_were_given_in():
    topology, reversed_ = tree(*IRREGULAR), tree(*reversed(IRREGULAR))
    assert topology == reversed_
    assert [n.id for n in topology] == sorted(n.id for n in topology)
    assert topology.children(NodeId("north")) == ("barn", "mast")
    assert len(topology) == len(IRREGULAR)


def test_an_irregular_tree_answers_who_is_where():
    topology = tree(*IRREGULAR)
    assert topology.tiers == 3
    assert topology.devices() == ("cow-1", "cow-2", "mast", "pig", "well")
    assert topology.gateways() == ("barn", "north", "shed", "south")
    assert topology.parents() == ("barn", "cloud", "north", "shed", "south")
    assert topology.devices_beneath(NodeId("north")) == ("cow-1", "cow-2", "mast")
    assert topology.devices_beneath(NodeId("pig")) == ("pig",)
    assert topology.devices_beneath(topology.cloud) == topology.devices()
    assert topology.path_to_root(NodeId("cow-1")) == ("cow-1", "barn", "north", "cloud")
    assert topology.parent(NodeId("well")) == "cloud"
    assert topology.parent(topology.cloud) is None
    assert NodeId("well") in topology
    assert NodeId("wall") not in topology
    assert topology.node(NodeId("mast")) == node("mast 0 north")


def test_a_child_sends_through_the_link_of_its_parents_tier():
    topology = tree(*IRREGULAR)
    assert {cell.parent: cell.link for cell in topology.cells()} == {
        "barn": 1,
        "shed": 1,
        "north": 2,
        "south": 2,
        "cloud": 3,
    }


def test_virtual_tiers_are_passed_with_their_tau():
    topology = tree(*IRREGULAR)
    tau = (8, 3, 2)
    assert topology.repeats(tau, NodeId("cow-1")) == 8
    assert topology.repeats(tau, NodeId("mast")) == 8 * 3
    assert topology.repeats(tau, NodeId("well")) == 8 * 3 * 2
    assert topology.repeats(tau, NodeId("barn")) == 3
    assert topology.repeats(tau, NodeId("north")) == 2


def test_a_tree_is_drawn_with_each_child_below_its_parent():
    assert tree("cloud 2", "gw 1 cloud", "d1 0 gw", "d2 0 gw", "e 0 cloud").draw() == "\n".join(
        (
            "cloud     tier 2",
            "├─ e      tier 0",
            "└─ gw     tier 1",
            "   ├─ d1  tier 0",
            "   └─ d2  tier 0",
        )
    )


def test_no_node_at_all_is_refused():
    assert "there is no node" in refusal()


def test_two_nodes_with_one_id_are_refused():
    message = refusal("cloud 1", "a 0 cloud", "a 0 cloud")
    assert "two nodes have the id 'a'" in message
    assert "rename one" in message


@pytest.mark.parametrize("id_", ["all", "operator"])
def test_a_reserved_id_is_refused(id_):
    message = refusal("cloud 1", f"{id_} 0 cloud")
    assert repr(id_) in message
    assert "reserved" in message


@pytest.mark.parametrize("id_", ["Pump", "a_b", "-a", "a" * 41, "a/b", "a.b", "é"])
def test_an_id_outside_the_alphabet_is_refused(id_):
    assert "Use 1 to 40 of a-z" in refusal("cloud 1", f"{id_} 0 cloud")


def test_an_orphan_is_refused_with_the_nearest_name():
    message = refusal("cloud 2", "barn-1 1 cloud", "cow 0 barn-l")
    assert "'cow' names the parent 'barn-l'" in message
    assert "Did you mean 'barn-1'?" in message


def test_a_cycle_is_refused_and_spelled_out():
    message = refusal("cloud 3", "x 0 cloud", "c 2 a", "b 2 c", "a 2 b")
    assert "a -> b -> c -> a" in message
    assert "leads up to the cloud" in message


def test_a_node_below_itself_is_a_cycle():
    assert "a -> a" in refusal("cloud 3", "x 0 cloud", "a 2 a")


def test_a_tree_without_a_cloud_is_refused():
    message = refusal("a 1 b", "b 2 a")
    assert "there is no cloud" in message
    assert "a -> b -> a" in message


def test_two_clouds_are_refused():
    message = refusal("cloud 2", "a 0 cloud", "sky 1", "b 0 sky")
    assert "2 nodes have no parent: 'cloud', 'sky'" in message
    assert "give 'sky' a parent" in message


def test_a_cloud_without_children_is_refused():
    assert "the cloud 'cloud' has no children" in refusal("cloud 2")


def test_a_gateway_without_children_is_refused():
    message = refusal("cloud 2", "a 0 cloud", "gw 1 cloud")
    assert "node 'gw' is on tier 1 and has no children" in message
    assert "if it is a gateway, give it children" in message


def test_a_device_that_is_not_on_tier_0_is_refused():
    assert "If it is a device, put it on tier 0" in refusal("cloud 2", "a 1 cloud")


@pytest.mark.parametrize(("child", "parent"), [(2, 2), (3, 2)])
def test_a_child_that_is_not_below_its_parents_tier_is_refused(child, parent):
    message = refusal("cloud 4", f"gw {parent} cloud", f"sub {child} gw", "a 0 sub")
    assert f"'sub' is on tier {child} and its parent 'gw' on tier {parent}" in message
    assert f"0 to {parent - 1} here" in message


def test_a_child_of_a_device_is_refused():
    message = refusal("cloud 2", "a 0 cloud", "b 0 a")
    assert "'b' hangs below 'a', which is a device" in message


@pytest.mark.parametrize("tier", [-1, TIERS_MAX + 1])
def test_a_tier_outside_0_to_8_is_refused(tier):
    message = refusal(f"cloud {tier}", "a 0 cloud")
    assert f"on tier {tier}; allowed are 0 (devices) to 8" in message


def test_more_children_than_the_limit_are_refused():
    devices = (f"d{number} 0 cloud" for number in range(CHILDREN_MAX + 1))
    assert f"{CHILDREN_MAX + 1} children; allowed are 1 to {CHILDREN_MAX}" in refusal(
        "cloud 1", *devices
    )


@st.composite
def trees(draw: st.DrawFn) -> Topology:
    """Any valid tree of up to eight tiers and some thirty nodes."""
    tiers = draw(st.integers(1, TIERS_MAX))
    nodes = [Node(id=NodeId("cloud"), tier=tiers)]
    todo = [nodes[0]]
    while todo:
        parent = todo.pop(0)
        for number in range(draw(st.integers(1, 3))):
            tier = 0 if len(nodes) > 20 else draw(st.integers(0, parent.tier - 1))
            child = Node(id=NodeId(f"n{len(nodes)}-{number}"), tier=tier, parent=parent.id)
            nodes.append(child)
            if tier > 0:
                todo.append(child)
    return Topology(tuple(draw(st.permutations(nodes))))


@given(topology=trees(), data=st.data())
def test_every_device_runs_the_same_local_steps_in_a_round_however_it_hangs(topology, data):
    tau = data.draw(st.tuples(*[st.integers(1, 5)] * topology.tiers))
    for device in topology.devices():
        path = topology.path_to_root(device)
        steps = math.prod(topology.repeats(tau, node_id) for node_id in path[:-1])
        assert steps == math.prod(tau)


@given(topology=trees())
def test_cells_share_out_all_nodes_but_the_cloud(topology):
    children = [child for cell in topology.cells() for child in cell.children]
    assert sorted([*children, topology.cloud]) == [n.id for n in topology]
    below = [
        d for child in topology.children(topology.cloud) for d in topology.devices_beneath(child)
    ]
    assert sorted(below) == list(topology.devices())
