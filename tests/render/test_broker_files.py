"""What is rendered for a broker follows from the protocol's own numbers."""

from __future__ import annotations

import tomllib

import pytest

from fedtier.errors import ConfigError
from fedtier.ids import FederationId, NodeId
from fedtier.limits import PART_BYTES_MAX, TRANSFERS_AT_ONCE, WINDOW_PARTS
from fedtier.render import broker_files
from fedtier.render.broker_files import (
    QUEUE_BYTES_CEILING,
    ListenerTls,
    acl_file,
    iotcore_toml,
    mosquitto_conf,
    password_file,
    queue_limits,
)
from fedtier.wire import topics

FEDERATION = FederationId("f")


def _options(text: str) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in text.splitlines())


def test_queue_holds_all_windows_and_every_childs_offer_twice():
    limits = queue_limits(part_bytes=65_536, children=20)
    assert limits.messages >= 2 * (TRANSFERS_AT_ONCE * WINDOW_PARTS + 20)
    assert limits.bytes >= limits.messages * 65_536


def test_queue_bytes_have_a_ceiling():
    assert queue_limits(part_bytes=PART_BYTES_MAX, children=4096).bytes == QUEUE_BYTES_CEILING


def test_mosquitto_conf_names_listener_limits_and_files():
    options = _options(
        mosquitto_conf(
            host="127.0.0.1",
            port=1884,
            part_bytes=4096,
            children=3,
            allow_anonymous=False,
            sys_interval_s=1,
            run_as="root",
            acl_file="/a b/acl",
            password_file="/p",
            tls=ListenerTls(ca_file="/ca", certificate_file="/c", key_file="/k"),
        )
    )
    assert options["listener"] == "1884 127.0.0.1"
    assert options["max_packet_size"] == "8192"
    assert options["set_tcp_nodelay"] == "true"
    assert options["persistence"] == options["allow_anonymous"] == "false"
    assert options["acl_file"] == "/a b/acl"
    assert options["use_identity_as_username"] == "true"
    assert int(options["max_queued_messages"]) > TRANSFERS_AT_ONCE * WINDOW_PARTS


def test_packet_limit_below_the_parts_is_refused_with_both_numbers():
    with pytest.raises(ConfigError, match=r"8191 .* 4096 .* 8192"):
        mosquitto_conf(
            host="h", port=1, part_bytes=4096, children=1, allow_anonymous=True, packet_bytes=8191
        )


def test_line_break_in_a_path_is_refused():
    with pytest.raises(ConfigError, match="line break"):
        mosquitto_conf(
            host="h",
            port=1,
            part_bytes=4096,
            children=1,
            allow_anonymous=True,
            acl_file="/x\nallow_anonymous true",
        )


def test_iotcore_toml_allows_a_part_and_its_headers():
    text = iotcore_toml(host="127.0.0.1", port=1884, part_bytes=65_536, children=4)
    settings = tomllib.loads(text)
    assert settings["v5"]["1"]["listen"] == "127.0.0.1:1884"
    assert settings["v5"]["1"]["connections"]["max_payload_size"] == 65_536 + 4096
    limits = queue_limits(part_bytes=65_536, children=4)
    router = settings["router"]
    assert router["max_segment_size"] * (router["max_segment_count"] - 1) >= limits.bytes


def test_password_file_has_the_form_mosquitto_passwd_writes():
    line = password_file({"d1": ("secret", bytes(12))})
    user, text = line.rstrip("\n").split(":")
    assert user == "d1"
    _, kind, iterations, salt, digest = text.split("$")
    assert (kind, iterations, salt, len(digest)) == ("7", "101", "A" * 16, 88)


def test_acl_names_cells_literally_and_no_child():
    text = acl_file(federation=FEDERATION, cells=[NodeId("gw1")])
    lines = [line for line in text.splitlines() if line and not line.startswith(("user", "#"))]
    assert "+/%u" not in text
    for line in lines:
        topic = line.split(" ", 2)[2]
        assert topic.startswith("fedtier/v1/f/gw1/") or line == "topic read fedtier/v1/f/#"


def test_acl_grants_every_filter_and_topic_that_the_protocol_uses():
    text = acl_file(federation=FEDERATION, cells=[NodeId("gw1")]).replace("%u", "d1")
    granted = {line.split(" ", 1)[1] for line in text.splitlines() if line.startswith(("t", "p"))}
    for topic_filter, _ in topics.parent_filters(FEDERATION, cell=NodeId("gw1")):
        assert f"read {topic_filter}" in granted
    for topic_filter, _ in topics.child_filters(FEDERATION, cell=NodeId("gw1"), node=NodeId("d1")):
        assert f"read {topic_filter}" in granted
    for channel in topics.QOS:
        level = f"{channel}/+" if channel in topics.PART_CHANNELS else channel
        writes = {grant for grant in granted if grant.endswith(f"/{level}") and "write" in grant}
        assert writes, f"nobody may write {level}"


def test_limits_of_both_brokers_come_from_one_rule():
    assert broker_files.packet_bytes_max(65_536) == 65_536 + broker_files.PACKET_OVERHEAD_BYTES
