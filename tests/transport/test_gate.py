"""A client with a gate, at a real broker: nothing comes unasked, and it leaves as it is told."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fedtier.budget import Budget
from fedtier.errors import StorageError
from fedtier.ids import BootNonce, FederationId, NodeId
from fedtier.limits import DAY_S
from fedtier.runtime.metered import BudgetGate
from fedtier.storage.spending_record import SpendingRecord
from fedtier.transport.base import Will
from fedtier.transport.holding import HoldingQueue, Outgoing
from fedtier.wire.costs import Prices
from fedtier.wire.messages import Presence
from fedtier.wire.packets import encode_packet

PRICES = Prices.of(members=2, part_bytes=4096, tls=False)
TOPIC = "fedtier/v1/farm/gw/d0/model/0"
PRESENCE, ONLINE, _, _ = encode_packet(
    Presence(status="online", nonce=BootNonce(1)),
    federation=FederationId("farm"), cell=NodeId("gw"), node=NodeId("d0"),
)  # fmt: skip


@pytest.fixture
def gated(tmp_path, connect) -> Callable:
    """Connect the client ``d0`` through the gate of a budget."""

    def make(url, *filters, wait=True, **budget):
        limits = Budget(**budget)
        gate = BudgetGate(
            limits, SpendingRecord(tmp_path / "budget.record", limits), PRICES,
            tell=lambda allowance: None, window_s=DAY_S, where=url,
        )  # fmt: skip
        will = Will(topic=PRESENCE, payload=b"lost")
        return connect(url, "d0", *filters, gate=gate, will=will, wait=wait)

    return make


def test_a_broker_holds_nothing_for_it_while_it_is_away(any_broker, gated, connect, eventually):
    first, _ = gated(any_broker.url, TOPIC, bytes_per_day=10**6)
    first.close()
    other, _ = connect(any_broker.url, "gw")
    other.publish(TOPIC, b"while it is away", qos=1, retain=False)
    eventually(lambda: other.queued_bytes == 0, "the broker has it")
    _, inbox = gated(any_broker.url, TOPIC, bytes_per_day=10**6)

    def comes() -> bool:
        other.publish(TOPIC, b"while it is there", qos=1, retain=False)
        return bool(inbox.payloads(TOPIC))

    eventually(comes, "what is published now arrives")
    assert set(inbox.payloads(TOPIC)) == {b"while it is there"}


def test_who_has_no_more_for_the_day_leaves_with_its_will(any_broker, gated, connect, eventually):
    budget = PRICES.least_of_day
    other, watcher = connect(any_broker.url, "gw", PRESENCE)
    child, inbox = gated(any_broker.url, TOPIC, bytes_per_day=budget)

    def leaves() -> bool:
        other.publish(TOPIC, bytes(1000), qos=1, retain=False)
        return "disconnected" in inbox.events

    eventually(leaves, "it leaves")
    eventually(lambda: watcher.payloads(PRESENCE) == [b"lost"], "the will arrives")
    assert f"budget_bytes_per_day = {budget}" in inbox.reasons[0]
    eventually(lambda: inbox.troubles, "it says that it waits")
    assert inbox.troubles[0].kind == "waiting"
    traffic = child.traffic()
    assert traffic.bytes_sent + traffic.bytes_received <= budget


def test_who_only_saves_leaves_without_its_will_and_comes_back(
    mosquitto, gated, connect, eventually
):
    budget = PRICES.least_of_round
    other, watcher = connect(mosquitto.url, "gw", PRESENCE, "end")
    _, inbox = gated(mosquitto.url, TOPIC, bytes_per_round=budget)
    for _ in range(4):  # below what is kept
        other.publish(TOPIC, bytes(4000), qos=1, retain=False)
    eventually(lambda: "disconnected" in inbox.events, "it leaves")
    eventually(lambda: inbox.events.count("connected") == 2, "it looks again")
    other.publish("end", b"", qos=1, retain=False)
    eventually(lambda: "end" in {t for t, _, _ in watcher.messages}, "all before it has come")
    assert watcher.payloads(PRESENCE) == []


def test_a_record_that_cannot_be_written_ends_the_client_before_a_byte_goes(
    mosquitto, gated, tmp_path, eventually
):
    (tmp_path / "budget.record.new").mkdir()  # where the next record is written first
    child, inbox = gated(mosquitto.url, bytes_per_day=10**6, wait=False)
    eventually(lambda: inbox.failures, "it fails")
    assert isinstance(inbox.failures[0], StorageError)
    assert child.traffic().bytes_sent == 0
    with pytest.raises(StorageError):
        child.publish(PRESENCE, ONLINE, qos=1, retain=False)


def test_what_waits_for_its_pace_is_not_said_twice(any_broker, gated, connect, eventually):
    _, watcher = connect(any_broker.url, "gw", "fedtier/v1/farm/gw/d0/presence")
    child, _ = gated(any_broker.url, rate_bytes_per_s=20_000.0)
    for _ in range(50):
        child.publish(PRESENCE, ONLINE, qos=1, retain=False)
    child.publish(PRESENCE, ONLINE + b" ", qos=1, retain=False)
    eventually(lambda: ONLINE + b" " in watcher.payloads(PRESENCE), "the last one arrives")
    assert watcher.payloads(PRESENCE) == [ONLINE, ONLINE + b" "]


def test_a_queue_gives_out_one_by_one_in_the_order_of_drain():
    def filled() -> HoldingQueue:
        queue = HoldingQueue()
        for number in range(6):
            queue.add(Outgoing(f"t{number % 4}", bytes([number]), number % 2, number % 3 == 0))
        return queue

    queue, whole = filled(), filled().drain()
    one_by_one = []
    while (first := queue.first()) is not None:
        one_by_one.append(first)
        queue.pop()
    assert one_by_one == whole
    assert queue.bytes == 0


def test_a_queue_forgets_what_no_connection_keeps():
    queue = HoldingQueue()
    queue.add(Outgoing("want", b"123", 0, False))
    queue.add(Outgoing("update", b"4567", 1, False))
    queue.add(Outgoing("presence", b"89", 1, True))
    assert queue.forget_unreliable() == 1
    assert queue.bytes == 6
    assert [message.topic for message in queue.drain()] == ["update", "presence"]
