"""What this process has used: memory, processor, and bytes on a link since the run began."""

from __future__ import annotations

import resource
import time
from pathlib import Path

from fedtier.core.child import LinkTimes
from fedtier.core.figures import Figures, LinkFigures, TierFigures
from fedtier.ids import RunId
from fedtier.transport.base import Traffic, Transport
from fedtier.wire.head import Head

_STATUS = Path("/proc/self/status")


def peak_rss_kib(status: Path = _STATUS) -> int:
    """The most memory this process has had resident, in KiB.

    ``getrusage`` would count what the starting process had before the exec, so a small node begun
    by a large one would look large. It is the fallback where the kernel shows no ``VmHWM``.
    """
    try:
        lines = status.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        lines = []
    for line in lines:
        words = line.split()
        if len(words) == 3 and words[0] == "VmHWM:" and words[1].isdecimal():
            return int(words[1])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # Linux counts in KiB


def process_figures(*, helper_peak_kib: int = 0, helper_cpu_ms: int = 0) -> TierFigures:
    """This node's peak memory and processor time so far, as one node of its tier.

    Args:
        helper_peak_kib: The peak of a process that works for this one; the sum of both peaks counts
            pages twice that both have mapped.
        helper_cpu_ms: Its processor time.
    """
    peak_kib = peak_rss_kib() + helper_peak_kib
    cpu_ms = round(1e3 * time.process_time()) + helper_cpu_ms
    return TierFigures(
        nodes=1,
        peak_rss_kib_sum=peak_kib, peak_rss_kib_max=peak_kib,
        cpu_ms_sum=cpu_ms, cpu_ms_max=cpu_ms,
    )  # fmt: skip


class LinkMeter:
    """Bytes that the socket towards the parent has carried since the run began."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._run: RunId | None = None
        self._before = self._last = Traffic(bytes_sent=0, bytes_received=0)

    def figures(self, head: Head, times: LinkTimes) -> Figures:
        """What the link took in this run; the first call of a later run begins to count anew.

        Args:
            head: Of the parent, which is answered.
            times: As the link counts them.
        """
        now = self._transport.traffic()
        if self._run is not None and head.run != self._run:
            self._before = self._last
        self._run = head.run
        self._last = now
        counted = LinkFigures(
            bytes_up=now.bytes_sent - self._before.bytes_sent,
            bytes_down=now.bytes_received - self._before.bytes_received,
            micros=times.offered,
        )
        return Figures(links={head.tier: counted}, equipping=times.equipping)
