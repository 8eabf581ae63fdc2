"""The broker in memory routes as MQTT does, in a fixed order, with the faults asked for."""

from __future__ import annotations

import pytest

from fedtier.errors import LinkError
from fedtier.sim.agenda import Agenda
from fedtier.sim.broker import (
    MemoryBroker,
    MemoryTransport,
    delay_if,
    drop_if,
    duplicate_if,
    topic_matches,
)
from fedtier.transport.base import Will


@pytest.fixture
def join(recorder):
    def make(broker, client_id, *filters, will=None):
        inbox = recorder()
        transport = MemoryTransport(broker, client_id, [(f, 1) for f in filters], inbox, will=will)
        transport.start()
        return transport, inbox

    return make


@pytest.mark.parametrize(
    ("topic_filter", "topic", "matches"),
    [
        ("a/b", "a/b", True), ("a/b", "a", False), ("a", "a/b", False), ("a/+", "a/b", True),
        ("a/+", "a/b/c", False), ("a/+", "a", False), ("+/+", "/b", True), ("a/#", "a/b/c", True),
        ("a/#", "a", True), ("#", "a/b", True), ("#", "$SYS/x", False), ("+/x", "$SYS/x", False),
        ("$SYS/#", "$SYS/x", True), ("a/+/c", "a/b/c", True), ("a/+/c", "a/b/d", False),
    ],
)  # fmt: skip
def test_filter_takes_in_what_the_standard_says(topic_filter, topic, matches):
    assert topic_matches(topic, topic_filter) is matches


def test_nothing_arrives_before_it_is_pumped(join):
    broker = MemoryBroker(Agenda())
    _, inbox = join(broker, "b", "t")
    sender, _ = join(broker, "a")
    sender.publish("t", b"1", qos=1, retain=False)
    assert inbox.events == []
    assert broker.agenda.run_until_idle() == 3  # two connections and a message
    assert inbox.messages == [("t", b"1", False)]
    assert not broker.agenda.step()


def test_late_subscriber_gets_the_last_retained_message_and_nothing_after_its_clearing(join):
    broker = MemoryBroker(Agenda())
    sender, _ = join(broker, "a")
    for payload in (b"1", b"2"):
        sender.publish("head", payload, qos=1, retain=True)
    _, late = join(broker, "late", "head")
    broker.agenda.run_until_idle()
    assert late.messages == [("head", b"2", True)]
    assert late.events == ["connected", "message"]
    sender.publish("head", b"", qos=1, retain=True)
    _, later = join(broker, "later", "head")
    broker.agenda.run_until_idle()
    assert late.messages[-1] == ("head", b"", False)
    assert later.messages == []


def test_will_is_published_for_a_client_cut_off_or_aborted_but_not_after_a_farewell(join):
    broker = MemoryBroker(Agenda())
    _, watcher = join(broker, "w", "+")
    will = Will(topic="p", payload=b"lost")
    cut, its_inbox = join(broker, "cut", will=will)
    broker.cut("cut")
    aborted, _ = join(broker, "aborted", will=will)
    aborted.abort()
    polite, _ = join(broker, "polite", will=will)
    polite.close(farewell=("p", b"offline"))
    broker.agenda.run_until_idle()
    assert watcher.payloads("p") == [b"lost", b"lost", b"offline"]
    assert its_inbox.events == ["connected", "disconnected"]
    assert not cut.connected
    assert broker.retained == {"p": b"offline"}


def test_second_client_of_one_id_takes_over(join):
    broker = MemoryBroker(Agenda())
    first, first_inbox = join(broker, "x", will=Will(topic="p", payload=b"lost"))
    broker.agenda.run_until_idle()
    second, second_inbox = join(broker, "x")
    broker.agenda.run_until_idle()
    assert first_inbox.events == ["connected", "taken over"]
    assert second_inbox.events == ["connected"]
    assert (first.connected, second.connected) == (False, True)
    assert broker.retained == {}


