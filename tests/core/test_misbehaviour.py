"""Children and strangers that lie, fail, fall silent or speak twice; parents that lie."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from world import ARTEFACT, FEDERATION, World
from world_shapes import make_plan, quadratic, random_centres, regular

from fedtier.errors import EXIT_CONFIG, TrainingError
from fedtier.ids import BootNonce, IterationPath, NodeId, RunId
from fedtier.limits import WINDOW_PARTS
from fedtier.transport.memory import MemoryTransport
from fedtier.wire.head import BlobRef
from fedtier.wire.manifest import UpdateManifest, decode_model, encode_model, encode_update
from fedtier.wire.messages import Presence, Want
from fedtier.wire.packets import decode_packet, encode_packet
from fedtier.wire.parts import Outgoing
from fedtier.wire.plan import CodecSpec
from fedtier.wire.topics import Topic

DIMENSION = 2500
CENTRES = random_centres(regular(2, 2, 2), seed=1, dimension=DIMENSION)


def make_world(disk, *fan_outs, tau=None, train=None, rounds=1, world_options=None, **plan):
    shape = regular(*fan_outs)
    tau = tau or (1,) * len(fan_outs)
    return World(
        shape, make_plan(tau, rounds=rounds, **plan), train or quadratic(CENTRES), disk=disk,
        start=np.zeros(DIMENSION), **(world_options or {}),
    )  # fmt: skip


class Rogue:
    """A client that says what it likes on one broker, and hears what it asks for."""

    def __init__(self, world: World, cell: str, *, hears: str = "nothing") -> None:
        self.world, self.cell = world, NodeId(cell)
        self.heard: list[object] = []
        filters = [(f"fedtier/v1/{FEDERATION}/{cell}/{hears}", 1)]
        self.transport = MemoryTransport(world.brokers[self.cell], "rogue", filters, self)
        self.transport.start()

    def connected(self): ...
    def disconnected(self, reason, *, taken_over): ...

    def message(self, topic, payload, retained):
        self.heard.append(decode_packet(Topic.parse(topic), payload))

    def say(self, message, *, node="all"):
        topic, payload, qos, _ = encode_packet(
            message, federation=FEDERATION, cell=self.cell, node=NodeId(node)
        )
        self.transport.publish(topic, payload, qos=qos, retain=False)

    def update(self, child, head, delta, **changes):
        manifest = UpdateManifest(
            run=head.run, path=head.path, node=NodeId(child), task=head.task, base=head.model,
            layout=head.layout, weight=1, codec="identity",
        )  # fmt: skip
        manifest = replace(manifest, **changes)
        sections = (np.asarray(delta, "<f4").tobytes(),) if manifest.weight else ()
        return encode_update(manifest, sections)

    def offer(self, node, head, blob, *, parts=None):
        outgoing = Outgoing(blob, kind="update", part_bytes=65_536)
        for index in range(outgoing.parts) if parts is None else parts:
            self.say(
                outgoing.part(
                    index, run=head.run, epoch=head.epoch, path=head.path, nonce=head.nonce,
                    seq=head.seq,
                ),
                node=node,
            )  # fmt: skip


def open_cell(world, node="cloud"):
    world.run(until=lambda world: world.nodes[node].machine.cell.state == "collecting")
    return world.nodes[node].machine.cell.head


def mean_of(devices, steps=1):
    return np.mean([CENTRES[d] * (1 - 0.9**steps) for d in devices], axis=0, dtype=np.float64)


# Children that fail


def failing(*devices):
    def train(node, head, model):
        if node in devices:
            raise TrainingError("out of memory \N{PILE OF POO}" * 50)
        return quadratic(CENTRES)(node, head, model)

    return train


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
    def train(node, head, model):
        if node in ("d0", "d1") and head.path.indices[-1] != 1:
            raise TrainingError("asleep")
        return quadratic(CENTRES)(node, head, model)

    world = make_world(tmp_path, 2, 2, tau=(1, 3), train=train)
    world.run()
    assert ("g1-0", "r0.1", ("d0", "d1")) in world.sums
    expected = (mean_of(["d0", "d1"], 1) + mean_of(["d2", "d3"], 3)) / 2
    np.testing.assert_allclose(world.model, expected, atol=1e-6)
    assert world.nodes["g1-0"].events.count("empty iteration") == 2


@pytest.mark.covers("H-7")
@pytest.mark.covers("H-8")
def test_an_empty_iteration_that_was_closed_is_not_opened_again_after_a_restart(tmp_path):
    def train(node, head, model):
        if node in ("d0", "d1") and head.path.indices[-1] == 0:
            raise TrainingError("asleep")
        return quadratic(CENTRES)(node, head, model)

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
    def train(node, head, model):
        if head.path.indices[0] in (1, 3):
            raise TrainingError("asleep")
        return quadratic(CENTRES)(node, head, model)

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
    def train(node, head, model):
        if node == "d0" or (node == "d1" and head.path.indices[-1] == 1):
            raise TrainingError("asleep")
        return quadratic(CENTRES)(node, head, model)

    world = make_world(tmp_path, 2, 2, tau=(1, 3), train=train, rounds=2)
    world.run()
    one, two = (world.cloud.finished.figures.links[link] for link in (1, 2))
    assert (one.updates, one.q_count, one.abstained) == (2 * 3 * 4 + 4, 2 * (12 - 3 - 1), 2 * 4)
    assert (two.updates, two.q_count, two.abstained) == (2 * 2 + 2, 2 * 2, 0)


# Quorum and deadline


def silent(*devices):
    return {"work_s": lambda node: 1e9 if node in devices else 1.0}


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


# Lies about an update


LIES = {
    "another base model": {"base": "ee" * 32},
    "another layout": {"layout": "ee" * 32},
    "another weight": {"weight": 2},
    "another node": {"node": "d1"},
    "another path": {"path": IterationPath((7,))},
    "another run": {"run": RunId(7)},
    "another task": {"task": "evaluate"},
    "odd figures": {"figures": {"l": [[1, "x"]], "t": 5}},
    "an abstention without a reason": {"weight": 0},
    "a number that is none": np.nan,
    "a number out of range": 1e6,
}


@pytest.mark.parametrize("lie", LIES, ids=str)
@pytest.mark.covers("R-2")
@pytest.mark.covers("R-7")
def test_an_update_that_lies_is_refused_and_the_honest_one_counts(tmp_path, lie):
    world = make_world(tmp_path, 3, world_options={"work_s": lambda node: 10.0})
    head = open_cell(world)
    rogue = Rogue(world, "cloud", hears="+/ack")
    what = LIES[lie]
    changes = what if isinstance(what, dict) else {}
    delta = np.full(DIMENSION, what if not isinstance(what, dict) else 1.0)
    rogue.offer("d0", head, rogue.update("d0", head, delta, **changes))
    world.settle()
    expected = "stale" if lie == "another base model" else "rejected"
    assert [ack.verdict for ack in rogue.heard] == [expected]
    world.run()
    np.testing.assert_allclose(world.model, mean_of(["d0", "d1", "d2"]), atol=1e-6)


@pytest.mark.covers("T-11")
def test_a_second_update_under_the_same_id_is_a_conflict_and_changes_nothing(tmp_path):
    world = make_world(tmp_path, 3, world_options={"work_s": lambda n: 50.0 if n == "d2" else 0.0})
    head = open_cell(world)
    world.run(until=lambda world: world.nodes["d0"].machine.state == "settled")
    rogue = Rogue(world, "cloud", hears="d0/ack")
    rogue.offer("d0", head, rogue.update("d0", head, np.ones(DIMENSION)))
    world.run()
    assert rogue.heard[0].verdict == "rejected"
    assert rogue.heard[0].reason.startswith("conflict")
    np.testing.assert_allclose(world.model, mean_of(["d0", "d1", "d2"]), atol=1e-6)


@pytest.mark.covers("R-7")
def test_a_truncated_blob_frees_its_place(tmp_path):
    world = make_world(tmp_path, 3, world_options={"work_s": lambda node: 10.0})
    head = open_cell(world)
    rogue = Rogue(world, "cloud", hears="+/ack")
    blob = rogue.update("d0", head, np.ones(DIMENSION))
    rogue.offer("d0", head, blob[:-400])
    rogue.offer("d1", head, blob[:30])
    world.run()
    assert [ack.verdict for ack in rogue.heard][:2] == ["rejected", "rejected"]
    np.testing.assert_allclose(world.model, mean_of(["d0", "d1", "d2"]), atol=1e-6)


@pytest.mark.covers("T-9")
def test_an_update_larger_than_its_codec_writes_is_refused_before_it_is_fetched(tmp_path):
    world = make_world(tmp_path, 3, world_options={"work_s": lambda node: 10.0})
    head = open_cell(world)
    rogue = Rogue(world, "cloud", hears="+/ack")
    rogue.offer("d0", head, rogue.update("d0", head, np.ones(200_000)), parts=[0])
    world.run()
    assert "are expected here" in rogue.heard[0].reason


@pytest.mark.covers("H-3")
def test_an_evaluation_with_a_weight_is_refused(tmp_path):
    world = make_world(tmp_path, 3, rounds=1, world_options={"work_s": lambda node: 10.0})
    world.run(until=lambda world: world.rounds_done == 1)
    head = open_cell(world)
    assert head.task == "evaluate"
    rogue = Rogue(world, "cloud", hears="+/ack")
    rogue.offer("d0", head, rogue.update("d0", head, np.ones(DIMENSION)))
    world.run()
    assert rogue.heard[0].verdict == "rejected"


@pytest.mark.covers("M-2")
def test_whoever_is_on_no_list_is_told_so_and_changes_nothing(tmp_path):
    world = make_world(tmp_path, 3, world_options={"work_s": lambda node: 10.0})
    rogue = Rogue(world, "cloud", hears="stranger/ack")
    online = Presence(status="online", nonce=BootNonce(99), ready=True, weight=1, devices=1)
    rogue.say(online, node="stranger")
    head = open_cell(world)
    blob = rogue.update("stranger", head, np.ones(DIMENSION))
    rogue.offer("stranger", head, blob)
    outgoing = Outgoing(blob, kind="update", part_bytes=4096)
    rogue.say(
        outgoing.part(1, run=head.run, epoch=0, path=head.path, nonce=head.nonce, seq=head.seq),
        node="stranger",
    )
    rogue.say(Want(digest=head.blobs[0].digest, parts=(0,)), node="stranger")
    world.run()
    assert [ack.reason for ack in rogue.heard] == ["not a member"]
    assert "stranger" in world.cloud.events
    np.testing.assert_allclose(world.model, mean_of(["d0", "d1", "d2"]), atol=1e-6)


def test_a_member_of_the_list_that_was_not_admitted_is_refused(tmp_path):
    world = World(
        regular(3), make_plan((1,)), quadratic(CENTRES), disk=tmp_path, start=np.zeros(DIMENSION),
        members_min={"cloud": 2}, starting_order=["cloud", "d0", "d1"], work_s=lambda node: 9.0,
    )  # fmt: skip
    head = open_cell(world)
    rogue = Rogue(world, "cloud", hears="d2/ack")
    rogue.offer("d2", head, rogue.update("d2", head, np.ones(DIMENSION)))
    world.run()
    assert rogue.heard[0].reason == "not a member of round 0"


@pytest.mark.covers("P-5")
def test_garbage_on_every_topic_changes_nothing(tmp_path):
    dice = np.random.default_rng(5)
    world = make_world(tmp_path, 2, 2, tau=(1, 2), world_options={"work_s": lambda node: 10.0})
    for time_s in range(1, 60, 3):

        def spill(time_s=time_s):
            for cell, broker in world.brokers.items():
                transport = MemoryTransport(broker, f"spill{time_s}", [], Rogue.__new__(Rogue))
                transport.start()
                for node in ("all", "d0", "d1", "g1-0"):
                    for channel in (
                        "presence",
                        "head",
                        "want",
                        "ack",
                        "model/0",
                        "update/0",
                        "odd",
                    ):
                        payload = [dice.bytes(50), b"", b"{}", b"[1]", b"FTP1" + dice.bytes(90)]
                        for junk in payload:
                            topic = f"fedtier/v1/{FEDERATION}/{cell}/{node}/{channel}"
                            transport.publish(topic, junk, qos=1, retain=time_s == 1)
                transport.close()

        world.at(float(time_s), spill)
    world.run()
    np.testing.assert_allclose(world.model, mean_of(["d0", "d1", "d2", "d3"], 2), atol=1e-6)
    assert len(world.cloud.garbage) > 100


@pytest.mark.parametrize("child", ["d0", "g1-0"])
def test_lies_in_a_presence_cannot_silence_the_gateway_above(tmp_path, child):
    """Weights too large to be summed exactly are refused with what to do, not with a crash."""
    world = make_world(tmp_path, 2, 2, world_options={"work_s": lambda node: 10.0})
    lie = Presence(
        status="online", nonce=BootNonce(99), ready=True, weight=2**31 - 1, devices=2,
        beneath="ff" * 8,
    )  # fmt: skip
    rogue = Rogue(world, "g1-0" if child == "d0" else "cloud")
    world.at(1.0, lambda: rogue.say(lie, node=child))  # after the honest one
    world.run(until=lambda world: world.now_s > 100 or world.cloud.stopped is not None)
    if child == "g1-0":
        assert world.cloud.stopped.exit_code == EXIT_CONFIG
        assert 'weights = "devices"' in world.cloud.stopped.reason


# K and windows


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


# Two parents


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


# Parents that lie


def lying_head(world, rogue, **changes):
    """A head of a new boot of d0's parent, on its own model of zeros, with these changes."""
    real = open_cell(world)
    lie = replace(real, nonce=BootNonce(77), seq=1, path=IterationPath((3,)))
    lie = replace(lie, **{k: v for k, v in changes.items() if k != "blob"})
    rogue.say(lie)
    world.settle()
    return lie


