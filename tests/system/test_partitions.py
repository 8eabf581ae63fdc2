"""Links and brokers that fall silent without ending a connection, and come back."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from counting_proxy import CountingProxy
from testbed import Testbed

LONG = {"rounds": 8, "tau": (8, 2)}
KEEPALIVE_S = 5  # the shortest that a node file takes


def _reconnect(bed: Testbed, node: str, table: str, *, url: str | None = None) -> None:
    """Give a node's connection the shortest keep-alive, and perhaps another way to its broker."""
    file: Path = bed.file(node)
    before, heading, after = file.read_text(encoding="utf-8").partition(f"[{table}]\n")
    assert heading, f"{node} has no [{table}]"
    if url is not None:
        first, line, rest = after.partition("url = ")
        after = f'{first}{line}"{url}"\n{rest.split(chr(10), 1)[1]}'
    file.write_text(f"{before}{heading}keepalive_s = {KEEPALIVE_S}\n{after}", encoding="utf-8")


def _start(bed: Testbed) -> Path:
    out = bed.directory / "out"
    bed.start_fleet()
    bed.start_cloud("--out", out)
    bed.wait_until(lambda: len(bed.rows(out)) >= 2, "two rounds have closed")
    return out


def _count(bed: Testbed, node: str, words: str) -> int:
    return bed.nodes[node].log.count(words)


def test_a_link_that_goes_silent_for_longer_than_the_keep_alive_changes_nothing(
    testbed, digest_alone
):
    bed = testbed(**LONG)
    with CountingProxy(bed.brokers["cloud"].port) as link:
        _reconnect(bed, "west", "parent", url=link.url)
        out = _start(bed)
        link.cut()
        closed = len(bed.rows(out))
        bed.wait_until(lambda: _count(bed, "west", " disconnected "), "west notices")
        bed.wait_until(
            lambda: _count(bed, "cloud", "member lost  node=west"), "and so does the cloud's broker"
        )
        assert len(bed.rows(out)) <= closed + 1, "a round closed without west"
        assert len(bed.rows(out)) < LONG["rounds"], "it was cut too late"
        link.mend()
        assert bed.finished(out)["model_digest"] == digest_alone(**LONG)
    log = bed.nodes["west"].log
    lost = [line for line in log.splitlines() if " disconnected " in line]
    silent = "has been silent for longer than the keep-alive"
    assert [silent in line for line in lost].count(True) == 1, log  # the proxy's end is no silence
    assert "Traceback" not in log


@pytest.mark.parametrize("broker", ["mosquitto", "embedded"])
def test_a_broker_that_stands_still_for_longer_than_the_keep_alive_changes_nothing(
    testbed, digest_alone, broker
):
    """As on a board whose disk or memory hangs: the kernel still takes what is sent to it."""
    bed = testbed(broker=broker, **LONG)
    for node, table in (("west", "cell"), ("w-0", "parent"), ("w-1", "parent")):
        _reconnect(bed, node, table)
    out = _start(bed)
    pid = bed.brokers["west"].pid
    os.kill(pid, signal.SIGSTOP)
    try:
        bed.wait_until(
            lambda: all(_count(bed, node, " disconnected ") for node in ("west", "w-0", "w-1")),
            "all three notice",
        )
        bed.wait_until(
            lambda: _count(bed, "west", "broker unreachable"), "west tries again in vain"
        )
        assert len(bed.rows(out)) < LONG["rounds"], "it was stopped too late"
    finally:
        os.kill(pid, signal.SIGCONT)
    assert bed.finished(out)["model_digest"] == digest_alone(**LONG)
