"""`fedtier config nodes` writes what a testbed copies to its machines."""

from __future__ import annotations

import pytest

from fedtier.cli import main
from fedtier.config.node_file import load_node_file

FEDERATION = """
[federation]
id = "two"
[tree]
cloud = ["d-1", "d-2"]
[model]
artefact = "package:imu"
[plan]
rounds = 1
tau = [2]
[[link]]
codec = "identity"
[data]
source = "imu"
side = 0
[[node]]
id = "d-{1,2}"
data = { subject = "$1" }
"""
BROKER = """
[[node]]
id = "cloud"
broker_url = "mqtt://10.0.0.1:1883"
"""


def run(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main([str(argument) for argument in arguments])
    return ended.value.code


def test_every_node_gets_a_file_that_its_program_accepts(tmp_path, capsys):
    file = tmp_path / "federation.toml"
    file.write_text(FEDERATION + BROKER)
    assert run("config", "nodes", file, "--out", tmp_path / "nodes") == 0
    assert "3 node files" in capsys.readouterr().out
    device = load_node_file(tmp_path / "nodes" / "d-1.toml", role="agent")
    assert device.parent.url == "mqtt://10.0.0.1:1883"
    assert device.data.spec["subject"] == 1
    cloud = load_node_file(tmp_path / "nodes" / "cloud.toml", role="cloud")
    assert cloud.members == ("d-1", "d-2")
    assert cloud.node.federation_file == str(file)


def test_a_parent_without_a_broker_address_is_named_with_what_to_write(tmp_path, capsys):
    file = tmp_path / "federation.toml"
    file.write_text(FEDERATION)
    assert run("config", "nodes", file, "--out", tmp_path / "nodes") == 78
    assert "'cloud' has no broker address" in capsys.readouterr().err
