"""Whether the kernel ended a process for want of memory, the board's or a control group's."""

from __future__ import annotations

from pathlib import Path

from fedtier.errors import TrainingError


class OutOfMemory(TrainingError):
    """The graph process was killed by the kernel, which had no memory for it."""


def oom_kills(proc: Path = Path("/proc")) -> int | None:
    """How many processes of this machine the kernel has ended so, those of every group included.

    Args:
        proc: Where the kernel shows it.

    Returns:
        The count since the machine started; None where the kernel does not tell (before 4.13).
    """
    try:
        lines = (proc / "vmstat").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    counts = (line.split() for line in lines)
    return next((int(count) for name, count in counts if name == "oom_kill"), None)
