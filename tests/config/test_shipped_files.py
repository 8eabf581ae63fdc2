"""Every file we ship can be used as it stands, and agrees with what the program would write."""

from __future__ import annotations

import tomllib
from importlib.resources import files
from pathlib import Path

import pytest

from fedtier.config.board import board_names, load_board
from fedtier.config.federation import load_federation
from fedtier.config.inspect_file import inspect_file
from fedtier.config.node_file import load_node_file
from fedtier.errors import ConfigError
from fedtier.ids import FederationId, NodeId
from fedtier.render.broker_files import ListenerTls, acl_file, iotcore_toml, mosquitto_conf
from fedtier.render.node_files import render_node_files

SHIPPED = Path(__file__).parents[2] / "firmware_configs"
FEDERATIONS = {
    "wearables-3-tier": (3, 16, 6),
    "factory-2-tier": (2, 12, 3),
    "campus-4-tier": (4, 14, 10),
}


def options(text: str) -> list[str]:
    return [line for line in text.splitlines() if line.strip() and not line.startswith("#")]


def test_the_files_are_found_as_resources_of_the_installed_package():
    assert (files("firmware_configs") / "federations" / "wearables-3-tier.toml").is_file()


def test_every_federation_is_named_here():
    assert {path.stem for path in SHIPPED.glob("federations/*.toml")} == set(FEDERATIONS)


@pytest.mark.parametrize("name", FEDERATIONS)
def test_a_federation_has_the_shape_its_name_says(name):
    tiers, devices, gateways = FEDERATIONS[name]
    federation = load_federation(SHIPPED / "federations" / f"{name}.toml")
    assert federation.tiers == tiers
    assert len(federation.topology.devices()) == devices
    assert len(federation.topology.gateways()) == gateways
    assert set(federation.plan.quorum) == {"all"}
    assert set(federation.plan.deadline_s) == {None}
    for extras in federation.nodes.values():
        if extras.board is not None:
            load_board(extras.board)


@pytest.mark.parametrize("name", FEDERATIONS)
def test_every_parent_has_a_broker_of_its_own_with_passwords(name):
    federation = load_federation(SHIPPED / "federations" / f"{name}.toml")
    parents = federation.topology.parents()
    assert {parent: federation.nodes[parent].broker_url for parent in parents} == {
        parent: f"mqtt://{parent}.local:1883" for parent in parents
    }
    for extras in federation.nodes.values():
        assert extras.access.given == {"password_file": "/etc/fedtier/password"}


@pytest.mark.parametrize("name", FEDERATIONS)
def test_brokers_of_ones_own_take_the_place_of_those_in_a_shipped_file(name):
    federation = load_federation(SHIPPED / "federations" / f"{name}.toml")
    texts = render_node_files(
        federation,
        directory=Path("/run"),
        federation_file=Path("/run/federation.toml"),
        broker_urls=dict.fromkeys(federation.topology.parents(), "mqtt://127.0.0.1:1"),
        broker_kind="url",
    )
    assert not [text for text in texts.values() if ".local" in text or "password" in text]


@pytest.mark.parametrize("name", FEDERATIONS)
def test_no_wrist_trains_on_two_devices_or_is_also_held_out(name):
    federation = load_federation(SHIPPED / "federations" / f"{name}.toml")
    specs = [federation.nodes[device].data for device in federation.topology.devices()]
    wrists = [(spec["subject"], spec["side"]) for spec in specs]
    assert len(set(wrists)) == len(wrists)
    assert federation.evaluation is not None
    held_out = federation.evaluation["subjects"]
    assert isinstance(held_out, list)
    assert not {subject for subject, _ in wrists} & set(held_out)


def test_the_demos_federation_is_the_one_its_readers_expect():
    federation = load_federation(SHIPPED / "federations" / "wearables-3-tier.toml")
    assert federation.plan.tau == (4, 4, 1)
    assert federation.plan.rounds == 100
    assert (federation.plan.schedule.mu, federation.plan.schedule.floor) == (0.4, 0.05)
    assert federation.nodes[NodeId("watch-8-1")].data == {"source": "imu", "subject": 8, "side": 1}


