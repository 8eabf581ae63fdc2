"""What the board allows this device: how large a batch, how much memory."""

from __future__ import annotations

import os
from pathlib import Path

from fedtier.artefact.artefact import Artefact
from fedtier.config.board import BoardTable
from fedtier.errors import ConfigError

_STATM = Path("/proc/self/statm")
_PAGE_KIB = os.sysconf("SC_PAGESIZE") / 1024


def check_batch(board: BoardTable, artefact: Artefact, *, where: str) -> None:
    """Refuse an artefact that was compiled for larger batches than the board should be given.

    Raises:
        ConfigError: If it was.
    """
    batch = artefact.manifest.batch
    if board.batch_max is not None and batch > board.batch_max:
        raise ConfigError(
            f"{where}: [board] batch_max = {board.batch_max}, but the artefact "
            f"{artefact.manifest.name!r} trains with batches of {batch}. Compile it with a batch "
            f"of at most {board.batch_max}, or raise batch_max if the board can take it."
        )


def over_budget(memory_budget_mib: int | None) -> str | None:
    """Why training should not begin now, if this process holds more memory than it may."""
    if memory_budget_mib is None or not _STATM.exists():
        return None
    resident_mib = int(_STATM.read_text(encoding="ascii").split()[1]) * _PAGE_KIB / 1024
    if resident_mib <= memory_budget_mib:
        return None
    return f"memory: {resident_mib:.0f} MiB resident, the board's budget is {memory_budget_mib} MiB"
