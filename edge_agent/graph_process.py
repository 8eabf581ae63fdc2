"""Runs compiled graphs in a process of its own, which gives its memory back by ending.

onnxruntime keeps what it has once taken: its libraries, the schemas of every operator, the arena of
the largest batch. So the agent never loads it. The graph process does, one graph at a time; it ends
when nothing was asked of it for a while, and is started again when something is.
"""

from __future__ import annotations

import logging
import os
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.graph_frames import receive, send
from edge_agent.graph_room import Room
from edge_agent.out_of_memory import OutOfMemory, oom_kills
from fedtier.artefact.open_graph import Array
from fedtier.errors import ConfigError, TrainingError
from fedtier.runtime.usage import peak_rss_kib

log = logging.getLogger(__name__)

KEEP_S_DEFAULT = 10
_KILLED_MAX = 3  # times in a row, for one question
_OOM_SCORE = "1000"  # of -1000 to 1000: out of memory, the kernel ends it before all others
_END_S = 5.0  # a process whose socket is closed ends after the step it is in

_Question = tuple[list[str], Mapping[str, Array]]  # which outputs, of which inputs
Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ToldSlot:
    """An input or output of a graph, as the graph process describes it."""

    name: str
    shape: tuple[int, ...]
    type: str


class GraphProcess:
    """The agent's end: starts the process, asks it, ends it. One thread at a time may use it."""

    def __init__(
        self,
        graphs: Mapping[str, bytes],
        *,
        threads: int = 1,
        keep_s: float = KEEP_S_DEFAULT,
        proc: Path = Path("/proc"),
    ) -> None:
        """Prepare; nothing is started yet.

        Args:
            graphs: Serialised graphs by name.
            threads: Of each graph; results are bit-exact at 1.
            keep_s: How long the process stays when nothing is asked of it, > 0.
            proc: Where the kernel shows how often it was out of memory.
        """
        self._graphs = graphs
        self._threads = threads
        self._keep_s = keep_s
        self._proc = proc
        self._oom_kills: int | None = None  # before the process was started
        self._running: _Running | None = None
        self._peak_kib = 0

    def graph(self, name: str) -> ProcessGraph:
        """One of the graphs; it is opened whenever it is run."""
        return ProcessGraph(self, name)

    def ask(self, name: str, wanted: Sequence[str], feed: Mapping[str, Array]) -> list[Array]:
        """Run a graph. A process that is killed is asked again: the answer is the same, to the bit.

        Raises:
            ConfigError: If onnxruntime refuses the graph.
            OutOfMemory: If the kernel kills it for want of memory; it may be asked again.
            TrainingError: If it is killed every time for another reason.
        """
        self._insist(name, (list(wanted), feed))
        assert self._running is not None, "it has just answered"
        return self._running.results(wanted)

    def slots(self, name: str, side: str) -> list[ToldSlot]:
        """The ``inputs`` or ``outputs`` of a graph.

        Raises:
            ConfigError: If onnxruntime refuses the graph.
            TrainingError: If the process is killed every time.
        """
        described = self._insist(name, None)
        return [ToldSlot(slot, tuple(shape), kind) for slot, shape, kind in described[side]]

    @property
    def pid(self) -> int | None:
        """The process that runs now, if one does."""
        return None if self._running is None else self._running.pid

    def usage(self) -> tuple[int, int]:
        """The largest peak of its processes so far in KiB, and their processor time in ms."""
        running = self._running
        running_ms = 0
        if running is not None and not running.ended:
            self._peak_kib = max(self._peak_kib, running.peak_kib())
            running_ms = running.cpu_ms
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return self._peak_kib, round(1e3 * (ended.ru_utime + ended.ru_stime)) + running_ms

    def end(self) -> None:
        """Give all its memory back now; the next question starts another."""
        if self._running is not None:
            self.usage()
            self._running.end()
            self._running = None

    def _insist(self, name: str, question: _Question | None) -> Document:
        killed = 0
        while killed < _KILLED_MAX:
            if self._running is None:
                self._oom_kills = oom_kills(self._proc)
                self._running = _Running(keep_s=self._keep_s)
            answer = self._running.open(name, self._graphs[name], threads=self._threads)
            if answer is not None and question is not None:
                answer = self._running.run(*question)
            if answer is not None:
                return answer
            killed += self._killed()
        raise TrainingError(
            f"the graph process was killed {killed} times in a row: see the kernel's log"
        )

    def _killed(self) -> bool:
        """Whether the process that does not answer was killed, or just had nothing to do."""
        assert self._running is not None
        code = self._running.end()
        self._running = None
        if code > 0:
            raise RuntimeError(f"the graph process ended with exit code {code}: see above")
        if code == 0:
            return False
        now = oom_kills(self._proc)
        for_memory = code == -signal.SIGKILL and now is not None and now != self._oom_kills
        fields = {"signal": signal.Signals(-code).name, "out_of_memory": for_memory}
        log.warning("graph process killed", extra=fields)
        if for_memory:
            raise OutOfMemory("memory: the kernel killed the graph process, it had no more memory")
        return True


