"""Which machine this is, as ``/proc`` and the device tree tell; nothing that names this one."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from edge_agent.board_reading import read_board
from edge_agent.probe.findings import Board
from fedtier.words import printable


def this_board(*, proc: Path = Path("/proc")) -> Board:
    """Look at the machine.

    Args:
        proc: Where the kernel shows it.
    """
    facts = _facts(proc / "cpuinfo")
    model = printable(_text(proc / "device-tree" / "model") or facts.get("model name", ""))
    try:
        system = platform.freedesktop_os_release()["PRETTY_NAME"]
    except OSError:
        system = platform.system()
    return Board(
        model=model or platform.machine(),
        architecture=platform.machine(),
        cores=len(os.sched_getaffinity(0)),
        memory_mib=round(read_board(proc=proc).memory_total_mib or 0),
        system=printable(system),
        virtual="hypervisor" in facts.get("flags", "").split()
        or (proc / "device-tree" / "hypervisor").exists()
        or "virt" in model.split("-")[-1].lower(),
    )


def _facts(path: Path) -> dict[str, str]:
    pairs = (line.partition(":") for line in _text(path).splitlines())
    return {name.strip(): value.strip() for name, _, value in pairs}


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
