"""The MQTT client against real brokers: connecting, returning, refusing, leaving."""

from __future__ import annotations

import contextlib
import logging
import socket
import threading

import pytest

from fedtier.broker import BrokerProcess, BrokerSettings
from fedtier.errors import ConfigError, LinkError
from fedtier.transport.base import Trouble, Will
from fedtier.transport.holding import QUEUE_MESSAGES_MAX
from fedtier.transport.mqtt import CLOSE_S, MqttTransport
from fedtier.transport.packet_size import publish_packet_bytes


def test_messages_arrive_on_the_transports_own_thread(any_broker, connect, eventually):
    a, _ = connect(any_broker.url, "gw1.cell")
    _, inbox = connect(any_broker.url, "gw1", "t/+")
    a.publish("t/1", b"one", qos=1, retain=False)
    a.publish("t/2", b"two", qos=0, retain=False)
    eventually(lambda: len(inbox.messages) == 2, "both messages arrive")
    assert inbox.payloads("t/1") == [b"one"]
    assert inbox.threads == {"mqtt gw1"}


def test_start_order_does_not_matter(connect, eventually, free_port, tmp_path, mosquitto_binary):
    url = f"mqtt://127.0.0.1:{free_port}"
    a, a_inbox = connect(url, "a", wait=False)
    _, b_inbox = connect(url, "b", "t", wait=False)
    a.publish("t", b"held", qos=1, retain=False)
    a.publish("t", b"dropped", qos=0, retain=False)
    a.publish("head", b"kept", qos=1, retain=True)
    eventually(lambda: a.trouble is not None, "the attempt fails")
    assert "cannot reach" in a.trouble
    assert not a.connected
    assert (a.dropped, a.queued_bytes) == (1, 8)
    settings = BrokerSettings(kind="mosquitto", port=free_port)
    with BrokerProcess.start(settings, tmp_path):
        eventually(lambda: a_inbox.events and b_inbox.events, "both connect")
        eventually(lambda: a.queued_bytes == 0, "what was held goes out")
        _, late = connect(url, "late", "head")
        eventually(lambda: late.payloads("head") == [b"kept"], "the retained message is there")
        assert a.trouble is None


@pytest.mark.parametrize("kind", ["embedded", "mosquitto"])
def test_broker_killed_and_started_anew_is_found_again(
    kind, connect, eventually, free_port, tmp_path, request
):
    if kind == "mosquitto":
        request.getfixturevalue("mosquitto_binary")
    settings = BrokerSettings(kind=kind, port=free_port)
    with BrokerProcess.start(settings, tmp_path) as broker:
        a, a_inbox = connect(broker.url, "a")
        _, b_inbox = connect(broker.url, "b", "t")
        broker.kill()
        eventually(lambda: "disconnected" in a_inbox.events, "a notices")
        eventually(lambda: "disconnected" in b_inbox.events, "b notices")
        a.publish("t", b"while away", qos=1, retain=False)
    with BrokerProcess.start(settings, tmp_path):
        eventually(lambda: a_inbox.events.count("connected") == 2, "a returns")
        eventually(lambda: b_inbox.events.count("connected") == 2, "b returns")
        a.publish("t", b"again", qos=1, retain=False)
        eventually(lambda: b"again" in b_inbox.payloads("t"), "b has subscribed anew")
    assert "taken over" not in a_inbox.events + b_inbox.events


def test_a_connection_made_anew_loses_nothing_and_is_nobodys_takeover(
    any_broker, connect, eventually
):
    a, a_inbox = connect(any_broker.url, "a", "t")
    b, _ = connect(any_broker.url, "b")
    for number in range(1, 4):
        a.reconnect()
        eventually(lambda n=number: a_inbox.events.count("connected") == n + 1, "a is back")
        b.publish("t", b"%d" % number, qos=1, retain=False)
        a.publish("t", b"own %d" % number, qos=1, retain=False)
    expected = {b"1", b"2", b"3", b"own 1", b"own 2", b"own 3"}
    eventually(lambda: set(a_inbox.payloads("t")) == expected, "everything arrives")
    assert "taken over" not in a_inbox.events
    assert "a new connection" in a_inbox.reasons[0]