class ProcessGraph:
    """A graph that runs in the graph process; see ``fedtier.artefact.open_graph.OpenGraph``."""

    def __init__(self, process: GraphProcess, name: str) -> None:
        self._process = process
        self._name = name

    def run(self, output_names: Sequence[str], input_feed: Mapping[str, Array]) -> list[Array]:
        """As ``GraphProcess.ask``."""
        return self._process.ask(self._name, output_names, input_feed)

    def get_inputs(self) -> list[ToldSlot]:
        """As ``GraphProcess.slots``."""
        return self._process.slots(self._name, "inputs")

    def get_outputs(self) -> list[ToldSlot]:
        """As ``GraphProcess.slots``."""
        return self._process.slots(self._name, "outputs")


class _Running:
    """One process, from its start to its end."""

    def __init__(self, *, keep_s: float) -> None:
        self._link, its = socket.socketpair()
        with its:
            arguments = ["-m", "edge_agent.graph_main", str(its.fileno()), str(keep_s)]
            self._process = subprocess.Popen(
                [sys.executable, "-P", *arguments], stdin=subprocess.DEVNULL,
                pass_fds=[its.fileno()],
            )  # fmt: skip
        with suppress(OSError):
            Path(f"/proc/{self.pid}/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
        self._open: tuple[str, Document] | None = None
        self._room: Room | None = None
        self.cpu_ms = 0
        log.debug("graph process started", extra={"pid": self.pid})

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def ended(self) -> bool:
        return self._process.poll() is not None

    def peak_kib(self) -> int:
        return peak_rss_kib(Path(f"/proc/{self.pid}/status"))

    def open(self, name: str, graph: bytes, *, threads: int) -> Document | None:
        """What the graph takes and gives; None where the process is gone."""
        if self._open is None or self._open[0] != name:
            self._open = self._room = None
            question = {"open": name, "threads": threads}
            told = self._ask(question, {"graph": np.frombuffer(graph, np.uint8)})
            if told is None:
                return None
            if "refused" in told:
                raise ConfigError(f"{name}: {told['refused']}")
            descriptors: list[int] = []
            with suppress(ConnectionError):  # killed in between
                _, descriptors, _, _ = socket.recv_fds(self._link, 4, 1)
            if not descriptors:
                return None
            self._room = Room(descriptors[0], [*told["inputs"], *told["outputs"]])
            os.close(descriptors[0])
            self._open = (name, told)
        return self._open[1]

    def run(self, wanted: list[str], feed: Mapping[str, Array]) -> Document | None:
        """Run the open graph; ``results`` has what came. None where the process is gone."""
        assert self._room is not None, "a graph is opened before it is run"
        for name, array in feed.items():
            self._room.arrays[name][...] = array
        return self._ask({"run": wanted}, {})

    def results(self, wanted: Sequence[str]) -> list[Array]:
        """The outputs of the last run, copied: the next one overwrites them."""
        assert self._room is not None, "a graph is run before its results are read"
        return [self._room.arrays[name].copy() for name in wanted]

    def _ask(self, question: Document, arrays: Mapping[str, Array]) -> Document | None:
        try:
            send(self._link, question, arrays)
        except ConnectionError:
            return None
        answer = receive(self._link)
        if answer is None:
            return None
        self.cpu_ms = answer[0].get("cpu_ms", self.cpu_ms)
        return answer[0]

    def end(self) -> int:
        """Let it end, and return its exit code; negative: the signal that killed it."""
        self._link.close()
        with suppress(subprocess.TimeoutExpired):
            return self._process.wait(_END_S)
        self._process.kill()
        self._process.wait()
        return 0  # at our own hand
