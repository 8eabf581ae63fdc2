"""Where a simulated node runs: its loop, turned by an agenda, and its work in virtual time.

Work is ordinary code that may take its time (``sleep``), so it is done in a greenlet: it is left
where it sleeps and gone on with when that time has come, while other nodes' events happen.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass

from greenlet import getcurrent, greenlet

from fedtier.core.effects import Effect, Preempt, Side
from fedtier.core.events import Event
from fedtier.core.figures import TierFigures
from fedtier.errors import EXIT_DONE
from fedtier.ids import NodeId
from fedtier.runtime.host import Assembled, Clock
from fedtier.runtime.loop import NodeLoop
from fedtier.runtime.mailbox import Item
from fedtier.sim.agenda import Agenda
from fedtier.transport.base import Transport

log = logging.getLogger(__name__)

Task = Callable[[], Event | None]

Watch = Callable[[Effect | Event], None]
"""Is shown every effect before it is performed, and what work came to as soon as it is done."""

TakesS = Callable[[NodeId, Effect], float]
"""Seconds that the work for an effect takes a node, besides those it takes of itself."""

EXIT_KILLED = 137
"""Of a process that SIGKILL ended, as a shell gives it."""


@dataclass(slots=True)
class _Given:
    """Work, from when it is given until it is begun."""

    task: Task
    takes_s: float
    wanted: bool = True  # what is not wanted any more takes no time


class SimHost:
    """Runs one boot of a node from its start to its end; see ``fedtier.runtime.host.Host``."""

    def __init__(
        self, node: NodeId, loop: NodeLoop, agenda: Agenda, *, takes_s: TakesS | None = None
    ) -> None:
        """Prepare; nothing is started yet."""
        self.clock: Clock = "virtual"
        self.node = node
        self._loop = loop
        self._agenda = agenda
        self._assembled: Assembled | None = None
        self._farewells: Mapping[Side, tuple[str, bytes]] = {}
        self._takes_s = takes_s
        self._performed: Effect | None = None  # last, or now
        self._watches: list[Watch] = []
        self._tasks: deque[_Given] = deque()
        self._begun: _Given | None = None
        self._working: greenlet | None = None
        self._given_up: Callable[[], bool] | None = None  # of work that sleeps
        self._sleeps = 0  # counts; who would wake an earlier one comes too late
        self._tick_s: float | None = None  # when the loop will be turned though nothing came
        self._busy_s = 0.0
        self._worked = False
        self.exit_code: int | None = None  # once it has ended

    # For the role's performer

    def now_s(self) -> float:
        """Virtual time."""
        return self._agenda.now_s

    def transport(self, side: Side) -> Transport:
        """The transport of one side."""
        return self._loop.transport(side)

    def work(self, task: Task) -> None:
        """Do something long, after what was given before."""
        takes_s = 0.0
        if self._takes_s is not None and self._performed is not None:
            takes_s = self._takes_s(self.node, self._performed)
        self._tasks.append(_Given(task, takes_s))
        if self._working is None:
            self._agenda.after(0, self._begin_work)

    def stop(self, exit_code: int = EXIT_DONE, reason: str = "") -> None:
        """End the loop after what is being performed."""
        self._loop.stop(exit_code, reason)

    def ending(self) -> bool:
        """Whether it has ended."""
        return self.exit_code is not None

    def usage(self, *, helper_peak_kib: int = 0, helper_cpu_ms: int = 0) -> TierFigures:
        """Virtual seconds of work as processor time; memory is not simulated."""
        del helper_peak_kib, helper_cpu_ms
        busy_ms = round(1e3 * self._busy_s)
        return TierFigures(nodes=1, cpu_ms_sum=busy_ms, cpu_ms_max=busy_ms)

    def sleep(self, seconds: float, *, given_up: Callable[[], bool]) -> None:
        """Let virtual time pass; only inside of work.

        Args:
            seconds: How long, >= 0.
            given_up: Asked after every turn of this node's loop; true ends the sleep.
        """
        sleeper = self._working
        assert sleeper is not None, "only work takes time"
        assert sleeper is getcurrent(), "only work takes time"
        self._sleeps += 1
        number, began_s = self._sleeps, self._agenda.now_s
        self._given_up = given_up
        self._agenda.after(seconds, lambda: self._wake(number))
        sleeper.parent.switch()
        self._busy_s += self._agenda.now_s - began_s

    # For the simulator

    @property
    def busy_s(self) -> float:
        """Virtual seconds of work so far."""
        return self._busy_s

    def worked(self) -> bool:
        """Whether work has been done since this was asked last."""
        worked, self._worked = self._worked, False
        return worked

    def begin(self, node: Assembled, farewells: Mapping[Side, tuple[str, bytes]]) -> None:
        """Start the node that was assembled on this host.

        Args:
            node: How its effects are performed.
            farewells: What it says last on each side when it ends in order.
        """
        self._assembled, self._farewells = node, farewells
        self._loop.start(self._agenda.now_s)
        self._look_ahead()

    def watch(self, watch: Watch) -> None:
        """Have all be shown that is done here."""
        self._watches.append(watch)
        self._loop.watches.append(watch)

    def take(self, item: Item | None) -> None:
        """Turn the loop once."""
        if self.exit_code is not None:
            return
        token = speaking.set(self)
        try:
            self._loop.turn(item, self._agenda.now_s, self._perform)
        finally:
            speaking.reset(token)
        if self._loop.ended is not None:
            self._end(self._loop.ended.exit_code)
            return
        self._look_ahead()
        if self._given_up is not None and self._given_up():
            number = self._sleeps
            self._agenda.after(0, lambda: self._wake(number))

    def crash(self) -> None:
        """Be no more, without a word: as after SIGKILL."""
        if self.exit_code is None:
            self.exit_code = EXIT_KILLED
            self._drop_work()

    def _end(self, exit_code: int) -> None:
        assert self._assembled is not None
        self._loop.close(self._farewells)
        self.exit_code = self._assembled.judge(exit_code)
        self._drop_work()

    def _drop_work(self) -> None:
        self._tasks.clear()
        working, self._working, self._given_up = self._working, None, None
        if working is not None and working is not getcurrent():
            working.throw()

    def _perform(self, effect: Effect) -> None:
        assert self._assembled is not None
        if isinstance(effect, Preempt):
            for given in (*self._tasks, *([self._begun] if self._begun is not None else [])):
                given.wanted = False
        self._performed = effect
        self._assembled.perform(effect)

    def _look_ahead(self) -> None:
        """See to it that the loop is turned when something of its own is due."""
        due_s = self._loop.timer_s
        if due_s is None or (self._tick_s is not None and self._tick_s <= due_s):
            return  # an earlier turn will look again
        at_s = self._tick_s = max(due_s, self._agenda.now_s)
        self._agenda.at(at_s, lambda: self._tick(at_s))

    def _tick(self, due_s: float) -> None:
        if self._tick_s != due_s:
            return  # one that was due earlier has looked ahead since
        self._tick_s = None
        self.take(None)
        again_s = self._loop.timer_s
        late = self.exit_code is None and again_s is not None and again_s <= self._agenda.now_s
        assert not late, f"{self.node} would spin: its timer stays at {again_s}"

    def _begin_work(self) -> None:
        if self._working is None and self._tasks and self.exit_code is None:
            self._begun = self._tasks.popleft()
            self._working = greenlet(self._work)
            self._switch(self._working)

    def _wake(self, number: int) -> None:
        if number == self._sleeps and self._working is not None and self._given_up is not None:
            self._given_up = None
            self._switch(self._working)

    def _switch(self, worker: greenlet) -> None:
        token = speaking.set(self)
        try:
            event = worker.switch()
        finally:
            speaking.reset(token)
        if worker.dead and self.exit_code is None:
            self._working = self._begun = None
            self._worked = True
            if event is not None:
                for watch in self._watches:
                    watch(event)
            self._agenda.after(0, lambda: self._done(event))  # a crash may come in between

    def _done(self, event: Event | None) -> None:
        self.take(event)  # of work without an event, too: it may have asked for the end
        if self._tasks:
            self._agenda.after(0, self._begin_work)

    def _work(self) -> Event | None:
        given = self._begun
        assert given is not None, "begun without work"
        speaking.set(self)  # a greenlet has a context of its own
        if given.takes_s and given.wanted:
            self.sleep(given.takes_s, given_up=lambda: not given.wanted)
        return given.task()


speaking: ContextVar[SimHost | None] = ContextVar("speaking", default=None)
"""Whose turn it is, for the log."""