def test_subscriptions_are_sent_again_though_the_broker_kept_the_session(
    any_broker, connect, eventually
):
    before, _ = connect(any_broker.url, "d1", "old")
    before.abort()
    _, inbox = connect(any_broker.url, "d1", "new")
    sender, _ = connect(any_broker.url, "a")
    sender.publish("new", b"1", qos=1, retain=False)
    eventually(lambda: inbox.payloads("new"), "a filter the session did not know is in force")


def test_what_was_not_acknowledged_is_sent_again_over_the_next_connection(connect, eventually):
    with _MuteBroker(connections=2) as mute:
        a, inbox = connect(mute.url, "a")
        for number in range(10):
            a.publish("t", b"part %d" % number, qos=1, retain=False)
        eventually(lambda: b"part 3" in mute.heard(0), "the first window goes out")
        assert b"part 4" not in mute.heard(0)
        mute.cut(0)
        eventually(lambda: inbox.events.count("connected") == 2, "a comes back")
        eventually(lambda: b"part 3" in mute.heard(1), "the same window goes out again")
        assert b"part 4" not in mute.heard(1)
        assert a.queued_bytes == 60
        a.abort()


def test_two_clients_of_one_id_find_out(any_broker, connect, eventually):
    _, first = connect(any_broker.url, "clone")
    _, second = connect(any_broker.url, "clone")
    eventually(lambda: "taken over" in first.events + second.events, "the fight is noticed")
    reasons = first.reasons + second.reasons
    assert any("client id clone" in reason for reason in reasons) or "taken" in str(reasons)


def test_packet_larger_than_announced_is_refused_with_both_numbers_before_it_is_sent(
    mosquitto, connect, eventually
):
    limit = mosquitto.settings.part_bytes + 4096
    a, inbox = connect(mosquitto.url, "a", "t")
    fits = limit - publish_packet_bytes("t", 0, qos=1) - 2  # two more bytes of length field
    assert publish_packet_bytes("t", fits, qos=1) == limit
    a.publish("t", bytes(fits), qos=1, retain=False)
    with pytest.raises(LinkError, match=rf"{limit + 1} bytes .* {limit} bytes"):
        a.publish("t", bytes(fits + 1), qos=1, retain=False)
    eventually(lambda: len(inbox.payloads("t")) == 1, "the one that fits arrives")
    assert inbox.events == ["connected", "message"]


def test_configured_limit_holds_where_the_broker_announces_none(embedded_broker, connect):
    a, _ = connect(embedded_broker.url, "a", packet_bytes_max=1000)
    with pytest.raises(LinkError, match="1000 bytes"):
        a.publish("t", bytes(1000), qos=1, retain=False)


def test_queue_is_bounded_while_connected_and_spares_retained_messages(mosquitto, connect):
    a, _ = connect(mosquitto.url, "a", queue_bytes_max=100)
    a.publish("t", bytes(101), qos=1, retain=False)
    assert a.dropped == 1
    a.publish("t", bytes(101), qos=1, retain=True)
    assert a.dropped == 1


def test_queue_is_bounded_in_messages_where_nobody_acknowledges(connect):
    with _MuteBroker() as mute:
        a, _ = connect(mute.url, "a")
        for _ in range(QUEUE_MESSAGES_MAX + 5):
            a.publish("t", b"", qos=1, retain=False)
        assert a.dropped == 5
        a.abort()


