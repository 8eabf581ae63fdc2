"""`fedtier config nodes` writes what a testbed copies to its machines."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from fedtier.artefact.find import find_artefact
from fedtier.cli import main
from fedtier.config.federation import load_federation
from fedtier.config.inspect_file import inspect_file
from fedtier.config.node_file import load_node_file

ROOT = Path(__file__).parents[2]
SHIPPED = sorted((ROOT / "firmware_configs" / "federations").glob("*.toml"))
FEDERATION = """
[federation]
id = "two"
[tree]
cloud = ["d-1", "d-2"]
[model]
artefact = "{artefact}"
[plan]
rounds = 1
tau = [2]
[[link]]
codec = "identity"
[data]
source = "imu"
path = "{path}"
side = 0
[[node]]
id = "d-{{1,2}}"
data = {{ subject = "$1" }}
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


@pytest.fixture
def write(tmp_path):
    def file(rest: str = BROKER, *, artefact: str = "package:imu", path: str = "imu.npz") -> Path:
        place = tmp_path / "federation.toml"
        place.write_text(FEDERATION.format(artefact=artefact, path=path) + rest)
        return place

    return file


def names(directory: Path) -> set[str]:
    return {str(p.relative_to(directory)) for p in directory.rglob("*") if p.is_file()}


def contents(directory: Path) -> dict[str, bytes]:
    return {name: (directory / name).read_bytes() for name in names(directory)}


def test_every_node_gets_a_directory_with_all_it_needs(write, tmp_path, capsys):
    out = tmp_path / "nodes"
    assert run("config", "nodes", write(), "--out", out) == 0
    said = capsys.readouterr().out
    assert "3 nodes" in said
    assert f"scp -rp {out}/cloud/. cloud:/etc/fedtier/" in said
    assert names(out) == {
        "README.txt",
        "cloud/cloud.toml", "cloud/federation.toml", "cloud/fedtier-cloud.service",
        "cloud/mosquitto.conf",
        "d-1/agent.toml", "d-1/fedtier-agent.service",
        "d-2/agent.toml", "d-2/fedtier-agent.service",
    }  # fmt: skip
    device = load_node_file(out / "d-1" / "agent.toml", role="agent")
    assert device.parent.url == "mqtt://10.0.0.1:1883"
    assert device.data.spec["subject"] == 1
    cloud = load_node_file(out / "cloud" / "cloud.toml", role="cloud")
    assert cloud.members == ("d-1", "d-2")
    assert cloud.node.federation_file == str(out / "cloud" / "federation.toml")
    assert load_federation(out / "cloud" / "federation.toml").id == "two"


@pytest.mark.parametrize("file", SHIPPED, ids=lambda path: path.stem)
def test_a_shipped_federation_comes_out_as_it_stands(file, tmp_path):
    out = tmp_path / "nodes"
    assert run("config", "nodes", file, "--out", out) == 0
    federation = load_federation(file)
    assert {p.name for p in out.iterdir() if p.is_dir()} == {n.id for n in federation.topology}
    for node in federation.topology:
        assert inspect_file(out / node.id / f"{node.role}.toml").summary
        acl = out / node.id / "mosquitto.acl"
        assert acl.exists() != node.is_device
        if acl.exists():
            assert f"user {node.id}\n" in acl.read_text()


