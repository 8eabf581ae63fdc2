"""Signals that come while something must not be broken act after it."""

from __future__ import annotations

import signal

import pytest

from edge_agent.probe.held_signals import held


def test_ctrl_c_acts_after_the_block():
    done = []

    def work():
        with held(signal.SIGINT, signal.SIGALRM):
            signal.raise_signal(signal.SIGINT)
            done.append("whole")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert done == ["whole"]
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_one_that_is_ignored_stays_so():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with held(signal.SIGINT):
            signal.raise_signal(signal.SIGINT)
        assert signal.getsignal(signal.SIGINT) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