def test_farewell_takes_the_place_of_the_will_and_follows_all_that_was_queued(
    any_broker, connect, eventually
):
    will = Will(topic="d1/presence", payload=b"lost")
    a, _ = connect(any_broker.url, "d1", will=will)
    _, watcher = connect(any_broker.url, "w", "d1/presence", "t")
    for _ in range(50):
        a.publish("t", bytes(10_000), qos=1, retain=False)
    a.close(farewell=("d1/presence", b"offline"))
    a.close(farewell=("d1/presence", b"twice"))
    eventually(lambda: watcher.payloads("d1/presence"), "the farewell arrives")
    eventually(lambda: len(watcher.payloads("t")) == 50, "and all before it")
    assert watcher.payloads("d1/presence") == [b"offline"]


def test_abort_lets_the_will_fire(any_broker, connect, eventually):
    a, _ = connect(any_broker.url, "d1", will=Will(topic="p", payload=b"lost"))
    _, watcher = connect(any_broker.url, "w", "p")
    a.abort()
    eventually(lambda: watcher.payloads("p") == [b"lost"], "the will arrives")


def test_close_without_a_broker_or_without_a_start_is_prompt(free_port, connect, recorder):
    url = f"mqtt://127.0.0.1:{free_port}"
    MqttTransport(url, "never", [], recorder()).close()
    started, inbox = connect(url, "a", wait=False)
    started.publish("t", b"", qos=1, retain=False)
    started.close(farewell=("p", b"offline"))
    assert inbox.events == []
    with pytest.raises(AssertionError, match="after close"):
        started.publish("t", b"", qos=1, retain=False)


def test_close_ends_in_bounded_time_though_the_broker_hangs(connect, eventually):
    with _MuteBroker() as mute:
        a, _ = connect(mute.url, "a")
        for _ in range(200):  # more than the buffers of both sockets take
            a.publish("t", bytes(100_000), qos=0, retain=False)
        a.close(farewell=("p", b"offline"))
    threads = [thread.name for thread in threading.enumerate()]
    assert "mqtt a" not in threads, f"waited {CLOSE_S} s for the farewell, and as long again"


def test_peer_that_is_no_broker_is_given_up_and_named(connect, eventually, monkeypatch):
    monkeypatch.setattr("fedtier.transport.mqtt._CONNACK_S", 0.1)
    with _MuteBroker(greet=False) as mute:
        a, _ = connect(mute.url, "a", wait=False)
        eventually(lambda: a.trouble is not None, "it gives up")
        assert "does not answer MQTT 5" in a.trouble


def test_fault_in_an_inbox_ends_the_transport_and_is_told_to_it_and_to_the_next_publisher(
    mosquitto, eventually, monkeypatch
):
    class Faulty:
        def connected(self):
            raise ZeroDivisionError("a bug in an inbox")

        def disconnected(self, reason, *, taken_over):
            pass

        def message(self, topic, payload, retained):
            pass

        def failed(self, error):
            told.append(error)

    told = []
    monkeypatch.setattr(threading, "excepthook", lambda _: None)
    transport = MqttTransport(mosquitto.url, "a", [], Faulty())
    transport.start()
    eventually(lambda: told, "the inbox is told that the thread ends")
    assert isinstance(told[0], ZeroDivisionError)
    with pytest.raises(RuntimeError, match="thread ended"):
        transport.publish("t", b"", qos=1, retain=False)
    transport.close()


def test_refused_connection_says_why(mosquitto_binary, tmp_path, connect, eventually, caplog):
    settings = BrokerSettings(kind="mosquitto", allow_anonymous=False)
    with (
        caplog.at_level(logging.CRITICAL),
        BrokerProcess.start(settings, tmp_path) as broker,
    ):
        a, inbox = connect(broker.url, "a", wait=False)
        eventually(lambda: a.trouble is not None, "the broker refuses")
        assert "refuses a" in a.trouble
        assert "ot authorized" in a.trouble
        assert inbox.events == []
        assert inbox.troubles[0] == Trouble(kind="login refused", reason="Not authorized")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("mqtt://127.0.0.1:1", "Connection refused"),
        ("mqtt://nowhere.invalid", "ame"),  # Name or service not known, or no name server
    ],
)
def test_broker_that_cannot_be_reached_is_told_with_the_systems_own_words(
    url, reason, connect, eventually
):
    _, inbox = connect(url, "a", wait=False)
    eventually(lambda: inbox.troubles, "the first attempt fails")
    assert inbox.troubles[0].kind == "unreachable"
    assert reason in inbox.troubles[0].reason
    assert "Errno" not in inbox.troubles[0].reason


