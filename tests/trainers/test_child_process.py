"""An agent's child is deaf to what is sent to the whole group, from its first instruction on."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from edge_agent.child_process import start_child


def blocked(pid):
    (line,) = (t for t in Path(f"/proc/{pid}/status").read_text().splitlines() if "SigBlk" in t)
    mask = int(line.split()[1], 16)
    return {number for number in signal.valid_signals() if mask >> (number - 1) & 1}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_lives_on_as_it_loads_and_ends_with_its_starter(number, capfd):
    ours, its = socket.socketpair()
    with its:
        child = start_child(
            "edge_agent.graph_main", [str(its.fileno()), "60"], passing=[its.fileno()]
        )
    child.send_signal(number)
    assert blocked(child.pid) == {signal.SIGINT, signal.SIGTERM}
    ours.close()
    assert child.wait(timeout=60) == 0
    assert capfd.readouterr() == ("", "")


def test_its_starter_goes_on_hearing_them(monkeypatch):
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    with pytest.raises(FileNotFoundError):
        start_child("edge_agent.graph_main", [], passing=[])
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
