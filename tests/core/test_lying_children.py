"""Children and strangers that lie are refused, and change nothing."""

from __future__ import annotations

import numpy as np
import pytest
from crooked_world import CENTRES, DIMENSION, Rogue, make_world, mean_of, open_cell
from world import FEDERATION, World
from world_shapes import make_plan, quadratic, regular

from fedtier.errors import EXIT_CONFIG
from fedtier.ids import BootNonce, IterationPath, RunId
from fedtier.sim.broker import MemoryTransport
from fedtier.wire.messages import Presence, Want
from fedtier.wire.parts import Outgoing

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
    expected = "stale" if lie in ("another base model", "another task") else "rejected"
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
