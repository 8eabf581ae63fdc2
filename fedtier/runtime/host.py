"""What a role's performer asks of whoever turns its loop: the driver, or the simulator."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

from fedtier.core.effects import Side
from fedtier.core.events import Event
from fedtier.core.figures import TierFigures
from fedtier.errors import EXIT_DONE
from fedtier.runtime.loop import Perform
from fedtier.transport.base import Transport

Clock = Literal["virtual", "wall"]
"""What seconds are of: of a simulated run, or of real processes."""


class Host(Protocol):
    """Where a node runs."""

    @property
    def clock(self) -> Clock:
        """What its time is of."""
        ...

    def now_s(self) -> float:
        """The time, of a clock that never goes back."""
        ...

    def transport(self, side: Side) -> Transport:
        """The transport of one side, whose bytes are to be counted."""
        ...

    def work(self, task: Callable[[], Event | None]) -> None:
        """Do something long, after what was given before; its event comes back into the loop.

        What the task raises ends the loop and comes out of it: a task whose failure is no reason
        to stop catches it itself.
        """
        ...

    def stop(self, exit_code: int = EXIT_DONE, reason: str = "") -> None:
        """End the loop after what is being performed."""
        ...

    def ending(self) -> bool:
        """Whether the node is about to end, so that long work is to be given up."""
        ...

    def usage(self, *, helper_peak_kib: int = 0, helper_cpu_ms: int = 0) -> TierFigures:
        """What this node has used so far, as one node of its tier.

        Args:
            helper_peak_kib: The peak of processes that work for it.
            helper_cpu_ms: Their processor time.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Assembled:
    """A node that is put together, and not yet running."""

    host: Host
    perform: Perform
    # From the loop's exit code to the process's, once all has ended: of a role for which to be
    # told to stop may mean not to be done.
    judge: Callable[[int], int] = field(default=lambda exit_code: exit_code)
