"""Starts an agent's other processes, which only the agent ends."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Sequence

_TO_A_GROUP = (signal.SIGINT, signal.SIGTERM)  # by Ctrl-C, or by a service's stop


def start_child(
    module: str, arguments: Sequence[str], *, passing: Sequence[int]
) -> subprocess.Popen[bytes]:
    """Start a module of this project in a process of its own.

    It gets no SIGINT and no SIGTERM, which go to a whole group: the agent takes them, and lets it
    end. They are blocked as it starts, since while it loads it could not ignore them yet.

    Args:
        module: What runs as ``__main__``.
        arguments: What stands after its name.
        passing: File descriptors that it gets by the same numbers.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _TO_A_GROUP)  # it has the starter's mask
    try:
        return subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.DEVNULL,
            pass_fds=passing,
        )
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
