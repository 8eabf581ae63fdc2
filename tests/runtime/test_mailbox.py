"""The mailbox is bounded, and whatever ends a node gets through it."""

from __future__ import annotations

import logging

import pytest
from runtime_world import URL, Node, Scripted, arrive, presence_of

from fedtier.core.events import Connected
from fedtier.limits import MAILBOX_BYTES_MAX
from fedtier.runtime.mailbox import Arrived, Mailbox

UPDATE = "fedtier/v1/f/gw/d1/update/0"
MODEL = "fedtier/v1/f/gw/all/model/3"


def drain(mailbox):
    items = []
    while (item := mailbox.get(0)) is not None:
        items.append(item)
    return items


@pytest.mark.parametrize("topic", [UPDATE, MODEL, "nothing/of/ours"])
def test_parts_and_garbage_beyond_the_bound_are_dropped_and_counted(topic):
    mailbox = Mailbox(bytes_max=10_000)
    for _ in range(100):
        mailbox.inbox("down").message(topic, bytes(1000), False)
    kept = drain(mailbox)
    assert 5 <= len(kept) < 10
    assert mailbox.dropped == 100 - len(kept)


def test_room_comes_back_with_what_is_taken_out():
    mailbox = Mailbox(bytes_max=10_000)
    for _ in range(100):
        mailbox.inbox("down").message(UPDATE, bytes(9000), False)
        assert len(drain(mailbox)) == 1
    assert mailbox.dropped == 0


def test_even_empty_parts_take_room():
    mailbox = Mailbox(bytes_max=10_000)
    for _ in range(1000):
        mailbox.inbox("down").message(UPDATE, b"", False)
    assert len(drain(mailbox)) < 40


CONTROL = [
    presence_of("d1")[0], "fedtier/v1/f/gw/d1/want", "fedtier/v1/f/gw/d1/ack",
    "fedtier/v1/f/gw/all/head",
]  # fmt: skip


def test_what_is_no_part_has_room_when_parts_have_none():
    mailbox = Mailbox(bytes_max=10_000)
    inbox = mailbox.inbox("down")
    while not mailbox.dropped:
        inbox.message(UPDATE, bytes(1000), False)
    for topic in CONTROL:
        inbox.message(topic, bytes(1000), False)
    assert mailbox.dropped == 1
    assert [item.topic for item in drain(mailbox)[-4:]] == CONTROL


@pytest.mark.parametrize("topic", CONTROL)
def test_a_flood_of_any_kind_takes_bounded_room_and_keeps_no_event_out(topic):
    mailbox = Mailbox(bytes_max=10_000)
    inbox = mailbox.inbox("down")
    for _ in range(100):
        inbox.message(topic, bytes(1000), False)
    inbox.connected()
    inbox.disconnected("gone", taken_over=False)
    mailbox.end(69, "the broker is gone")
    *kept, connected, _, _ = drain(mailbox)
    assert isinstance(connected, Connected)
    assert all(isinstance(item, Arrived) for item in kept)
    assert 10 <= len(kept) < 20
    assert mailbox.dropped == 100 - len(kept)


def test_dropped_parts_are_noted_at_the_1st_10th_and_100th(caplog):
    caplog.set_level(logging.DEBUG)
    node = Node(Scripted(stop_after=1))
    for _ in range(151):
        arrive(node, UPDATE, bytes(MAILBOX_BYTES_MAX // 2))
    arrive(node, *presence_of("d1"))
    assert node.run() == 0
    said = [record for record in caplog.records if record.message == "message dropped"]
    assert [getattr(record, "times", 1) for record in said] == [1, 10, 100]


def test_an_end_from_outside_stops_the_loop_with_its_code_and_reason(caplog):
    node = Node(Scripted())
    node.mailbox.end(69, "its own broker ended")
    assert node.run() == 69
    assert [r.reason for r in caplog.records if r.message == "stopped"] == ["its own broker ended"]


def test_a_transport_that_died_of_a_bug_ends_the_loop_with_that_bug():
    bug = ZeroDivisionError("a bug")
    node = Node(Scripted(), sides=("up", "down"))
    node.mailbox.inbox("up").failed(bug)
    with pytest.raises(RuntimeError, match=URL) as caught:
        node.run()
    assert caught.value.__cause__ is bug
    assert all(transport.calls[-1] == "close" for transport in node.transports.values())
