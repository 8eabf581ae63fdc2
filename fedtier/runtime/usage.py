"""What this process has used: memory, processor, and bytes on a link since the run began."""

from __future__ import annotations

import resource
import time

from fedtier.core.figures import LinkFigures, TierFigures
from fedtier.ids import RunId
from fedtier.transport.base import Traffic, Transport


def process_figures() -> TierFigures:
    """This process's peak memory and processor time so far, as one node of its tier."""
    peak_rss_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss  # Linux counts in KiB
    cpu_ms = round(1e3 * time.process_time())
    return TierFigures(
        nodes=1,
        peak_rss_kib_sum=peak_rss_kib, peak_rss_kib_max=peak_rss_kib,
        cpu_ms_sum=cpu_ms, cpu_ms_max=cpu_ms,
    )  # fmt: skip


class LinkMeter:
    """Bytes that the socket towards the parent has carried since the run began."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._run: RunId | None = None
        self._before = self._last = Traffic(bytes_sent=0, bytes_received=0)

    def figures(self, run: RunId, *, micros: int) -> LinkFigures:
        """The link's bytes in this run; the first call of a later run begins to count anew.

        Args:
            run: The run that is being reported on.
            micros: Time this node's updates took from offer to `accepted`.
        """
        now = self._transport.traffic()
        if self._run is not None and run != self._run:
            self._before = self._last
        self._run = run
        self._last = now
        return LinkFigures(
            bytes_up=now.bytes_sent - self._before.bytes_sent,
            bytes_down=now.bytes_received - self._before.bytes_received,
            micros=micros,
        )
