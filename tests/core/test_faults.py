"""Lost, doubled, late and crossed messages, crashes and empty disks: the digest stays the same."""

from __future__ import annotations

import functools
import itertools
import random
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from world import World
from world_faults import befall
from world_shapes import Shape, irregular, make_plan, quadratic, random_centres, regular

from fedtier.sim.faults import Faults
from fedtier.wire.plan import CodecSpec

QSGD = CodecSpec(name="qsgd", parameters=(("bucket", 64), ("levels", 3)))
DIMENSION = 2500  # models of three parts, updates of one part and of three
SEEDS = range(5)

TREE = regular(2, 2, 2)
CROOKED = irregular(11, 3)
PLAN = make_plan((2, 1, 2), rounds=2, codecs=(QSGD, make_plan((1,)).codecs[0], QSGD), beacon_s=15.0)


def work_s(seed: int):
    """Jobs of all lengths up to half a minute of virtual time."""
    return lambda node: random.Random(f"{seed} {node}").choice([0.0, 0.5, 3.0, 30.0])


def make_world(shape: Shape, disk: Path, **options) -> World:
    centres = random_centres(shape, seed=1, dimension=DIMENSION)
    options = {"plan": PLAN, "train": quadratic(centres)} | options
    return World(shape, options.pop("plan"), disk=disk, start=np.zeros(DIMENSION), **options)


@functools.cache
def perfect_digest(name: str) -> str:
    with tempfile.TemporaryDirectory() as disk:
        world = make_world(SHAPES[name], Path(disk))
        world.run()
        return world.digest


SHAPES = {"regular": TREE, "crooked": CROOKED}


@pytest.fixture
def make(tmp_path) -> Iterator[object]:
    """Worlds that are checked at the end: every round closed, to the bit as without faults."""
    worlds = []

    def make(seed: int, name: str = "regular", **options) -> World:
        world = make_world(
            SHAPES[name], tmp_path / f"{len(worlds)}", interleaving=seed, work_s=work_s(seed),
            **options,
        )  # fmt: skip
        worlds.append((name, world))
        return world

    yield make
    for name, world in worlds:
        world.run(limit_s=20_000)
        assert world.digest == perfect_digest(name)
        world.settle()
        assert not any(node.garbage for node in world.nodes.values())


# Without any disconnection


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.covers("P-4")
@pytest.mark.covers("X-1")
def test_finite_drops_doubles_reorders_and_delays_change_no_bit(make, seed, name):
    world = make(seed, name)
    befallen = befall(world, budget=500)
    world.run(limit_s=20_000)
    assert befallen.touched > 50


@pytest.mark.parametrize("seed", SEEDS[:4])
@pytest.mark.parametrize("channel", ["presence", "head", "model", "update", "want", "ack"], ids=str)
def test_heavy_loss_on_one_channel_is_survived(make, channel, seed):
    world = make(seed)
    befall(
        world, drop=0.8, double=0.1, reorder=0.05, delay=0.05, budget=60,
        touches=lambda delivery: f"/{channel}" in delivery.topic,
    )  # fmt: skip


# Connections


@pytest.mark.parametrize("seed", SEEDS)
def test_connections_that_come_and_go_change_no_bit(make, seed):
    befall(make(seed), Faults(cut=25, until=150))


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_brokers_that_forget_all_they_retained_change_no_bit(make, seed):
    befall(make(seed), Faults(restart=8, until=150))


# Crashes


@pytest.mark.parametrize("name", SHAPES)
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.covers("X-1")
def test_crashes_of_any_nodes_at_any_time_change_no_bit(make, seed, name):
    befall(make(seed, name), Faults(crash=8, until=150))


@pytest.mark.parametrize("seed", SEEDS)
def test_crashes_on_a_bad_network_change_no_bit(make, seed):
    world = make(seed)
    befall(world, budget=300)
    befall(world, Faults(crash=6, until=150))