def one_answer(world, **changes):
    rogue = Rogue(world, "cloud", hears="d0/update/0")
    lying_head(world, rogue, **changes)
    world.run(until=lambda world: bool(rogue.heard) or world.now_s > 50)
    return rogue.heard[0] if rogue.heard else None


@pytest.mark.parametrize(
    "lie",
    [
        {"blobs": ()},
        {"blobs": (BlobRef(form="zlib", digest="ab" * 32, total=10, parts=1),)},
        {"blobs": (BlobRef(form="float32", digest="ab" * 32, total=2**31, parts=9),)},
        {"blobs": (BlobRef(form="float32", digest="ab" * 32, total=3, parts=9),)},
        {"artefact": "cd" * 32, "artefact_blob": None},
        {"layout": "cd" * 32}, {"dimension": 7}, {"task": "gradient"},
    ],
    ids=str,
)  # fmt: skip
def test_a_head_that_cannot_be_served_is_answered_by_an_abstention_with_the_reason(tmp_path, lie):
    if "blobs" in lie:
        lie = {"model": "aa" * 32} | lie
    world = make_world(tmp_path, 3, world_options={"work_s": lambda node: 30.0})
    assert one_answer(world, **lie) is not None
    note = next(n for n in world.nodes["d0"].notes if n.event == "abstained")
    assert note.fields["reason"]


