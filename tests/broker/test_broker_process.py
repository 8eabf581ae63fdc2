"""Brokers start, answer, stop, and never outlive the process that started them."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fedtier.broker import BrokerProcess, BrokerSettings
from fedtier.broker.ports import check_port
from fedtier.broker.probe import speaks_mqtt
from fedtier.broker.process import LOG_NAME
from fedtier.errors import EXIT_CONFIG, ConfigError, LinkError
from fedtier.render.broker_files import ListenerTls
from fedtier.transport.address import parse_url

KINDS = ["embedded", "mosquitto"]


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    if request.param == "mosquitto":
        request.getfixturevalue("mosquitto_binary")
    return request.param


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        return sock.connect_ex(("127.0.0.1", port)) == 0


def test_broker_answers_when_it_is_handed_out_and_is_gone_after(kind, tmp_path):
    settings = BrokerSettings(kind=kind)
    with BrokerProcess.start(settings, tmp_path / "deep" / "directory") as broker:
        assert speaks_mqtt(broker.address)
        assert broker.alive
    assert not broker.alive
    assert not _listens(broker.port)
    broker.stop()


def test_several_brokers_live_side_by_side(kind, tmp_path):
    with (
        BrokerProcess.start(BrokerSettings(kind=kind), tmp_path / "1") as one,
        BrokerProcess.start(BrokerSettings(kind=kind), tmp_path / "2") as two,
    ):
        assert one.port != two.port
        one.stop()
        assert speaks_mqtt(two.address)


def test_broker_that_does_not_heed_sigterm_is_killed(kind, tmp_path):
    broker = BrokerProcess.start(BrokerSettings(kind=kind), tmp_path)
    os.kill(broker.pid, signal.SIGSTOP)
    broker.stop(deadline_s=0.1)
    assert not broker.alive


def test_port_in_use_is_named_with_the_way_to_find_its_holder(kind, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        with pytest.raises(
            ConfigError, match=rf"port {port} .* in use.*ss -ltnp 'sport = :{port}'"
        ):
            BrokerProcess.start(BrokerSettings(kind=kind, port=port), tmp_path)


def test_broker_that_loses_its_port_at_the_last_moment_tries_another(kind, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        taken = holder.getsockname()[1]
        with socket.create_server(("127.0.0.1", 0)) as other:
            free = other.getsockname()[1]
        offered = iter([taken, free])
        monkeypatch.setattr("fedtier.broker.process.free_port", lambda _: next(offered))
        with BrokerProcess.start(BrokerSettings(kind=kind), tmp_path) as broker:
            assert broker.port == free


def test_foreign_address_is_no_bind_address():
    with pytest.raises(ConfigError, match="an address of this host"):
        check_port("192.0.2.1", 1883)


def test_missing_mosquitto_is_a_sentence_with_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("fedtier.broker.process._SBIN", ())
    with pytest.raises(ConfigError, match="apt-get install -y mosquitto"):
        BrokerProcess.start(BrokerSettings(kind="mosquitto"), tmp_path)


def test_broker_that_refuses_its_files_shows_its_own_words(mosquitto_binary, tmp_path):
    absent = str(tmp_path / "absent.crt")
    tls = ListenerTls(ca_file=absent, certificate_file=absent, key_file=absent)
    with pytest.raises(ConfigError, match=r"absent\.crt"):
        BrokerProcess.start(BrokerSettings(kind="mosquitto", tls=tls), tmp_path)


def test_broker_that_never_answers_is_stopped_and_reported(kind, tmp_path, monkeypatch):
    monkeypatch.setattr("fedtier.broker.process.speaks_mqtt", lambda _: False)
    with pytest.raises(LinkError, match="did not answer"):
        BrokerProcess.start(BrokerSettings(kind=kind), tmp_path, deadline_s=0.05)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"kind": "hivemq"}, "embedded, mosquitto"),
        ({"kind": "mosquitto", "port": 70_000}, "65535"),
        ({"kind": "mosquitto", "part_bytes": 100}, "4096"),
        ({"kind": "embedded", "host": "0.0.0.0"}, "127.0.0.1 only"),
        ({"kind": "embedded", "acl": "user x"}, "no passwords"),
    ],
)
def test_impossible_settings_are_refused_with_the_remedy(arguments, message):
    with pytest.raises(ConfigError, match=message):
        BrokerSettings(**arguments)


def test_anonymous_clients_are_let_in_only_where_nothing_else_is_asked_for():
    assert BrokerSettings(kind="mosquitto").admits_anonymous
    assert not BrokerSettings(kind="mosquitto", acl="user x").admits_anonymous
    assert BrokerSettings(kind="mosquitto", acl="x", allow_anonymous=True).admits_anonymous


def test_start_from_a_thread_is_refused_since_the_broker_would_die_with_it(tmp_path):
    refusals: list[str] = []

    def start() -> None:
        try:
            BrokerProcess.start(BrokerSettings(kind="embedded"), tmp_path)
        except AssertionError as error:
            refusals.append(str(error))

    thread = threading.Thread(target=start)
    thread.start()
    thread.join()
    assert "main thread" in refusals[0]


STARTER = """
import sys, time
from pathlib import Path
from fedtier.broker import BrokerProcess, BrokerSettings
broker = BrokerProcess.start(BrokerSettings(kind=sys.argv[1]), Path(sys.argv[2]))
print(broker.pid, broker.port, flush=True)
time.sleep(600)
"""


def test_broker_dies_with_a_starter_that_is_killed(kind, tmp_path, eventually):
    starter = subprocess.Popen(
        [sys.executable, "-c", STARTER, kind, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with starter:
        pid, port = (int(word) for word in starter.stdout.readline().split())
        assert _listens(port)
        starter.kill()
    try:
        eventually(lambda: not _alive(pid), f"the {kind} broker {pid} ends with its starter")
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # nobody may have collected it yet


def _service(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "fedtier.broker", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_service_in_the_foreground_is_the_broker_itself(kind, tmp_path, free_port, eventually):
    address = parse_url(f"mqtt://127.0.0.1:{free_port}")
    service = _service("--kind", kind, "--port", str(free_port), "--dir", str(tmp_path))
    with service:
        eventually(lambda: service.poll() is not None or speaks_mqtt(address), "it answers")
        command = Path(f"/proc/{service.pid}/cmdline").read_text()
        service.terminate()
        assert service.wait(10) in (0, -signal.SIGTERM)
    assert ("mosquitto.conf" if kind == "mosquitto" else "iotcore.toml") in command
    assert not (tmp_path / LOG_NAME).exists()  # its log is the service manager's


def test_service_with_a_taken_port_exits_78(kind, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = str(holder.getsockname()[1])
        service = _service("--kind", kind, "--port", port, "--dir", str(tmp_path))
        output, _ = service.communicate(timeout=30)
    assert service.returncode == EXIT_CONFIG
    assert "in use" in output


def test_probe_is_not_fooled_by_something_that_is_no_broker():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = parse_url(f"mqtt://127.0.0.1:{listener.getsockname()[1]}")
        began_s = time.monotonic()
        assert not speaks_mqtt(address, wait_s=0.1)
        assert time.monotonic() - began_s < 10