def test_two_devices_of_the_campus_hang_below_a_higher_tier():
    federation = load_federation(SHIPPED / "federations" / "campus-4-tier.toml")
    topology = federation.topology
    high = {
        device: topology.repeats(federation.plan.tau, device)
        for device in topology.devices()
        if topology.repeats(federation.plan.tau, device) != federation.plan.tau[0]
    }
    assert high == {"kiosk-7-0": 4 * 2 * 2, "porch-7-1": 4 * 2}


@pytest.mark.parametrize("board", ["pi-zero-2w", "pi-3b-plus", "pi-4", "pi-5", "x86-gateway"])
def test_a_board_profile_says_that_it_was_not_measured(board):
    profile = load_board(board)
    assert profile.name == board
    assert not profile.measured
    assert profile.board.threads == 1  # more are not bit-exact


def test_an_unknown_board_is_refused_with_the_nearest(tmp_path):
    assert len(board_names()) == 5
    with pytest.raises(ConfigError, match=r"'pi4' is not shipped\. Did you mean 'pi-4'\?"):
        load_board("pi4")
    own = tmp_path / "own.toml"
    own.write_text('name = "own"\ndescription = "x"\n[board]\nthreads = 2\n', encoding="utf-8")
    assert load_board(str(own)).board.threads == 2


@pytest.mark.parametrize("role", ["agent", "gateway", "cloud"])
def test_a_sample_node_file_is_right(role):
    file = load_node_file(SHIPPED / "nodes" / f"{role}.toml", role=role)
    federation = load_federation(SHIPPED / "federations" / "wearables-3-tier.toml")
    node = federation.topology.node(file.id)
    assert file.node.tier == node.tier
    assert (file.parent.id if file.parent else None) == node.parent
    assert file.members == federation.topology.children(file.id)


def test_every_file_is_named_in_the_readme():
    readme = (SHIPPED / "README.md").read_text(encoding="utf-8")
    for path in SHIPPED.rglob("*"):
        if path.is_file() and path.name != "README.md" and "__pycache__" not in path.parts:
            folder = path.parent.name
            assert path.name in readme or f"`{folder}/*.toml`" in readme, path


@pytest.mark.parametrize(
    "path",
    sorted(p for folder in ("boards", "nodes", "federations") for p in SHIPPED.glob(f"{folder}/*")),
    ids=lambda path: path.stem,
)
def test_check_takes_every_kind_of_file(path):
    assert inspect_file(path).summary


def test_the_broker_templates_are_what_the_program_would_write():
    brokers = SHIPPED / "brokers"
    common = {"part_bytes": 65536, "children": 16}
    plain = mosquitto_conf(
        host="0.0.0.0",
        port=1883,
        allow_anonymous=False,
        acl_file="/etc/mosquitto/fedtier.acl",
        password_file="/etc/mosquitto/fedtier.passwd",
        **common,
    )
    tls = mosquitto_conf(
        host="0.0.0.0",
        port=8883,
        allow_anonymous=False,
        acl_file="/etc/mosquitto/fedtier.acl",
        tls=ListenerTls(
            ca_file="/etc/mosquitto/certs/ca.crt",
            certificate_file="/etc/mosquitto/certs/broker.crt",
            key_file="/etc/mosquitto/certs/broker.key",
        ),
        **common,
    )
    rights = acl_file(federation=FederationId("wearables"), cells=[NodeId("home-1")])
    embedded = iotcore_toml(host="127.0.0.1", port=1883, **common)
    assert options((brokers / "mosquitto-cell.conf").read_text()) == options(plain)
    assert options((brokers / "mosquitto-cell-tls.conf").read_text()) == options(tls)
    assert options((brokers / "cell.acl").read_text()) == options(rights)
    assert tomllib.loads((brokers / "embedded.toml").read_text()) == tomllib.loads(embedded)
