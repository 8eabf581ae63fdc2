"""A child says that its parent is gone, that it waits for it, and when it is back; else nothing."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core_messages import HEAD, PART_BYTES
from test_waiting import let_pass, make_world

from fedtier.core.child import ChildLink
from fedtier.core.effects import Note
from fedtier.core.events import Received
from fedtier.ids import BootNonce, NodeId
from fedtier.limits import WAITING_AGAIN_S, WAITING_FIRST_S
from fedtier.wire.head import Beacon
from fedtier.wire.messages import Presence
from fedtier.wire.topics import ALL

PARENT = NodeId("home-1")
BOOT = HEAD.nonce


class Child:
    """A child's link with the words it says of its parent, by the second."""

    def __init__(self):
        presence = Presence(status="online", nonce=BootNonce(4), ready=True, weight=1)
        self.link = ChildLink(
            node=NodeId("d0"), parent=PARENT, part_bytes=PART_BYTES, presence=presence
        )
        self.now_s = 0.0
        self.said = []
        self.take(self.link.connected(0.0))

    def take(self, effects):
        for effect in effects:
            if isinstance(effect, Note) and "parent" in effect.event and effect.level == "info":
                assert effect.fields["parent"] == PARENT
                self.said.append((self.now_s, effect.event, effect.fields.get("seconds")))

    def hear(self, message, *, retained=False):
        event = Received(side="up", node=ALL, message=message, retained=retained)
        self.take(self.link.hear(event, self.now_s))

    def hear_presence(self, status, *, nonce=BOOT, retained=False):
        self.hear(Presence(status=status, nonce=nonce), retained=retained)

    def let_pass(self, seconds):
        until_s = self.now_s + seconds
        while self.link.timer_s is not None and self.link.timer_s <= until_s:
            self.now_s = self.link.timer_s
            self.take(self.link.tick(self.now_s))
        self.now_s = until_s

    def reconnect(self):
        self.link.disconnected()
        self.take(self.link.connected(self.now_s))


@pytest.fixture
def child():
    return Child()


def test_a_child_that_never_heard_of_its_parent_says_whom_it_waits_for_soon_then_seldom(child):
    child.let_pass(130)
    first, again = WAITING_FIRST_S, WAITING_AGAIN_S
    assert child.said == [
        (at_s, "waiting for parent", at_s) for at_s in (first, first + again, first + 2 * again)
    ]
    child.hear_presence("online")
    assert child.said[-1] == (130, "parent is there", None)
    child.let_pass(60)
    assert child.said[-1][1] == "parent is there"


@pytest.mark.parametrize(("status", "word"), [("lost", "parent lost"), ("leaving", "parent left")])
@pytest.mark.parametrize("retained", [False, True])
def test_the_going_and_coming_of_a_parent_are_told_and_the_wait_between(
    child, status, word, retained
):
    child.hear_presence("online")
    child.hear(HEAD)
    child.let_pass(5)
    child.hear_presence(status, retained=retained)
    child.let_pass(20)
    child.hear_presence("online", nonce=BootNonce(77))
    assert child.said == [
        (5, word, None), (15, "waiting for parent", 10), (25, "parent is back", 20),
    ]  # fmt: skip


def test_after_a_finished_run_a_parent_may_leave_and_nobody_waits_for_it(child):
    child.hear_presence("online")
    child.hear(replace(HEAD, state="finished", members=()))
    child.hear_presence("leaving")
    child.let_pass(300)
    assert child.said == [(0, "parent left", None)]


def test_what_the_broker_keeps_of_a_parent_is_told_once_however_often_it_is_heard(child):
    for _ in range(3):
        child.hear_presence("lost", retained=True)
        child.let_pass(1)
        child.reconnect()
    assert [event for _, event, _ in child.said] == ["parent lost"]


def test_a_parent_that_is_there_is_not_spoken_of_over_reconnections(child):
    for _ in range(5):
        child.hear_presence("online", retained=True)
        child.hear(HEAD)
        child.let_pass(3)
        child.reconnect()
        child.let_pass(3)
    assert child.said == []


def test_a_sign_of_life_is_enough_where_the_broker_has_kept_no_presence(child):
    beacon = Beacon(
        nonce=BOOT, seq=HEAD.seq, run=HEAD.run, epoch=HEAD.epoch, path=HEAD.path, state=HEAD.state
    )
    child.hear(beacon)
    child.let_pass(40)
    assert child.said == []


def test_a_message_that_was_on_its_way_does_not_bring_a_lost_parent_back(child):
    child.hear_presence("lost", retained=True)
    child.hear(HEAD)
    child.let_pass(12)
    assert [event for _, event, _ in child.said] == ["parent lost", "waiting for parent"]


def test_the_will_of_an_earlier_boot_says_nothing_of_the_one_that_is_there(child):
    child.hear_presence("online", nonce=BootNonce(77))
    child.hear_presence("lost")
    child.let_pass(60)
    assert child.said == []


def test_without_a_connection_the_parent_is_not_waited_for(child):
    child.link.disconnected()
    child.let_pass(300)
    assert child.said == []


def test_a_whole_run_says_nothing_of_parents_and_a_crash_is_told_by_the_children_alone(tmp_path):
    world = make_world(tmp_path, slow=["d0"], rounds=4)
    let_pass(world, 60)
    assert words(world) == {}
    world.crash("g1-0")
    let_pass(world, 30)
    world.start("g1-0")
    world.run()
    assert words(world) == {
        child: ["parent lost", "waiting for parent", "parent is back"] for child in ("d0", "d1")
    }


def words(world):
    """What each node said of its parent, by node, of those that spoke."""
    said = {
        name: [n.event for n in node.notes if "parent" in n.event and n.level == "info"]
        for name, node in world.nodes.items()
    }
    return {name: events for name, events in said.items() if events}