@pytest.mark.parametrize("node", ["cloud", "g2-0", "g1-1", "d3"])
@pytest.mark.covers("H-7")
@pytest.mark.covers("S-2")
def test_a_crash_after_any_number_of_steps_changes_no_bit(tmp_path, node):
    """Points all over the run at which this node is killed."""
    whole = make_world(TREE, tmp_path / "whole")
    steps = 0
    while whole.cloud.finished is None:
        whole.step()
        steps += 1
    for point in range(0, steps, max(40, steps // 6)):
        world = make_world(TREE, tmp_path / str(point))
        for _ in range(point):
            world.step()
        world.restart(node)
        world.run(limit_s=20_000)
        assert world.digest == perfect_digest("regular"), f"killed after step {point}"


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_all_nodes_killed_at_once_go_on_where_they_were(make, seed):
    world = make(seed)
    world.run(until=lambda world: world.now_s > 20 + 10 * seed)
    for node in [*world.nodes]:
        world.crash(node)
    for node in [*world.nodes]:
        world.start(node)


@pytest.mark.parametrize("seed", SEEDS[:4])
def test_an_empty_disk_in_a_gateway_changes_no_bit(make, seed):
    world, dice = make(seed), random.Random(seed)
    node = dice.choice(TREE.gateways)
    world.run(until=lambda world: world.now_s > dice.uniform(1, 80))
    world.crash(node)
    world.wipe(node)
    world.start(node)


@pytest.mark.parametrize("seed", SEEDS[:4])
@pytest.mark.covers("H-4")
def test_a_cloud_restored_from_the_snapshot_before_reaches_the_same_model(make, seed):
    """The epoch rises, so that children who have seen later heads obey the earlier state."""
    world = make(seed, plan=make_plan(PLAN.tau, rounds=2, codecs=PLAN.codecs))
    world.run(until=lambda world: world.rounds_done == 2)
    world.crash("cloud")
    (world.disk / "cloud" / "snapshot.record").unlink()
    world.start("cloud")
    assert world.rounds_done == 1
    world.run(until=lambda world: world.cloud.machine.cell.head is not None)
    assert world.cloud.machine.cell.head.epoch == 1


@pytest.mark.covers("S-5")
def test_a_restarted_parent_counts_what_its_spool_holds(make):
    """One device is slow: its siblings' updates survive their gateway, and are not asked again."""
    world = make(0)
    world.work_s = lambda node: 1000.0 if node == "d0" else 0.0
    spool = world.disk / "g1-0" / "spool"
    world.run(until=lambda world: any(spool.glob("*/*/d1")))
    asked = len(world.trained)
    world.restart("g1-0")
    world.run(until=lambda world: world.nodes["g1-0"].machine.cell.state == "collecting")
    assert world.nodes["g1-0"].machine.cell.missing() == ("d0",)
    world.work_s = lambda node: 0.0
    world.run(until=lambda world: world.nodes["d1"].machine.state == "settled")
    assert world.trained[asked:].count(("d1", "r0.0.0")) == 0


@pytest.mark.covers("T-13")
@pytest.mark.covers("S-5")
def test_a_torn_spool_file_is_offered_again(make):
    world = make(0)
    world.work_s = lambda node: 100.0 if node == "d0" else 0.0
    spool = world.disk / "g1-0" / "spool"
    world.run(until=lambda world: any(spool.glob("*/*/d1")))
    torn = next(spool.glob("*/*/d1"))
    torn.write_bytes(torn.read_bytes()[:-5])
    world.restart("g1-0")


@pytest.mark.covers("P-8")
@pytest.mark.parametrize(("node", "side"), [("d1", "up"), ("g1-0", "up"), ("g1-0", "down")])
def test_a_broker_that_stops_delivering_to_one_connection_is_outlived(make, node, side):
    """No message at QoS 1 gets through to it, until it connects anew."""
    world = make(0)
    transport = world.nodes[node].transport(side)
    cell = transport.will.topic.split("/")[3]
    world.run(until=lambda world: world.nodes[node].machine.timer_s and world.sums)
    deaf = transport._connection

    def fault(delivery):
        lost = delivery.client_id == transport.client_id and transport._connection == deaf
        at_most_once = delivery.topic.endswith(("/ack", "/want")) or b"beacon" in delivery.payload
        return () if lost and not at_most_once else (0,)

    world.brokers[cell].fault = fault
    world.run()
    assert "nothing is delivered" in world.nodes[node].events


@pytest.mark.covers("H-9")
def test_signs_of_life_are_said_and_heard_however_fast_heads_follow_one_another(tmp_path):
    plan = make_plan((2, 1, 2), rounds=10, beacon_s=15.0)
    world = make_world(TREE, tmp_path / "fast", plan=plan, work_s=lambda node: 2.0)
    said: list[float] = []

    def note(delivery):
        if delivery.topic.endswith("/all/presence") and delivery.client_id == "d0":
            said.append(world.now_s)
        return (0,)

    for broker in world.brokers.values():
        broker.fault = note
    world.run()
    assert world.now_s > 4 * plan.beacon_s
    pauses_s = [b - a for a, b in itertools.pairwise(said)]
    assert max(pauses_s) <= plan.beacon_s
    for node in world.nodes.values():
        assert "nothing is delivered" not in node.events, node.node


def test_nobody_connects_anew_where_nothing_is_to_be_heard(make):
    """Between runs, or while a parent is away, silence is what there is."""
    world = make(0)
    world.run()
    world.settle()
    world.crash("cloud")
    world.crash("g1-1")
    gone = world.now_s
    world.run(until=lambda world: world.now_s > gone + 4000, limit_s=1e9)
    for node in world.nodes.values():
        assert "nothing is delivered" not in node.events, node.node
    world.start("g1-1")
    world.start("cloud")


# A second run


@pytest.mark.parametrize("whole_fleet", [False, True], ids=["the cloud alone", "everybody"])
@pytest.mark.covers("H-1")
def test_a_second_run_on_brokers_full_of_the_first_ones_messages_is_as_on_clean_ones(
    tmp_path, whole_fleet
):
    other_plan = make_plan(PLAN.tau, rounds=2, seed=8, codecs=PLAN.codecs)
    clean = make_world(TREE, tmp_path / "clean", plan=other_plan, run=2)
    clean.run()
    world = make_world(TREE, tmp_path / "used", work_s=work_s(0))
    world.run()
    assert world.digest == perfect_digest("regular")
    nodes = [*world.nodes] if whole_fleet else ["cloud"]
    for node in nodes:
        world.crash(node)
    world.begin_run(2, other_plan)
    for node in nodes:
        world.start(node)
    world.run()
    assert world.digest == clean.digest != perfect_digest("regular")


# Recoveries, one by one, with their times


@pytest.mark.covers("T-12")
def test_a_lost_head_is_recovered_by_the_next_beacon(make):
    world = make(0, plan=PLAN)
    world.work_s = lambda node: 0.0
    lost = []

    def fault(delivery):
        if delivery.client_id == "d0" and delivery.topic.endswith("all/head") and not lost:
            lost.append(delivery)
            return ()
        return (0,)

    world.brokers["g1-0"].fault = fault
    world.run(until=lambda world: bool(lost))
    lost_s = world.now_s
    world.run(until=lambda world: ("d0", "r0.0.0") in world.trained)
    assert lost_s + 14 < world.now_s <= lost_s + PLAN.beacon_s + 2 * 2.5


@pytest.mark.covers("T-1")
def test_a_lost_offer_is_repeated_after_five_seconds(make):
    world = make(0)
    world.work_s = lambda node: 0.0
    lost_s = []

    def fault(delivery):
        if "d0/update/0" in delivery.topic and not lost_s:
            lost_s.append(world.now_s)
            return ()
        return (0,)

    world.brokers["g1-0"].fault = fault
    world.run(until=lambda world: world.nodes["d0"].machine.state == "settled")
    assert lost_s[0] + 5 <= world.now_s <= lost_s[0] + 5.5


@pytest.mark.covers("T-4")
def test_lost_parts_are_asked_for_again_after_two_seconds(make):
    world = make(0)
    world.work_s = lambda node: 0.0
    lost_s = []

    def fault(delivery):
        if "g1-0/update/1" in delivery.topic and not lost_s:
            lost_s.append(world.now_s)
            return ()
        return (0,)

    world.brokers["g2-0"].fault = fault
    world.run(until=lambda world: bool(lost_s))
    world.run(until=lambda world: world.nodes["g1-0"].machine.link.state == "settled")
    assert lost_s[0] + 2 <= world.now_s <= lost_s[0] + 99, world.now_s - lost_s[0]


@pytest.mark.covers("T-6")
def test_a_device_that_missed_the_model_asks_for_it_when_a_slow_line_would_have_brought_it(make):
    world = make(0)
    world.work_s = lambda node: 0.0
    lost_s = []

    def fault(delivery):
        if delivery.client_id == "d0" and "all/model" in delivery.topic:
            lost_s.append((world.now_s, len(delivery.payload)))
            return ()
        return (0,)

    world.brokers["g1-0"].fault = fault
    world.run(until=lambda world: ("d0", "r0.0.0") in world.trained)
    waited_s = world.now_s - lost_s[0][0]
    assert 2 <= waited_s <= max(2, sum(bytes_ for _, bytes_ in lost_s) / 2000) + 0.5


@pytest.mark.covers("M-5")
def test_a_presence_that_was_lost_is_said_again_within_half_a_minute(make):
    world = make(0)
    lost = []

    def fault(delivery):
        if "d0/presence" in delivery.topic and len(lost) < 2:
            lost.append(delivery)
            return ()
        return (0,)

    world.brokers["g1-0"].fault = fault
    world.brokers["g1-0"].retained.clear()
    world.run(until=lambda world: bool(world.trained))
    assert world.now_s < 65