def test_message_under_way_to_a_lost_connection_is_lost(join):
    broker = MemoryBroker(Agenda())
    _, inbox = join(broker, "b", "t")
    sender, _ = join(broker, "a")
    broker.agenda.run_until_idle()
    sender.publish("t", b"1", qos=1, retain=False)
    broker.cut("b")
    broker.reconnect("b")
    broker.agenda.run_until_idle()
    assert inbox.payloads("t") == []
    assert inbox.events[-1] == "connected"


def test_without_a_broker_qos_1_is_held_and_qos_0_dropped(join):
    broker = MemoryBroker(Agenda())
    sender, sender_inbox = join(broker, "a")
    _, inbox = join(broker, "b", "t")
    broker.agenda.run_until_idle()
    broker.stop()
    sender.publish("t", b"held", qos=1, retain=True)
    sender.publish("t", b"dropped", qos=0, retain=False)
    assert (sender.dropped, sender.queued_bytes) == (1, 4)
    broker.agenda.run_until_idle()
    broker.restart()
    broker.agenda.run_until_idle()
    assert inbox.payloads("t") == [b"held"]
    assert sender_inbox.events == ["connected", "disconnected", "connected"]


def test_faults_drop_duplicate_and_delay_deliveries(join):
    def is_two(delivery):
        return delivery.payload == b"2"

    for fault, expected in (
        (drop_if(is_two), [b"1", b"3", b"4", b"5"]),
        (duplicate_if(is_two), [b"1", b"2", b"2", b"3", b"4", b"5"]),
        (delay_if(is_two, by_s=2), [b"1", b"3", b"4", b"5", b"2"]),
    ):
        broker = MemoryBroker(Agenda())
        _, inbox = join(broker, "b", "t")
        sender, _ = join(broker, "a")
        broker.agenda.run_until_idle()
        broker.fault = fault
        for number in b"12345":
            sender.publish("t", bytes([number]), qos=1, retain=False)
        broker.agenda.run_until_idle()
        assert inbox.payloads("t") == expected


def test_clients_that_answer_inside_an_inbox_are_served_in_the_same_order_every_time(recorder):
    def run():
        broker = MemoryBroker(Agenda())
        transports = {}
        log = []

        class Echo:
            def __init__(self, name):
                self.name = name

            def connected(self):
                log.append((self.name, "connected"))

            def disconnected(self, reason, *, taken_over):
                raise AssertionError(reason)

            def message(self, topic, payload, retained):
                log.append((self.name, payload))
                if len(payload) < 4:
                    transports[self.name].publish("t", payload + b"x", qos=1, retain=False)

        for name in ("a", "b", "c"):
            transports[name] = MemoryTransport(broker, name, [("t", 1)], Echo(name))
            transports[name].start()
        transports["a"].publish("t", b"x", qos=1, retain=False)
        broker.agenda.run_until_idle()
        return log

    log = run()
    assert len(log) == 3 + 3 + 9 + 27 + 81
    assert run() == log


def test_packet_larger_than_the_broker_takes_is_refused_before_it_is_sent(join):
    broker = MemoryBroker(Agenda(), packet_bytes_max=100)
    sender, _ = join(broker, "a")
    with pytest.raises(LinkError, match="100 bytes"):
        sender.publish("t", bytes(100), qos=1, retain=False)
    assert sender.traffic().bytes_sent == 0


def test_endless_echo_is_found_out():
    broker = MemoryBroker(Agenda())

    class Echo:
        def connected(self):
            transport.publish("t", b"", qos=1, retain=False)

        def disconnected(self, reason, *, taken_over):
            pass

        def message(self, topic, payload, retained):
            transport.publish("t", b"", qos=1, retain=False)

    transport = MemoryTransport(broker, "a", [("t", 1)], Echo())
    transport.start()
    with pytest.raises(AssertionError, match="echo"):
        broker.agenda.run_until_idle(limit=1000)