@pytest.mark.parametrize("kind", ["relative", *(path.stem for path in SHIPPED)])
def test_nothing_is_written_of_the_machine_that_writes(kind, write, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    find_artefact("package:imu").write(tmp_path / "models" / "own")
    file = write(artefact="models/own", path="data/imu.npz")
    if kind != "relative":
        file = ROOT / "firmware_configs" / "federations" / f"{kind}.toml"
    assert run("config", "nodes", file, "--out", "nodes") == 0
    here = {str(tmp_path), str(ROOT), str(Path.home()), sys.prefix}
    for name, content in contents(tmp_path / "nodes").items():
        for place in here - {"/"}:
            assert place.encode() not in content, f"{place} stands in {name}"


def test_paths_of_data_are_relative_to_the_nodes_own_file_wherever_that_is(write, tmp_path):
    written = {"data/imu.npz": "{}/data/imu.npz", "/srv/imu.npz": "/srv/imu.npz", "~/i": "~/i"}
    for number, (path, found) in enumerate(written.items()):
        out = tmp_path / str(number)
        assert run("config", "nodes", write(path=path), "--out", out) == 0
        device = load_node_file(out / "d-1" / "agent.toml")
        assert device.data.spec["path"] == found.format(out / "d-1")


def test_a_model_beside_the_federation_file_goes_along(write, tmp_path):
    own = find_artefact("package:imu")
    own.write(tmp_path / "models" / "own")
    out = tmp_path / "sub" / "nodes"
    assert run("config", "nodes", write(artefact="models/own"), "--out", out) == 0
    file = load_node_file(out / "cloud" / "cloud.toml")
    assert file.node.artefact == str(out / "cloud" / "artefact")
    assert find_artefact(file.node.artefact).digest == own.digest
    # A device has it from its parent.
    assert load_node_file(out / "d-1" / "agent.toml").node.artefact is None
    assert not [name for name in names(out / "d-1") if "artefact" in name]


def test_a_device_that_counts_its_examples_begins_with_the_model(write, tmp_path):
    find_artefact("package:imu").write(tmp_path / "own")
    out = tmp_path / "nodes"
    file = write(artefact="own")
    text = file.read_text(encoding="utf-8")
    file.write_text(
        text.replace('id = "two"', 'id = "two"\nweights = "examples"'), encoding="utf-8"
    )
    assert run("config", "nodes", file, "--out", out) == 0
    device = load_node_file(out / "d-1" / "agent.toml").node
    assert (device.weight, device.artefact) == ("examples", str(out / "d-1" / "artefact"))


def test_a_model_that_is_not_there_is_refused_before_anything_is_written(write, tmp_path, capsys):
    out = tmp_path / "nodes"
    assert run("config", "nodes", write(artefact="models/none"), "--out", out) == 78
    assert str(tmp_path / "models" / "none" / "manifest.json") in capsys.readouterr().err
    assert not out.exists()


def test_a_model_with_an_absolute_path_is_left_to_the_nodes_machines(write, tmp_path):
    out = tmp_path / "nodes"
    assert run("config", "nodes", write(artefact="/srv/model"), "--out", out) == 0
    assert load_node_file(out / "cloud" / "cloud.toml").node.artefact == "/srv/model"
    assert not [name for name in names(out) if "artefact" in name]


def test_files_that_were_changed_are_not_overwritten_and_the_same_again_is_fine(
    write, tmp_path, capsys
):
    out, file = tmp_path / "nodes", write()
    assert run("config", "nodes", file, "--out", out) == 0
    before = contents(out)
    assert run("config", "nodes", file, "--out", out) == 0
    assert "0 written" in capsys.readouterr().out
    changed = out / "d-2" / "agent.toml"
    changed.write_text("# mine\n")
    (out / "d-1" / "agent.toml").unlink()
    assert run("config", "nodes", file, "--out", out) == 78
    error = capsys.readouterr().err
    assert str(changed) in error
    assert "--force" in error
    assert changed.read_text() == "# mine\n"
    assert not (out / "d-1" / "agent.toml").exists()
    assert run("config", "nodes", file, "--out", out, "--force") == 0
    assert contents(out) == before


def test_a_file_that_is_in_the_way_and_no_text_is_an_error_of_the_disk(write, tmp_path, capsys):
    (tmp_path / "nodes" / "d-1" / "agent.toml").mkdir(parents=True)
    assert run("config", "nodes", write(), "--out", tmp_path / "nodes") == 74
    assert "agent.toml cannot be read" in capsys.readouterr().err


def test_brokers_that_run_already_get_no_files(write, tmp_path):
    out = tmp_path / "nodes"
    login = '[broker]\nkind = "url"\nusername = "fleet"\npassword_file = "secret"\n'
    assert run("config", "nodes", write(BROKER + login), "--out", out) == 0
    assert not [name for name in names(out) if "mosquitto" in name]
    device = load_node_file(out / "d-1" / "agent.toml").parent
    assert (device.username, device.password_file) == ("fleet", str(out / "d-1" / "secret"))
    readme = (out / "README.txt").read_text()
    assert "mosquitto_passwd" not in readme
    assert "-u mosquitto" not in readme
    assert "/etc/mosquitto" not in readme


def test_without_passwords_the_readme_says_that_anybody_may_join(write, tmp_path):
    assert run("config", "nodes", write(), "--out", tmp_path / "nodes") == 0
    readme = " ".join((tmp_path / "nodes" / "README.txt").read_text().split())
    assert "let in whoever reaches them" in readme


def test_with_certificates_the_readme_says_where_they_are_looked_for(write, tmp_path):
    login = '[broker]\ncertfile = "node.crt"\nkeyfile = "node.key"\n'
    rest = BROKER.replace("mqtt:", "mqtts:") + login
    assert run("config", "nodes", write(rest), "--out", tmp_path / "nodes") == 0
    readme = " ".join((tmp_path / "nodes" / "README.txt").read_text().split())
    assert "common name is the node's id" in readme
    assert "/etc/mosquitto/certs/broker.crt" in readme
    assert "node.crt, node.key" in readme


def test_a_parent_without_a_broker_address_is_named_with_what_to_write(write, tmp_path, capsys):
    assert run("config", "nodes", write(""), "--out", tmp_path / "nodes") == 78
    error = capsys.readouterr().err
    assert "'cloud' has no broker address" in error
    assert '[broker] kind = "url"' in error


def test_the_embedded_broker_is_for_one_machine(write, tmp_path, capsys):
    file = write(BROKER + '[broker]\nkind = "embedded"\n')
    assert run("config", "nodes", file, "--out", tmp_path / "nodes") == 78
    assert 'Use "mosquitto"' in capsys.readouterr().err


def test_a_state_directory_elsewhere_stands_in_files_units_and_the_readme(write, tmp_path):
    out = tmp_path / "nodes"
    assert run("config", "nodes", write(), "--out", out, "--state-dir", "/srv/state") == 0
    assert load_node_file(out / "d-1" / "agent.toml").node.state_dir == "/srv/state/state/d-1"
    assert "ReadWritePaths=/srv/state\n" in (out / "d-1" / "fedtier-agent.service").read_text()
    assert "-m 750 /srv/state\n" in (out / "README.txt").read_text()


def test_a_relative_state_directory_is_refused(write, tmp_path, capsys):
    options = ("--out", tmp_path / "nodes", "--state-dir", "state")
    assert run("config", "nodes", write(), *options) == 78
    assert "--state-dir state is relative" in capsys.readouterr().err


def test_what_is_left_of_another_tree_is_named_and_copied_nowhere(tmp_path, capsys):
    file, out = tmp_path / "federation.toml", tmp_path / "nodes"
    file.write_text(FEDERATION.format(artefact="package:imu", path="imu.npz") + BROKER)
    (out / "d-9").mkdir(parents=True)
    assert run("config", "nodes", file, "--out", out) == 0
    shown = capsys.readouterr().err
    assert "warning" in shown
    assert str(out / "d-9") in shown
    assert "d-9" not in (out / "README.txt").read_text()
