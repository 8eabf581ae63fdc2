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
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edge_agent.child_process import start_child
from edge_agent.graph_frames import receive, send
from edge_agent.graph_room import Room, ToldArray, make_room
from edge_agent.out_of_memory import OutOfMemory, oom_kills
from fedtier.artefact.open_graph import Array
from fedtier.errors import ConfigError, TrainingError
from fedtier.runtime.usage import peak_rss_kib

log = logging.getLogger(__name__)

KEEP_S_DEFAULT = 10
_KILLED_MAX = 3  # times in a row, for one question
_OOM_SCORE = "1000"  # of -1000 to 1000: out of memory, the kernel ends it before all others
_END_S = 5.0  # a process whose socket is closed ends after the step it is in

_STRETCH_S = 0.25  # of steps handed over together: work is given up between two stretches
_STRETCH_BYTES = 1 << 20  # of their inputs

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Run a graph some times in turn.

    Attributes:
        wanted: Names of outputs.
        shared: Inputs that are the same every time.
        each: The other inputs, of every time.
        carried: Outputs that are an input the next time: output -> input, one of ``shared``, which
            is what the first time takes.
    """

    wanted: tuple[str, ...]
    shared: Mapping[str, Array]
    each: Sequence[Mapping[str, Array]]
    carried: Mapping[str, str]


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

    def ask(self, name: str, question: Question) -> dict[str, Array]:
        """Run a graph. A process that is killed is asked again: the answer is the same, to the bit.

        Returns:
            The wanted outputs: of a carried one the last, of others all, shape ``(times, ...)``.

        Raises:
            ConfigError: If onnxruntime refuses the graph.
            OutOfMemory: If the kernel kills it for want of memory; it may be asked again.
            TrainingError: If it is killed every time for another reason.
        """
        self._insist(name, question)
        assert self._running is not None, "it has just answered"
        return self._running.results(question)

    def slots(self, name: str, side: str) -> list[ToldSlot]:
        """The ``inputs`` or ``outputs`` of a graph.

        Raises:
            ConfigError: If onnxruntime refuses the graph.
            TrainingError: If the process is killed every time.
        """
        described = self._insist(name, None)
        return [ToldSlot(slot, tuple(shape), kind) for slot, shape, kind in described[side]]

    def start(self) -> _Running:
        """Start the process now, where none runs; otherwise the first question does."""
        if self._running is None:
            self._oom_kills = oom_kills(self._proc)
            self._running = _Running(keep_s=self._keep_s)
        return self._running

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

    def _insist(self, name: str, question: Question | None) -> Document:
        killed = 0
        while killed < _KILLED_MAX:
            running = self.start()
            try:
                answer = running.open(name, self._graphs[name], threads=self._threads)
                if answer is not None and question is not None:
                    answer = running.run(question)
            except OutOfMemory:
                self.end()  # with all that it could have
                raise
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
    """A graph that runs in the graph process.

    See ``fedtier.artefact.open_graph.OpenGraph`` and ``edge_agent.train_steps.ChainedGraph``.
    """

    def __init__(self, process: GraphProcess, name: str) -> None:
        self._process = process
        self._name = name
        self._stretch = 1  # until a step's time is known

    def run(self, output_names: Sequence[str], input_feed: Mapping[str, Array]) -> list[Array]:
        """Once; errors as ``GraphProcess.ask``."""
        question = Question(wanted=tuple(output_names), shared=input_feed, each=[{}], carried={})
        answer = self._process.ask(self._name, question)
        return [answer[name][0] for name in output_names]

    @property
    def stretch(self) -> int:
        """How many steps are best asked for together: their time bounds how soon work ends."""
        return self._stretch

    def chain(
        self,
        output_names: Sequence[str],
        shared: Mapping[str, Array],
        each: Sequence[Mapping[str, Array]],
        carried: Mapping[str, str],
    ) -> dict[str, Array]:
        """Some times in turn; errors as ``GraphProcess.ask``."""
        question = Question(wanted=tuple(output_names), shared=shared, each=each, carried=carried)
        began_s = time.monotonic()
        answer = self._process.ask(self._name, question)
        step_s = (time.monotonic() - began_s) / len(each)
        step_bytes = sum(array.nbytes for array in each[0].values())
        self._stretch = max(1, min(int(_STRETCH_S / step_s), _STRETCH_BYTES // step_bytes))
        return answer

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
            arguments = [str(its.fileno()), str(keep_s)]
            self._process = start_child("edge_agent.graph_main", arguments, passing=[its.fileno()])
        with suppress(OSError):
            Path(f"/proc/{self.pid}/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
        self._open: tuple[str, Document] | None = None
        self._room: Room | None = None
        self._told: list[ToldArray] = []  # what the room is for
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
                if told["memory"]:
                    raise OutOfMemory(f"memory: {name} cannot be opened: {told['refused']}")
                raise ConfigError(f"{name}: {told['refused']}")
            self._open = (name, told)
        return self._open[1]

    def run(self, question: Question) -> Document | None:
        """Run the open graph; ``results`` has what came. None where the process is gone."""
        room = self._room_for(question)
        if room is None:
            return None
        for name, array in question.shared.items():
            room.arrays[name][...] = array
        for turn, feed in enumerate(question.each):
            for name, array in feed.items():
                room.arrays[name][turn] = array
        names = {"shared": list(question.shared), "each": list(question.each[0])}
        document = {"run": question.wanted, "times": len(question.each), **names}
        answer = self._ask({**document, "carried": question.carried}, {})
        if answer is not None and "failed" in answer:
            if answer["memory"]:
                raise OutOfMemory(f"memory: {answer['failed']}")
            raise TrainingError(f"onnxruntime: {answer['failed']}")
        return answer

    def results(self, question: Question) -> dict[str, Array]:
        """What came of the last run, copied: the next one overwrites it."""
        assert self._room is not None, "a graph is run before its results are read"
        times = len(question.each)
        whole = {name: self._room.arrays[name] for name in question.wanted}
        return {
            name: (array if name in question.carried else array[:times]).copy()
            for name, array in whole.items()
        }

    def _room_for(self, question: Question) -> Room | None:
        """Memory that both see, large enough; None where the process is gone."""
        told = self._laid_out(question)
        if self._room is None or not _holds(self._told, told):
            self._room, self._told = None, told
            descriptor, room = make_room(told)
            try:
                send(self._link, {"room": told}, {})
                socket.send_fds(self._link, [b"room"], [descriptor])
            except ConnectionError:
                return None
            finally:
                os.close(descriptor)
            self._room = room
        return self._room

    def _laid_out(self, question: Question) -> list[ToldArray]:
        """The arrays that a question needs: of shared and carried ones one, of others all."""
        assert self._open is not None, "a graph is opened before it is run"
        slots = self._open[1]
        one = {*question.shared, *question.carried}
        names = {*one, *question.each[0], *question.wanted}
        times = len(question.each)
        return [
            (name, list(shape) if name in one else [times, *shape], kind)
            for name, shape, kind in [*slots["inputs"], *slots["outputs"]]
            if name in names
        ]

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


def _holds(room: Sequence[ToldArray], needed: Sequence[ToldArray]) -> bool:
    """Whether a room has the arrays that are needed, none of them shorter."""
    if [name for name, _, _ in room] != [name for name, _, _ in needed]:
        return False
    return all(
        len(has) == len(wants) and has[:1] >= wants[:1]
        for (_, has, _), (_, wants, _) in zip(room, needed, strict=True)
    )
