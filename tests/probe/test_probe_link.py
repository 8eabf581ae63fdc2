"""The way to a broker and back, on real brokers: figures, or why there are none."""

from __future__ import annotations

import time

import pytest

from edge_agent.probe.findings import Link, Missing
from edge_agent.probe.link import measure_link
from fedtier.broker import BrokerProcess, BrokerSettings
from fedtier.transport.base import ANONYMOUS, Credentials


def measured(url, *, seconds=20.0, credentials=ANONYMOUS, **options):
    end_s = time.monotonic() + seconds
    return measure_link(url, credentials=credentials, end_s=end_s, **options)


def test_small_messages_and_parts_come_back(any_broker):
    found = measured(any_broker.url, seconds=2.0, part_bytes=8192)
    assert isinstance(found, Link), found
    assert 0 < found.round_trip_median_ms <= found.round_trip_slowest_ms
    assert found.parts >= 8
    assert found.bytes_per_s > 0


def test_nothing_is_left_on_the_broker(any_broker, connect, eventually):
    assert isinstance(measured(any_broker.url, seconds=2.0, part_bytes=4096), Link)
    a, _ = connect(any_broker.url, "a")
    _, late = connect(any_broker.url, "late", "fedtier/v1/probe/#", "mark")
    a.publish("mark", b"after", qos=1, retain=False)
    eventually(lambda: late.payloads("mark"), "what is retained would have come first")
    assert [topic for topic, _, _ in late.messages] == ["mark"]


def test_nobody_there_is_said(free_port):
    found = measured(f"mqtt://127.0.0.1:{free_port}", seconds=0.5)
    assert isinstance(found, Missing)
    assert found.why.startswith("not reached: ")


@pytest.fixture
def guarded(mosquitto_binary, tmp_path):
    """A broker with rights, by their lines."""
    brokers = []

    def start(*rights):
        settings = BrokerSettings(
            kind="mosquitto", acl="\n".join(rights) + "\n", allow_anonymous=True
        )
        brokers.append(BrokerProcess.start(settings, tmp_path / "broker"))
        return brokers[-1].url

    yield start
    for broker in brokers:
        broker.stop()


def test_rights_that_do_not_let_it_write_are_told_with_the_topic(guarded):
    found = measured(guarded("topic read fedtier/#"))
    assert isinstance(found, Missing)
    assert "refused by its rights" in found.why
    assert "may not write fedtier/v1/probe/#" in found.why


def test_rights_that_do_not_let_it_read_are_guessed_from_silence(guarded):
    found = measured(guarded("topic write fedtier/#"), seconds=2.0)
    assert isinstance(found, Missing)
    assert "may not read fedtier/v1/probe/#" in found.why


def test_rights_to_the_probes_topics_suffice(guarded):
    url = guarded("user wrist", "topic readwrite fedtier/v1/probe/#")
    credentials = Credentials(username="wrist")
    assert isinstance(measured(url, seconds=2.0, credentials=credentials), Link)
