"""The agent's end of the serving process: starts it, starts it again when it dies, asks it.

The socket on which applications connect belongs to the agent. So who connects while the process is
being started again waits, and is answered by the next one.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from edge_agent.child_process import start_child
from edge_agent.graph_frames import receive, send
from edge_agent.inference.verdict import Unjudged
from fedtier.artefact.open_graph import Array
from fedtier.runtime.usage import peak_rss_kib

log = logging.getLogger(__name__)

Document = Mapping[str, Any]

_KILLED_MAX = 2  # times in a row, for one question: each breaks the connections it had
_OOM_SCORE = "500"  # of -1000 to 1000: after what trains, and before the agent
_ANSWER_S = 60.0  # a process that is silent for so long has got stuck
_TAKE_S = 5.0  # within which a process that owes no answer takes a question
_LOOK_S = 0.5  # between two looks at whether an answer is still wanted
_END_S = 8.0  # a process whose control socket is closed ends when its answers are given
_AGAIN_S_MAX = 60.0  # one that dies again and again is started ever later
_GIVEN_UP = "the verdict is wanted no longer"
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


class ServingProcess:
    """One process at a time, always. Threads that ask it take turns."""

    def __init__(
        self,
        listener: socket.socket,
        *,
        state_dir: Path,
        threads: int,
        answer_s: float = _ANSWER_S,
    ) -> None:
        """Start it.

        Args:
            listener: Where applications connect.
            state_dir: Where it finds the model to begin with.
            threads: Of each graph.
            answer_s: How long a question may take before the process counts as stuck, > 0.
        """
        self._listener = listener
        self._answer_s = answer_s
        self._state_dir = state_dir
        self._threads = threads
        self._lock = threading.Lock()  # of what runs, and of questions to it
        self._ending = threading.Event()
        self._peak_kib = 0
        self._running = self._start()
        self._watch = threading.Thread(target=self._keep_running, name="serving", daemon=True)
        self._watch.start()

    @property
    def pid(self) -> int:
        """The process that runs now, or has just died."""
        return self._running.pid

    def ask(
        self,
        document: Document,
        arrays: Mapping[str, Array],
        *,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Document:
        """Ask it something; one that dies or gets stuck over it is asked again in another process.

        Args:
            document: What is asked.
            arrays: What belongs to it.
            cancelled: Whether the answer is wanted no longer; looked at twice a second. The
                process goes on serving.

        Raises:
            Unjudged: If it dies every time, or the answer is wanted no longer.
        """

        def given_up() -> bool:
            return cancelled() or self._ending.is_set()

        with self._lock:
            for _ in range(_KILLED_MAX):
                answer = self._running.ask(document, arrays, given_up=given_up)
                if answer is not None:
                    return answer
                if given_up():
                    raise Unjudged(_GIVEN_UP)
                self._start_again()
        raise Unjudged(f"the serving process died {_KILLED_MAX} times over one question")

    def usage(self) -> tuple[int, int]:
        """The largest peak of its processes in KiB, and the processor time of this one in ms."""
        self._peak_kib = max(self._peak_kib, peak_rss_kib(Path(f"/proc/{self.pid}/status")))
        return self._peak_kib, _cpu_ms(self.pid)

    def end(self) -> None:
        """Give the answers that are being made, then end."""
        self._ending.set()
        with self._lock:
            self._running.end()
        self._watch.join()

    def _start(self) -> _Running:
        return _Running(
            self._listener,
            state_dir=self._state_dir,
            threads=self._threads,
            answer_s=self._answer_s,
        )

    def _start_again(self) -> None:
        code = self._running.end()
        how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        log.warning("serving process died", extra={"how": how})
        self._running = self._start()

    def _keep_running(self) -> None:
        again_s = 0.0
        while not self._ending.is_set():
            watched, began_s = self._running, time.monotonic()
            watched.wait()
            if time.monotonic() - began_s >= _AGAIN_S_MAX:
                again_s = 0.0
            if self._ending.wait(again_s):
                return
            again_s = min(_AGAIN_S_MAX, 2.0 * again_s or 1.0)
            with self._lock:
                if self._running is watched and not self._ending.is_set():
                    self._start_again()


class _Running:
    """One process, from its start to its end."""

    def __init__(
        self, listener: socket.socket, *, state_dir: Path, threads: int, answer_s: float
    ) -> None:
        self._link, its = socket.socketpair()
        self._link.settimeout(_TAKE_S)
        self._answer_s = answer_s
        self._owes = True  # an answer, before it takes a question: at first that it is up
        self._asked_s = time.monotonic()
        self._stuck = False
        with its:
            passed = [its.fileno(), listener.fileno()]
            arguments = [*map(str, passed), str(state_dir), str(threads)]
            self._process = start_child(
                "edge_agent.inference.serving_main", arguments, passing=passed
            )
        with suppress(OSError):
            Path(f"/proc/{self.pid}/oom_score_adj").write_text(_OOM_SCORE, encoding="ascii")
        log.debug("serving process started", extra={"pid": self.pid})

    @property
    def pid(self) -> int:
        return self._process.pid

    def wait(self) -> None:
        """Until it has ended."""
        self._process.wait()

    def ask(
        self,
        document: Document,
        arrays: Mapping[str, Array],
        *,
        given_up: Callable[[], bool],
    ) -> Document | None:
        """What it answers; None where it is gone, or stuck.

        Raises:
            Unjudged: If it was given up. The answer is then heard, and dropped, by the next one.
        """
        if self._stuck:
            return None  # it may have taken a part of the question before
        try:
            if self._owes:
                self._hear(given_up)
            send(self._link, document, arrays)
            self._owes, self._asked_s = True, time.monotonic()
            return self._hear(given_up)
        except TimeoutError:
            self._stuck = True
            return None
        except OSError:
            return None

    def _hear(self, given_up: Callable[[], bool]) -> Document | None:
        """The answer it owes, which is small and so comes whole."""
        while not select.select([self._link], [], [], _LOOK_S)[0]:
            if given_up():
                raise Unjudged(_GIVEN_UP)
            if time.monotonic() - self._asked_s > self._answer_s:
                raise TimeoutError
        answer = receive(self._link)
        self._owes = False
        return None if answer is None else answer[0]

    def end(self) -> int:
        """Let it end, and return its exit code; negative: the signal that killed it."""
        self._link.close()
        try:
            return self._process.wait(0 if self._stuck else _END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()


def _cpu_ms(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    except OSError:
        return 0
    return round(1e3 * (int(fields[11]) + int(fields[12])) / _TICKS_PER_S)
