"""What simulated nodes log: virtual seconds, level, event, then key=value, the node among them."""

from __future__ import annotations

import logging
from pathlib import Path

from fedtier.runtime.logs import KeyValueFormatter
from fedtier.sim.host import speaking


class VirtualFormatter(KeyValueFormatter):
    """Writes the time of who speaks in place of the wall clock's, and its name."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback if there is one."""
        host = speaking.get()
        if host is not None:
            record.node = host.node
        return super().format(record)

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        """Virtual seconds; of what no node says, the time of day."""
        host = speaking.get()
        return super().formatTime(record, datefmt) if host is None else f"{host.now_s():.3f}"


def log_to(path: Path, *, level: int) -> None:
    """Have the log of this process, and so of all simulated nodes, go to a file."""
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(VirtualFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
