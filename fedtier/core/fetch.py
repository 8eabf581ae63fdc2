"""The way down of one model: ask for what is missing, a window at a time, until it is whole."""

from __future__ import annotations

from fedtier.core.pace import Pace
from fedtier.limits import WINDOW_PARTS
from fedtier.wire.head import BlobRef
from fedtier.wire.messages import Want
from fedtier.wire.parts import Incoming, Part


class Fetch:
    """One blob that a head lists and this node does not have yet."""

    def __init__(
        self,
        blob: BlobRef,
        pace: Pace,
        *,
        bytes_max: int,
        now_s: float,
        by_itself: bool = False,
        window: int = WINDOW_PARTS,
    ) -> None:
        """Make room for a blob.

        Args:
            blob: As the head lists it.
            pace: Of the line it comes by.
            bytes_max: The largest size that makes sense.
            now_s: The time.
            by_itself: Whether its parts are on their way, so that there is time to ask.
            window: How many parts to ask for at a time.

        Raises:
            WireError: If the announced numbers cannot be.
        """
        self._slot = Incoming(
            digest=blob.digest, total=blob.total, parts=blob.parts, bytes_max=bytes_max
        )
        self._pace = pace
        self._window = window
        self._asked: set[int] = set()
        self.blob = blob
        pace.afresh(now_s)
        self.ask_at_s = self._later(now_s) if by_itself else now_s

    @property
    def left(self) -> int:
        """How many parts have not come."""
        return self._slot.left

    @property
    def complete(self) -> bool:
        """Whether every part has come."""
        return self._slot.complete

    def add(self, part: Part, now_s: float) -> Want | None:
        """Put a part in its place; gives the next request once the last one has been served.

        Raises:
            WireError: If the part does not fit this blob.
        """
        if not self._slot.add(part):
            return None
        self._pace.answered(now_s, len(part.payload))
        self.ask_at_s = self._later(now_s)
        served = part.part in self._asked
        self._asked.discard(part.part)
        return self.ask(now_s) if served and not self._asked and not self.complete else None

    def ask(self, now_s: float) -> Want:
        """Ask for the first parts that are missing, and again after a pause without progress."""
        window = self._slot.missing(self._window)
        if self._asked.intersection(window):
            self._pace.in_vain()
        elif not self._asked:
            self._pace.begin(now_s)
        self._asked = set(window)
        self.ask_at_s = self._later(now_s)
        return Want(digest=self.blob.digest, parts=window)

    def again(self, now_s: float) -> Want:
        """Ask on a new connection: what was asked for on the last one does not come."""
        self._asked.clear()
        self._pace.afresh(now_s)
        return self.ask(now_s)

    def hurry(self, now_s: float) -> None:
        """Do not wait longer than a usual pause: the parent has just spoken."""
        self._pace.hurry()
        self.ask_at_s = min(self.ask_at_s, self._later(now_s))

    def put_off(self, now_s: float, until_s: float) -> None:
        """Do not ask before this time: what comes first on the same line is still coming."""
        self._pace.begin(now_s)
        self.ask_at_s = max(self.ask_at_s, until_s)

    def take(self) -> bytes:
        """The whole blob.

        Raises:
            WireError: If it does not have its digest.
        """
        return self._slot.take()

    def _later(self, now_s: float) -> float:
        """When a part should have come."""
        return now_s + self._pace.pause_s(self._slot.part_bytes)
