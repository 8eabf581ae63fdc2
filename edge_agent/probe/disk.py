"""How fast the disk takes what must survive a power cut."""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from pathlib import Path

from edge_agent.probe.findings import Disk, Missing
from fedtier.limits import MIB

BLOCK_BYTES = MIB
_BYTES_MAX = 32 * MIB  # cards wear out


def measure_disk(directory: Path, *, end_s: float) -> Disk | Missing:
    """Write blocks, each followed by an fsync, to a file without a name.

    Args:
        directory: Whose disk.
        end_s: On the monotonic clock; no block but the first begins later.
    """
    block = os.urandom(BLOCK_BYTES)  # which no disk compresses
    taken_s: list[float] = []
    try:
        with tempfile.TemporaryFile(dir=directory, buffering=0) as file:
            while not taken_s or (
                time.monotonic() < end_s and len(taken_s) * BLOCK_BYTES < _BYTES_MAX
            ):
                began_s = time.perf_counter()
                file.write(block)
                os.fsync(file.fileno())
                taken_s.append(time.perf_counter() - began_s)
    except OSError as error:
        return Missing(f"cannot be written to: {error.strerror or error}")
    return Disk(
        bytes_per_s=len(taken_s) * BLOCK_BYTES / sum(taken_s),
        block_bytes=BLOCK_BYTES,
        block_median_ms=1e3 * statistics.median(taken_s),
        block_slowest_ms=1e3 * max(taken_s),
        written_bytes=len(taken_s) * BLOCK_BYTES,
    )