def test_broker_that_hangs_up_before_it_answers_is_told_as_that(connect, eventually):
    with socket.create_server(("127.0.0.1", 0)) as server:
        a, inbox = connect(f"mqtt://127.0.0.1:{server.getsockname()[1]}", "a", wait=False)
        server.accept()[0].close()
        eventually(lambda: inbox.troubles, "the attempt fails")
        a.close()
    trouble = inbox.troubles[0]
    assert (trouble.kind, trouble.reason) == (
        "unreachable", "the connection ended before the broker answered",
    )  # fmt: skip


def test_a_message_without_the_right_to_its_topic_is_told_to_the_inbox(
    mosquitto_binary, tmp_path, connect, eventually
):
    settings = BrokerSettings(
        kind="mosquitto", acl="topic readwrite mine/#\n", allow_anonymous=True
    )
    with BrokerProcess.start(settings, tmp_path) as broker:
        a, inbox = connect(broker.url, "a", "mine/#")
        for topic in ("mine/1", "other/1", "mine/2", "other/2"):
            a.publish(topic, b"x", qos=1, retain=False)
        eventually(lambda: len(inbox.messages) == len(inbox.refusals) == 2, "all are judged")
        assert [topic for topic, _ in inbox.refusals] == ["other/1", "other/2"]
        assert "ot authorized" in inbox.refusals[0][1]


def test_malformed_url_is_a_config_error(recorder):
    with pytest.raises(ConfigError, match=r"d1\.toml"):
        MqttTransport("localhost", "a", [], recorder(), where="d1.toml: broker.url")


def test_many_threads_may_publish_at_once(any_broker, connect, eventually):
    a, _ = connect(any_broker.url, "a")
    _, inbox = connect(any_broker.url, "b", "t/+")

    def publish(number: int) -> None:
        for index in range(50):
            a.publish(f"t/{number}", b"%d" % index * 1000, qos=1, retain=False)

    threads = [threading.Thread(target=publish, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    eventually(lambda: len(inbox.messages) == 200, "all arrive")
    for number in range(4):
        assert inbox.payloads(f"t/{number}") == [b"%d" % index * 1000 for index in range(50)]


class _MuteBroker:
    """Accepts connections, perhaps says CONNACK, and acknowledges nothing.

    What it hears is read only when it is asked for, so that its buffers fill up.
    """

    def __init__(self, *, greet: bool = True, connections: int = 1) -> None:
        self._greet = greet
        self._connections = connections
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"mqtt://127.0.0.1:{self._listener.getsockname()[1]}"
        self._accepted: list[socket.socket] = []
        self._heard: dict[int, bytes] = {}
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        for _ in range(self._connections):
            connection, _ = self._listener.accept()
            if self._greet:
                connection.recv(1000)
                connection.sendall(bytes([0x20, 3, 0, 0, 0]))
            connection.setblocking(False)
            self._accepted.append(connection)

    def heard(self, index: int) -> bytes:
        if index < len(self._accepted):
            with contextlib.suppress(BlockingIOError):
                self._heard[index] = self._heard.get(index, b"") + self._accepted[index].recv(4096)
        return self._heard.get(index, b"")

    def cut(self, index: int) -> None:
        self._accepted[index].shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> _MuteBroker:
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.join()
        for sock in (*self._accepted, self._listener):
            sock.close()
