"""The broker's files of a parent follow from its cell and from how its clients log in."""

from __future__ import annotations

from pathlib import Path

import pytest

from fedtier.config.federation import Federation, parse_federation
from fedtier.ids import NodeId
from fedtier.render.broker_files import queue_limits
from fedtier.render.cell_broker import ACL_FILE, CONF_FILE, render_broker_files, users

FARM = """
[federation]
id = "farm"
[tree]
cloud = ["north", "south"]
north = ["cow-{1..3}"]
south = ["pig-1"]
[model]
artefact = "package:imu"
[plan]
rounds = 1
tau = [1, 1]
part_bytes = 4096
[[link]]
codec = "identity"
[[link]]
codec = "identity"
[data]
source = "npz-directory"
path = "herd"
"""
PLAIN = '[[node]]\nid = "{cloud,north,south}"\nbroker_url = "mqtt://$1.local:1884"\n'
TLS = PLAIN.replace("mqtt:", "mqtts:")


def farm(rest: str) -> Federation:
    return parse_federation(FARM + rest, where="farm.toml", directory=Path("/srv"))


def conf(federation: Federation, parent: str = "north") -> dict[str, str]:
    text = render_broker_files(federation, NodeId(parent))[CONF_FILE]
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return dict(line.split(" ", 1) for line in lines)


def test_limits_are_those_of_the_cell_and_of_a_part():
    options = conf(farm(PLAIN))
    assert options["max_packet_size"] == "8192"
    limits = queue_limits(part_bytes=4096, children=3)
    assert options["max_queued_messages"] == str(limits.messages)
    assert conf(farm(PLAIN), "south")["max_queued_messages"] != options["max_queued_messages"]


@pytest.mark.parametrize(
    ("host", "listener"),
    [("north.local", "1884"), ("127.0.0.1", "1884 127.0.0.1"), ("[::1]", "1884 ::1")],
)
def test_it_listens_on_every_address_unless_its_own_is_the_loopback(host, listener):
    own = f'[[node]]\nid = "north"\nbroker_url = "mqtt://{host}:1884"\n'
    assert conf(farm(PLAIN + own))["listener"] == listener


def test_with_passwords_nobody_comes_without_a_name_or_beyond_its_rights():
    federation = farm(PLAIN + '[broker]\npassword_file = "/etc/fedtier/password"\n')
    options = conf(federation)
    assert options["allow_anonymous"] == "false"
    assert options["password_file"] == "/etc/mosquitto/fedtier.passwd"
    assert options["acl_file"] == "/etc/mosquitto/fedtier.acl"
    rights = render_broker_files(federation, NodeId("north"))[ACL_FILE]
    assert "user north\n" in rights
    assert "fedtier/v1/farm/cloud/" not in rights
    assert users(federation, NodeId("north")) == ("north", "cow-1", "cow-2", "cow-3")
    at_cloud = render_broker_files(federation, NodeId("cloud"))[ACL_FILE]
    assert "topic read fedtier/v1/farm/operator/cloud/#" in at_cloud


def test_with_certificates_the_name_of_one_is_the_user_and_no_password_is_asked():
    login = '[broker]\ncertfile = "c"\nkeyfile = "k"\npassword_file = "p"\n'
    options = conf(farm(TLS + login))
    assert options["require_certificate"] == options["use_identity_as_username"] == "true"
    assert options["cafile"] == "/etc/mosquitto/certs/ca.crt"
    assert "password_file" not in options
    assert "acl_file" in options


def test_over_tls_with_passwords_clients_need_no_certificate():
    options = conf(farm(TLS + '[broker]\npassword_file = "p"\n'))
    assert options["certfile"] == "/etc/mosquitto/certs/broker.crt"
    assert "cafile" not in options
    assert "require_certificate" not in options
    assert "password_file" in options


def test_without_passwords_anybody_may_come_and_there_is_no_acl():
    files = render_broker_files(farm(PLAIN), NodeId("north"))
    assert files.keys() == {CONF_FILE}
    assert conf(farm(PLAIN))["allow_anonymous"] == "true"


def test_cells_on_one_broker_share_its_files():
    one = '[[node]]\nid = "{cloud,north}"\nbroker_url = "mqtt://hall:1883"\n'
    federation = farm(PLAIN + one + '[broker]\npassword_file = "p"\n')
    shared = render_broker_files(federation, NodeId("cloud"))
    assert shared == render_broker_files(federation, NodeId("north"))
    assert "user cloud\n" in shared[ACL_FILE]
    assert "user north\n" in shared[ACL_FILE]
    assert users(federation, NodeId("north")) == (
        "cloud", "north", "south", "cow-1", "cow-2", "cow-3",
    )  # fmt: skip