def test_a_head_with_an_unknown_codec_is_answered_by_an_abstention(tmp_path):
    world = make_world(tmp_path, 3, world_options={"work_s": lambda node: 30.0})
    plan = replace(world.plan, codecs=(CodecSpec(name="wavelet"),))
    assert one_answer(world, plan=plan) is not None


@pytest.mark.parametrize("kind", ["another model", "another dimension", "no model"])
@pytest.mark.covers("W-10")
def test_a_model_that_is_not_what_the_head_says_is_not_trained_from(tmp_path, kind):
    world = make_world(tmp_path, 3, world_options={"work_s": lambda node: 30.0})
    head = open_cell(world)
    vector = np.ones(DIMENSION if kind == "another model" else 7, np.float32)
    blob = encode_model(vector, model=head.model, layout=head.layout)
    if kind == "no model":
        blob = b"x" * len(blob)
    outgoing = Outgoing(blob, kind="model", part_bytes=65_536)
    rogue = Rogue(world, "cloud", hears="d0/+")
    listed = BlobRef(form="float32", digest=outgoing.digest, total=len(blob), parts=outgoing.parts)
    lying_head(world, rogue, model="aa" * 32, blobs=(listed,))
    for index in range(outgoing.parts):
        rogue.say(
            outgoing.part(index, run=head.run, epoch=0, path=head.path, nonce=BootNonce(77), seq=1)
        )
    world.settle()
    assert world.nodes["d0"].machine.state in ("offering", "settled")
    assert "abstained" in world.nodes["d0"].events


