"""A node file becomes connections under the right names, with a last will and a farewell."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from fedtier.config.node_file import parse_node_file
from fedtier.ids import BootNonce
from fedtier.runtime.assembly import (
    connection_down,
    connection_up,
    presences,
    step_back,
)
from fedtier.runtime.mailbox import Mailbox
from fedtier.wire.messages import Presence
from fedtier.wire.topics import child_filters, parent_filters

NONCE = BootNonce(7)
GATEWAY = """
[node]
id = "north"
role = "gateway"
federation = "farm"
tier = 1
state_dir = "state"

[parent]
id = "cloud"
url = "mqtt://cloud.example:1883"
username = "north"
password_file = "secret"

[cell]
url = "mqtt://127.0.0.1:1884"
members = ["cow-1", "cow-2"]
"""


@pytest.fixture
def gateway(tmp_path):
    (tmp_path / "secret").write_text("rain\n")
    return parse_node_file(GATEWAY, where="north.toml", directory=tmp_path)


@pytest.fixture
def sides(gateway):
    """Both connections of the gateway, made and never started."""
    up = connection_up(gateway, Mailbox(), NONCE)
    down = connection_down(gateway, Mailbox(), NONCE, give_up_s=10)
    yield up, down
    up.transport.close()
    down.transport.close()


@pytest.mark.covers("P-3")
@pytest.mark.covers("P-6")
def test_a_gateway_has_a_name_of_its_own_on_either_side(sides):
    up, down = sides
    assert (up.cell, up.transport.client_id) == ("cloud", "north")
    assert down.cell == "north"
    # Of this boot alone, so that two parents under one id hear each other (P-6).
    assert re.fullmatch(r"north\.cell\.[0-9a-f]{8}", down.transport.client_id)
    assert list(up.transport.subscriptions) == child_filters("farm", cell="cloud", node="north")
    assert list(down.transport.subscriptions) == parent_filters("farm", cell="north")
    assert (up.where, down.where) == ("mqtt://cloud.example:1883", "mqtt://127.0.0.1:1884")
    assert (up.give_up_s, down.give_up_s) == (None, 10)


@pytest.mark.covers("P-7")
def test_a_will_says_lost_and_a_farewell_says_leaving_on_the_nodes_own_presence(gateway, sides):
    up, down = (side.transport.will for side in sides)
    said = presences(gateway, NONCE, "leaving")
    assert up.topic == said["up"][0] == "fedtier/v1/farm/cloud/north/presence"
    assert down.topic == said["down"][0] == "fedtier/v1/farm/north/all/presence"
    for will, (_, farewell) in ((up, said["up"]), (down, said["down"])):
        assert will.retain
        assert Presence.decode(will.payload) == Presence(status="lost", nonce=NONCE)
        assert Presence.decode(farewell) == Presence(status="leaving", nonce=NONCE)


def test_credentials_are_those_of_each_side(sides):
    up, down = (side.transport.credentials for side in sides)
    assert up.username == "north"
    assert Path(up.password_file).name == "secret"
    assert (down.username, down.password_file) == (None, None)


def test_a_polite_node_lets_others_go_first(monkeypatch):
    asked = []
    monkeypatch.setattr(os, "nice", asked.append)
    step_back(0)
    step_back(5)
    assert asked == [5]
