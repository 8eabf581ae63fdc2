"""The processes of a federation on one machine: started, watched, stopped, never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fedtier.broker.process import LAUNCH, BrokerProcess
from fedtier.broker.settings import BrokerKind, BrokerSettings
from fedtier.ids import NodeId
from fedtier.topology import Topology

STOP_S = 3.0
KILL_S = 1.5
LOG_LINES = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """A process that is no more, and what it used."""

    node: NodeId
    exit_code: int  # negative: the signal that ended it
    cpu_seconds: float

    @property
    def how(self) -> str:
        """How it ended, in words."""
        if self.exit_code >= 0:
            return f"ended with code {self.exit_code}"
        return f"was killed by {signal.Signals(-self.exit_code).name}"


class NodeProcess:
    """One node: ``fedtier agent|gateway|cloud run --config FILE`` in a process of its own."""

    def __init__(self, node: NodeId, command: Sequence[str], log_path: Path) -> None:
        self.node = node
        self.log_path = log_path
        self.peak_rss_bytes = 0
        self.ended: Ended | None = None
        log_path.parent.mkdir(parents=True, exist_ok=True)
        with log_path.open("ab") as log_file:
            self._process = subprocess.Popen(
                [sys.executable, "-P", str(LAUNCH), str(os.getpid()), "node", *command],
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C is for the demo, which stops them in order
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    def poll(self) -> Ended | None:
        """Look at the process: its memory while it lives, its end when it has ended."""
        if self.ended is None:
            self._measure()
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                code = os.waitstatus_to_exitcode(status)
                self._process.returncode = code  # so that Popen does not wait for it again
                self.ended = Ended(
                    node=self.node, exit_code=code, cpu_seconds=usage.ru_utime + usage.ru_stime
                )
        return self.ended

    def signal(self, number: int) -> None:
        """Send a signal, if it still runs."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def log_tail(self) -> str:
        """The last lines it wrote."""
        text = self.log_path.read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-LOG_LINES:])

    def _measure(self) -> None:
        peaks_kib = [_peak_kib(pid) for pid in (self.pid, *_children(self.pid))]
        self.peak_rss_bytes = max(self.peak_rss_bytes, 1024 * sum(peaks_kib))


class Fleet:
    """All brokers and nodes of a federation; use it as a context."""

    def __init__(self, topology: Topology, directory: Path) -> None:
        self._topology = topology
        self._directory = directory
        self._brokers: dict[NodeId, BrokerProcess] = {}
        self.nodes: dict[NodeId, NodeProcess] = {}

    def __enter__(self) -> Fleet:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start_brokers(self, kind: BrokerKind, *, part_bytes: int) -> Mapping[NodeId, str]:
        """Start a broker beside every parent.

        Returns:
            Each parent's broker URL.

        Raises:
            ConfigError: If brokers of this kind are not installed.
            LinkError: If one does not answer in time.
        """
        for parent in self._topology.parents():
            settings = BrokerSettings(
                kind=kind,
                part_bytes=part_bytes,
                children=len(self._topology.children(parent)),
                sys_interval_s=0,
            )
            place = self._directory / "brokers" / parent
            self._brokers[parent] = BrokerProcess.start(settings, place)
        return {parent: broker.url for parent, broker in self._brokers.items()}

    def start_node(self, node: NodeId, *extra: str) -> NodeProcess:
        """Start a node from its file in ``nodes/``; ``extra`` are further options."""
        role = self._topology.node(node).role
        config = self._directory / "nodes" / f"{node}.toml"
        command = [sys.executable, "-m", "fedtier", role, "run", "--config", str(config), *extra]
        process = NodeProcess(node, command, self._directory / "logs" / f"{node}.log")
        self.nodes[node] = process
        return process

    def dead_broker(self) -> tuple[NodeId, BrokerProcess] | None:
        """A broker that has ended by itself, if there is one."""
        return next(((n, b) for n, b in self._brokers.items() if not b.alive), None)

    def stop(self) -> None:
        """End every process within 5 seconds: by SIGTERM, and by SIGKILL who does not listen."""
        end_all(self.nodes.values())
        for broker in self._brokers.values():
            broker.stop(deadline_s=0.3)
        self._brokers.clear()


def end_all(processes: Collection[NodeProcess]) -> None:
    """End them by SIGTERM, and after a few seconds by SIGKILL who does not listen."""
    for number, patience_s in ((signal.SIGTERM, STOP_S), (signal.SIGKILL, KILL_S)):
        for process in processes:
            process.signal(number)
        deadline_s = time.monotonic() + patience_s
        while time.monotonic() < deadline_s and any(p.poll() is None for p in processes):
            time.sleep(0.02)


def _children(pid: int) -> list[int]:
    """The processes that a node has started: an agent's graph process."""
    found: list[int] = []
    for listing in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):
            found += [int(child) for child in listing.read_text(encoding="ascii").split()]
    return found


def _peak_kib(pid: int) -> int:
    # Not wait4's ru_maxrss: that begins with the memory of whoever started the process.
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/status").read_text(encoding="ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1])
    return 0  # it has ended