@pytest.mark.parametrize(
    "lie",
    [
        {"tier": 1},
        {"task": "gradient"},
        {"codec": "wavelet"},
        {"range_bits": 30},
    ],
    ids=str,
)
@pytest.mark.covers("H-3")
def test_a_gateway_refuses_what_its_cell_could_not_carry_out(tmp_path, lie):
    heavy = {"d0": 2**10, "d1": 2**10}
    world = World(
        regular(2, 2, weights=heavy), make_plan((1, 1)), quadratic(CENTRES), disk=tmp_path,
        start=np.zeros(DIMENSION), work_s=lambda node: 30.0,
    )  # fmt: skip
    plan = world.plan
    if "codec" in lie:
        plan = replace(plan, codecs=(CodecSpec(name="wavelet"), plan.codecs[1]))
    if "range_bits" in lie:
        plan = replace(plan, range_bits=30)
    head = open_cell(world)
    rogue = Rogue(world, "cloud", hears="g1-0/update/0")
    beneath = world.nodes["g1-0"].machine._presence.beneath
    members = tuple(replace(m, beneath=beneath) if m.node == "g1-0" else m for m in head.members)
    changes = {k: v for k, v in lie.items() if k in ("tier", "path", "task")}
    changes = {"path": IterationPath((3,))} | changes
    rogue.say(replace(head, nonce=BootNonce(77), seq=1, plan=plan, members=members, **changes))
    world.run(until=lambda world: bool(rogue.heard) or world.now_s > 25)
    assert "abstained" in world.nodes["g1-0"].events


@pytest.mark.covers("H-2")
def test_the_last_model_of_a_finished_run_is_kept_by_every_device(tmp_path):
    world = make_world(tmp_path, 2, 2, 2)
    world.run()
    world.settle()
    world.run(until=lambda world: world.now_s > 100)
    for device in world.shape.devices:
        kept, digest, _ = decode_model(world.nodes[device].kept.model)
        np.testing.assert_array_equal(kept, world.model)
        assert digest == world.digest
        assert world.nodes[device].kept.head.artefact == ARTEFACT


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
