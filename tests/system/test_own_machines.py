"""From one federation file to a run: rendered, copied, passwords made, brokers and nodes started.

Of what is rendered only the places of the brokers' files are changed, as /etc/mosquitto is the
machine's own.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from testbed import Program, wait_until

from fedtier.artefact.artefact import Artefact
from fedtier.broker.ports import free_port
from fedtier.broker.probe import speaks_mqtt
from fedtier.transport.address import parse_url

ROLES = {"cloud": "cloud", "west": "gateway", "w-0": "agent", "w-1": "agent"}


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def urls() -> dict[str, str]:
    return {parent: f"mqtt://127.0.0.1:{free_port()}" for parent in ("cloud", "west")}


@pytest.fixture
def nodes(tmp_path, artefact_dir, write_federation, data_dir, urls) -> Path:
    """The directories, rendered on a machine that is then gone."""
    office = tmp_path / "office"
    office.mkdir()
    file = write_federation(
        "office/federation.toml",
        tree={"cloud": ["west"], "west": ["w-0", "w-1"]},
        links=[{"codec": "qsgd", "levels": 7, "bucket": 128}, {"codec": "identity"}],
    )
    Artefact.load(artefact_dir).write(office / "model")
    brokers = "".join(
        f'\n[[node]]\nid = "{parent}"\nbroker_url = "{url}"\n' for parent, url in urls.items()
    )
    text = file.read_text(encoding="utf-8").replace(json.dumps(str(artefact_dir)), '"model"')
    file.write_text(text + '\n[broker]\npassword_file = "password"\n' + brokers, encoding="utf-8")
    program = Program.fedtier(
        "config", "nodes", file, "--out", office / "nodes", "--state-dir", tmp_path / "state",
        log_path=tmp_path / "render.log",
    )  # fmt: skip
    assert program.exit_code() == 0, program.log
    shutil.move(office / "nodes", tmp_path / "nodes")
    shutil.rmtree(office)
    return tmp_path / "nodes"


def make_passwords(nodes: Path) -> None:
    """By the commands that README.txt gives."""
    readme = (nodes / "README.txt").read_text(encoding="utf-8")
    section = readme.partition("2. Who may join")[2].partition("3. Copy")[0]
    script = "\n".join(line[4:] for line in section.splitlines() if line.startswith("    "))
    assert "mosquitto_passwd" in script
    subprocess.run(["sh", "-euc", script], cwd=nodes, check=True, capture_output=True)


def start_broker(mosquitto: str, directory: Path, url: str, stack: ExitStack) -> Program:
    """A parent's broker from its own files, which stay in its directory."""
    conf = (directory / "mosquitto.conf").read_text(encoding="utf-8")
    assert "allow_anonymous false" in conf
    places = {
        "/etc/mosquitto/fedtier.acl": directory / "mosquitto.acl",
        "/etc/mosquitto/fedtier.passwd": directory / "mosquitto.passwd",
    }
    for installed, here in places.items():
        assert installed in conf
        conf = conf.replace(installed, str(here))
    adapted = directory / "adapted.conf"
    # Root's mosquitto would change its user, and could not read a test's directory.
    adapted.write_text(f"user root\n{conf}", encoding="utf-8")
    program = Program([mosquitto, "-c", str(adapted)], directory / "broker.log")
    stack.callback(program.kill)
    wait_until(lambda: speaks_mqtt(parse_url(url)) or not program.running, "the broker answers")
    assert program.running, program.log
    return program


def test_what_is_rendered_trains_on_brokers_with_passwords_and_rights(
    nodes, urls, mosquitto_binary, openssl_binary, tmp_path, stack
):
    make_passwords(nodes)
    brokers = {
        parent: start_broker(mosquitto_binary, nodes / parent, url, stack)
        for parent, url in urls.items()
    }
    programs: dict[str, Program] = {}
    for node in ("west", "w-0", "w-1", "cloud"):
        role = ROLES[node]
        programs[node] = Program.fedtier(
            role, "run", "--config", nodes / node / f"{role}.toml",
            log_path=tmp_path / "logs" / f"{node}.log",
        )  # fmt: skip
        stack.callback(programs[node].kill)
    cloud = programs["cloud"]
    others = [programs[node] for node in ("west", "w-0", "w-1")]
    wait_until(
        lambda: not cloud.running or not all(other.running for other in others), "the run ends"
    )
    logs = "\n".join(program.log for program in [*programs.values(), *brokers.values()])
    assert all(other.running for other in others), logs
    assert cloud.exit_code() == 0, logs
    report = json.loads((tmp_path / "state" / "run" / "report.json").read_bytes())
    assert (report["tiers"], report["devices"], report["rounds"]) == (2, 2, 2)
    assert [link["lost"] for link in report["links"]] == [0, 0]


def test_a_node_with_another_nodes_password_is_kept_out(
    nodes, urls, mosquitto_binary, openssl_binary, tmp_path, stack
):
    make_passwords(nodes)
    start_broker(mosquitto_binary, nodes / "west", urls["west"], stack)
    shutil.copy(nodes / "w-1" / "password", nodes / "w-0" / "password")
    program = Program.fedtier(
        "agent", "run", "--config", nodes / "w-0" / "agent.toml", log_path=tmp_path / "w-0.log"
    )
    stack.callback(program.kill)
    wait_until(lambda: "Not authorized" in program.log or not program.running, "it is refused")
    assert "Not authorized" in program.log, program.log
    assert " connected " not in program.log
