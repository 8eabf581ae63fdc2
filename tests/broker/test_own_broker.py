"""A node's own broker is watched: a node whose broker dies ends, and says why."""

from __future__ import annotations

import os
import queue
import signal
import threading
from contextlib import ExitStack

import pytest

from fedtier.broker.own import own_broker
from fedtier.broker.process import LOG_NAME, BrokerProcess
from fedtier.config.node_file import parse_node_file
from fedtier.errors import EXIT_UNREACHABLE

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

[cell]
url = "mqtt://127.0.0.1:{port}"
members = ["cow-1", "cow-2"]
kind = "{kind}"
start = {start}
"""


@pytest.fixture(params=["embedded", "mosquitto"])
def kind(request):
    if request.param == "mosquitto":
        request.getfixturevalue("mosquitto_binary")
    return request.param


def watches():
    return [thread for thread in threading.enumerate() if thread.name == "own broker"]


def gateway(tmp_path, *, kind, port, start="true"):
    text = GATEWAY.format(kind=kind, port=port, start=start)
    return parse_node_file(text, where="north.toml", directory=tmp_path)


@pytest.fixture
def started(monkeypatch):
    """The brokers that are started, to kill them by."""
    brokers = []
    start = BrokerProcess.start

    def remember(*arguments, **options):
        brokers.append(start(*arguments, **options))
        return brokers[-1]

    monkeypatch.setattr(BrokerProcess, "start", remember)
    return brokers


def test_a_broker_that_is_killed_ends_its_node_with_69_and_its_log(
    kind, tmp_path, free_port, started
):
    told = queue.Queue()
    with ExitStack() as stack:
        file = gateway(tmp_path, kind=kind, port=free_port)
        own_broker(file, stack, lambda *how: told.put(how))
        (broker,) = started
        os.kill(broker.pid, signal.SIGKILL)
        code, reason = told.get(timeout=30)
    assert code == EXIT_UNREACHABLE
    for part in (kind, broker.url, "code -9", broker.log_tail(), LOG_NAME):
        assert part in reason
    assert told.empty()
    assert watches() == []


def test_a_broker_that_is_stopped_with_its_node_is_nothing_to_tell(
    kind, tmp_path, free_port, started
):
    told = queue.Queue()
    with ExitStack() as stack:
        file = gateway(tmp_path, kind=kind, port=free_port)
        own_broker(file, stack, lambda *how: told.put(how))
        assert len(watches()) == 1
    assert told.empty()
    assert watches() == []
    assert not started[0].alive


def test_a_broker_that_is_another_ones_is_neither_started_nor_watched(tmp_path, free_port):
    with ExitStack() as stack:
        file = gateway(tmp_path, kind="mosquitto", port=free_port, start="false")
        own_broker(file, stack, lambda *how: pytest.fail("told"))
        assert watches() == []
