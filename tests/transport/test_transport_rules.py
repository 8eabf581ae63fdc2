"""URLs, packet sizes, waits between attempts, the holding queue, and stolen client ids."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier.errors import ConfigError, LinkError
from fedtier.transport.address import Address, parse_url
from fedtier.transport.backoff import BASE_S, CAP_S, STABLE_S, Backoff
from fedtier.transport.base import Credentials
from fedtier.transport.credentials import read_password, tls_context
from fedtier.transport.holding import HoldingQueue, Outgoing
from fedtier.transport.packet_size import check_packet_bytes, publish_packet_bytes
from fedtier.transport.takeover import SHORT_S, TakeoverWatch


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("mqtt://broker", Address(host="broker", port=1883)),
        ("mqtt://10.0.0.1:1884/", Address(host="10.0.0.1", port=1884)),
        ("mqtts://broker.local", Address(host="broker.local", port=8883, tls=True)),
        ("mqtt://[::1]:99", Address(host="::1", port=99)),
    ],
)
def test_url_names_host_port_and_tls(url, address):
    assert parse_url(url) == address
    assert parse_url(str(address)) == address


@pytest.mark.parametrize(
    "url",
    [
        "broker:1883", "http://broker", "mqtt://", "mqtt://broker:0", "mqtt://broker:99999",
        "mqtt://broker/path", "mqtt://user:secret@broker", "mqtt://broker?x=1", "mqtt://a..b",
    ],
)  # fmt: skip
def test_malformed_url_is_refused_with_its_place(url):
    with pytest.raises(ConfigError, match=r"gw1\.toml: broker\.url"):
        parse_url(url, where="gw1.toml: broker.url")


def test_a_password_in_a_url_is_not_repeated_in_the_error():
    with pytest.raises(ConfigError) as caught:
        parse_url("mqtt://user:tomato@broker")
    assert "tomato" not in str(caught.value)


@pytest.mark.parametrize(
    ("payload_bytes", "length_bytes"),
    [(0, 1), (117, 1), (118, 2), (16_373, 2), (16_374, 3), (2_097_141, 3), (2_097_142, 4)],
)
def test_packet_size_counts_the_length_field_at_its_steps(payload_bytes, length_bytes):
    # topic "abcde": remaining length = 2 + 5 + 2 + 1 + payload
    assert publish_packet_bytes("abcde", payload_bytes, qos=1) == (
        1 + length_bytes + 10 + payload_bytes
    )


def test_too_large_a_packet_is_refused_with_both_numbers():
    assert check_packet_bytes("t", 100, qos=0, limit_bytes=106) == 106
    with pytest.raises(LinkError, match=r"106 bytes .* 105 bytes"):
        check_packet_bytes("t", 100, qos=0, limit_bytes=105)


@given(seed=st.integers(0, 2**32), attempts=st.integers(1, 200))
def test_waits_stay_between_base_and_cap(seed, attempts):
    backoff = Backoff(Random(seed))
    waits = [backoff.next_s() for _ in range(attempts)]
    assert all(BASE_S <= wait <= CAP_S for wait in waits)
    assert waits[0] <= 3 * BASE_S  # the first retry is quick: start-up order does not matter


def test_only_a_connection_that_lasted_starts_the_waits_anew():
    backoff = Backoff(Random(7))
    for _ in range(50):
        backoff.next_s()
    backoff.lived(STABLE_S - 1)
    later = [Backoff.next_s(backoff) for _ in range(20)]
    assert max(later) > 3 * BASE_S
    backoff.lived(STABLE_S)
    assert backoff.next_s() <= 3 * BASE_S


def _message(number, size=10, *, topic="t", retain=False):
    return Outgoing(topic, bytes([number]) * size, 1, retain)


def test_held_messages_come_out_in_the_order_they_went_in():
    queue = HoldingQueue()
    messages = [_message(0), _message(1, topic="h", retain=True), _message(2)]
    assert [queue.add(message) for message in messages] == [0, 0, 0]
    assert queue.bytes == 30
    assert queue.drain() == messages
    assert queue.drain() == []
    assert queue.bytes == 0


def test_full_queue_drops_the_oldest_bulk_and_never_a_retained_message():
    queue = HoldingQueue(bytes_max=25, messages_max=10)
    head = _message(9, topic="head", retain=True)
    queue.add(head)
    assert [queue.add(_message(number)) for number in range(4)] == [0, 0, 1, 1]
    assert queue.drain() == [head, _message(2), _message(3)]


def test_later_retained_message_replaces_the_earlier_on_its_topic():
    queue = HoldingQueue()
    queue.add(_message(0, topic="head", retain=True))
    queue.add(_message(1))
    queue.add(_message(2, topic="head", retain=True))
    assert queue.drain() == [_message(1), _message(2, topic="head", retain=True)]


def test_queue_is_bounded_in_messages_too():
    queue = HoldingQueue(bytes_max=1000, messages_max=3)
    assert sum(queue.add(_message(number, size=0)) for number in range(5)) == 2


def test_second_silent_end_of_a_kept_session_is_a_takeover():
    watch = TakeoverWatch()
    watch.accepted(session_present=False)
    assert not watch.lost(silent=True, lived_s=1.0)
    watch.accepted(session_present=True)
    assert watch.lost(silent=True, lived_s=1.0)


@pytest.mark.parametrize(
    "between",
    [
        lambda watch: (watch.attempt_failed(), watch.accepted(session_present=True)),
        lambda watch: watch.accepted(session_present=False),
    ],
    ids=["broker unreachable in between", "session forgotten"],
)
def test_restart_of_the_broker_is_not_a_takeover(between):
    watch = TakeoverWatch()
    watch.accepted(session_present=True)
    watch.lost(silent=True, lived_s=1.0)
    between(watch)
    assert not watch.lost(silent=True, lived_s=1.0)


@pytest.mark.parametrize(("silent", "lived_s"), [(False, 1.0), (True, SHORT_S)])
def test_announced_end_or_long_life_is_not_a_takeover(silent, lived_s):
    watch = TakeoverWatch()
    for _ in range(3):
        watch.accepted(session_present=True)
        assert not watch.lost(silent=silent, lived_s=lived_s)


def test_password_is_one_line_of_a_file(tmp_path):
    path = tmp_path / "password"
    path.write_text("s3cret\n")
    assert read_password(Credentials(username="d1", password_file=path), where="x") == "s3cret"
    assert read_password(Credentials(), where="x") is None
    for text in ("", "two\nlines\n"):
        path.write_text(text)
        with pytest.raises(ConfigError, match="must hold one line"):
            read_password(Credentials(password_file=path), where="d1.toml")
    path.write_bytes(b"\xff")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        read_password(Credentials(password_file=path), where="d1.toml")


def test_a_missing_password_file_is_a_sentence_with_a_remedy(tmp_path):
    path = tmp_path / "absent"
    with pytest.raises(ConfigError) as caught:
        read_password(Credentials(password_file=path), where="d1.toml")
    assert str(caught.value) == (
        f"d1.toml: password_file {path} cannot be read: No such file or directory. Write the "
        "password into it, on one line and readable by the user that runs this node alone, or "
        "correct the path."
    )


def test_certificate_and_key_are_needed_together_and_must_exist(tmp_path):
    with pytest.raises(ConfigError, match="together"):
        tls_context(Credentials(certificate_file=tmp_path / "c"), where="d1.toml")
    (tmp_path / "c").touch()
    pair = Credentials(certificate_file=tmp_path / "c", key_file=tmp_path / "k")
    with pytest.raises(ConfigError, match=r"d1\.toml: keyfile .*/k cannot be read: No such file"):
        tls_context(pair, where="d1.toml")
    with pytest.raises(ConfigError, match=r"d1\.toml: cannot use cafile"):
        tls_context(Credentials(ca_file=tmp_path / "c"), where="d1.toml")
