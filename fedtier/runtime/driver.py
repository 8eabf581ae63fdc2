"""The one loop of a process: an event, the machine, its effects, performed in order.

Callbacks of transports and results of work only enqueue; everything else happens on the thread
that runs the loop. One worker thread does what takes long, so that the loop always answers.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from types import FrameType
from typing import Any

from fedtier.core.effects import Note, Side
from fedtier.core.events import Event
from fedtier.core.figures import TierFigures
from fedtier.errors import EXIT_DONE, EXIT_INTERRUPTED
from fedtier.ids import FederationId
from fedtier.runtime.host import Clock
from fedtier.runtime.loop import Connection, Machine, NodeLoop, Perform
from fedtier.runtime.mailbox import Mailbox
from fedtier.runtime.usage import process_figures
from fedtier.transport.base import Transport

log = logging.getLogger(__name__)


class Driver:
    """Runs one machine until it stops, is told to, or must not go on; the host of its role."""

    def __init__(
        self,
        *,
        federation: FederationId,
        machine: Machine,
        mailbox: Mailbox,
        connections: Mapping[Side, Connection],
    ) -> None:
        """Prepare; nothing is started yet."""
        self.clock: Clock = "wall"
        self._loop = NodeLoop(federation=federation, machine=machine, connections=connections)
        self._mailbox = mailbox
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="work")
        self._dropped = 0  # messages the mailbox had no room for, of which a note was made
        self._ending = threading.Event()

    # For the role's performer: see ``fedtier.runtime.host.Host``

    def now_s(self) -> float:
        """The monotonic clock."""
        return time.monotonic()

    def transport(self, side: Side) -> Transport:
        """The transport of one side, whose bytes are to be counted."""
        return self._loop.transport(side)

    def work(self, task: Callable[[], Event | None]) -> None:
        """Do something long on the worker thread; its event comes back into the loop."""
        self._worker.submit(task).add_done_callback(self._mailbox.put)

    def stop(self, exit_code: int = EXIT_DONE, reason: str = "") -> None:
        """End the loop after what is being performed."""
        self._loop.stop(exit_code, reason)

    def ending(self) -> bool:
        """Whether the process is about to end."""
        return self._ending.is_set()

    def usage(self, *, helper_peak_kib: int = 0, helper_cpu_ms: int = 0) -> TierFigures:
        """What this process, and those that work for it, have used so far."""
        return process_figures(helper_peak_kib=helper_peak_kib, helper_cpu_ms=helper_cpu_ms)

    # The loop

    def run(
        self,
        perform: Perform,
        farewells: Mapping[Side, tuple[str, bytes]],
        *,
        judge: Callable[[int], int] = lambda exit_code: exit_code,
    ) -> int:
        """Run to the end.

        Args:
            perform: Does the effects that are the role's own.
            farewells: What to publish last on each side, in place of the will.
            judge: As in ``fedtier.runtime.host.Assembled``.

        Returns:
            The exit code.

        Raises:
            FedtierError: What ``perform`` or the work met, after all is closed; anything else is a
                bug.
        """
        handlers = self._catch_signals()
        loop = self._loop
        try:
            loop.start(time.monotonic())
            while loop.ended is None:
                item = self._mailbox.get(self._patience_s())
                self._note_dropped()
                loop.turn(item, time.monotonic(), perform)
        finally:
            self._ending.set()
            self._worker.shutdown(wait=True, cancel_futures=True)
            loop.close(farewells)
            for number, handler in handlers.items():
                signal.signal(number, handler)
        self._check_last_work()
        exit_code = judge(loop.ended.exit_code)
        if loop.ended.reason:
            log.error("stopped", extra={"reason": loop.ended.reason})
        else:
            log.info("stopped", extra={"exit_code": exit_code})
        return exit_code

    def _check_last_work(self) -> None:
        """Let no error of the work be lost because the loop had already ended."""
        while (item := self._mailbox.get(0)) is not None:
            if isinstance(item, Future) and not item.cancelled():
                item.result()

    def _patience_s(self) -> float | None:
        """How long to wait when nothing comes."""
        due_s = self._loop.timer_s
        return None if due_s is None else max(0.0, due_s - time.monotonic())

    def _note_dropped(self) -> None:
        while self._dropped < self._mailbox.dropped:
            self._dropped += 1
            self._loop.note(
                Note(level="warning", event="message dropped", fields={"reason": "mailbox full"})
            )

    def _catch_signals(self) -> dict[signal.Signals, Any]:
        """Turn SIGTERM and SIGINT into the end of the loop; returns what handled them before."""

        def interrupted(number: int, frame: FrameType | None) -> None:
            del frame
            code = EXIT_DONE if number == signal.SIGTERM else EXIT_INTERRUPTED
            self._ending.set()
            self.stop(code)  # before anything that waits in the mailbox
            self._mailbox.end(code, "")  # and wake the loop

        if threading.current_thread() is not threading.main_thread():
            return {}
        return {
            number: signal.signal(number, interrupted) for number in (signal.SIGTERM, signal.SIGINT)
        }
