"""What a process says of its own memory and traffic is about itself."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

from fedtier.core.child import LinkTimes
from fedtier.ids import BootNonce, IterationPath, RunId
from fedtier.runtime.usage import LinkMeter, peak_rss_kib, process_figures
from fedtier.transport.base import Traffic
from fedtier.wire.head import Head
from fedtier.wire.plan import IDENTITY, Plan

STARTER = """
import subprocess, sys
ballast = b"x" * 300_000_000
print(subprocess.run([sys.executable, "-c", sys.argv[1]], capture_output=True, text=True).stdout)
"""
STARTED = """
import resource
from fedtier.runtime.usage import peak_rss_kib
print(peak_rss_kib(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").exists() or "VmHWM" not in Path("/proc/self/status").read_text(),
    reason="this kernel does not tell a process its own peak",
)
def test_the_memory_of_the_starting_process_is_not_counted():
    command = [sys.executable, "-c", STARTER, STARTED]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    own_kib, inherited_kib = map(int, output.split())
    assert own_kib < 200_000
    assert own_kib <= inherited_kib  # 300 MB and more on Linux


def test_what_is_held_shows_in_the_peak():
    before_kib = peak_rss_kib()
    ballast = b"x" * (before_kib * 1024 + 2**25)
    assert peak_rss_kib() >= len(ballast) // 1024
    del ballast
    assert peak_rss_kib() > before_kib + 2**15 * 0.9  # a peak does not go down again


def test_where_the_kernel_does_not_say_getrusage_does(tmp_path):
    fallback_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = tmp_path / "status"
    assert peak_rss_kib(status) >= fallback_kib
    for text in ("", "VmPeak:\t 1 kB\nVmRSS:\t 2 kB\n", "VmHWM:\n", "VmHWM:\t x kB\n"):
        status.write_text(text)
        assert peak_rss_kib(status) >= fallback_kib
    status.write_text("Name:\tpy\nVmPeak:\t   9 kB\nVmHWM:\t   12345 kB\nVmRSS:\t 1 kB\n")
    assert peak_rss_kib(status) == 12345


def test_a_process_is_one_node_of_its_tier():
    figures = process_figures()
    assert figures.nodes == 1
    assert figures.peak_rss_kib_sum == figures.peak_rss_kib_max > 10_000
    assert figures.cpu_ms_sum == figures.cpu_ms_max > 0


def head_of(run):
    plan = Plan(
        seed=7, rounds=9, tau=(2,), codecs=(IDENTITY,), schedule="constant", mu=0.1, floor=1.0
    )
    return Head(
        nonce=BootNonce(1), seq=1, run=RunId(run), epoch=0, path=IterationPath((0,)), state="open",
        task="train", model="ab" * 32, layout="cd" * 32, dimension=3, artefact="ef" * 32, blobs=(),
        tier=1, first_step=0, p0=0.0, p1=1.0, plan=plan,
    )  # fmt: skip


class Counted:
    """A transport as far as its traffic goes."""

    sent = received = 0

    def traffic(self):
        return Traffic(bytes_sent=self.sent, bytes_received=self.received)


def test_a_links_bytes_count_from_the_start_and_anew_for_each_later_run():
    transport = Counted()
    meter = LinkMeter(transport)
    transport.sent, transport.received = 100, 1000
    told = meter.figures(head_of(1), LinkTimes(offered=5, equipping=3))
    assert told.equipping == 3
    first = told.links[1]
    assert (first.bytes_up, first.bytes_down, first.micros) == (100, 1000, 5)
    transport.sent, transport.received = 150, 1500
    again = meter.figures(head_of(1), LinkTimes(offered=9)).links[1]
    assert (again.bytes_up, again.bytes_down, again.micros) == (150, 1500, 9)
    transport.sent, transport.received = 180, 1900
    second = meter.figures(head_of(2), LinkTimes()).links[1]
    assert (second.bytes_up, second.bytes_down) == (30, 400)
