"""Whom a node waits for, said after a while and then now and again: nobody waits mutely."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final, Literal

from fedtier.core.effects import Effect, Note
from fedtier.core.roster import Roster
from fedtier.ids import NodeId
from fedtier.limits import WAITING_AGAIN_S, WAITING_FIRST_S, WAITING_NAMES_MAX
from fedtier.wire.head import Head

MEMBERS: Final = "members"
PARENT: Final = "parent"

WaitingFor = Literal["members", "parent"] | int | None
"""Members that make an iteration possible; a child's parent; the answers to the head of this
number; nothing."""


class Waiting:
    """How long the same thing has been waited for, and when that is worth a line."""

    def __init__(self) -> None:
        """Begin waiting for nothing."""
        self._what: WaitingFor = None
        self._since_s = 0.0
        self._said = False
        self.timer_s: float | None = None

    def wait_for(self, what: WaitingFor, now_s: float) -> list[Effect]:
        """Wait for this from now on, unless it is waited for already.

        Members that were said to be waited for are said to be there: nothing else tells it, as an
        iteration that closes does.
        """
        if what == self._what:
            return []
        over: list[Effect] = []
        if self._said and self._what == MEMBERS:
            fields = {"seconds": round(self.seconds(now_s))}
            over.append(Note(level="info", event="waiting is over", fields=fields))
        self._what = what
        self._since_s = now_s
        self._said = False
        self.timer_s = None if what is None else now_s + WAITING_FIRST_S
        return over

    def seconds(self, now_s: float) -> float:
        """How long it has been."""
        return now_s - self._since_s

    def is_due(self, now_s: float) -> bool:
        """Whether it is time to say so; the next time is then some way off."""
        if self.timer_s is None or now_s < self.timer_s:
            return False
        self._said = True
        self.timer_s = now_s + WAITING_AGAIN_S
        return True


def members_note(roster: Roster, *, seconds: float) -> Note:
    """Who is missing before an iteration can open, and who is there but not ready."""
    fields: dict[str, object] = {
        "seconds": round(seconds), "ready": roster.ready, "needed": roster.needed,
    }  # fmt: skip
    groups = {
        "missing": [n for n in roster.members if roster.standing(n) == "missing"],
        "not_ready": [n for n in roster.members if roster.standing(n) == "not_ready"],
    }
    return Note(level="info", event="waiting for members", fields=fields | _named(groups))


def answers_note(
    head: Head,
    roster: Roster,
    *,
    unanswered: Sequence[NodeId],
    sending: Iterable[NodeId],
    seconds: float,
) -> Note:
    """Who has not answered an open iteration: is it gone, silent, or is its update on the way?

    Args:
        head: What was asked.
        roster: Who is there.
        unanswered: The members whose answers have not come.
        sending: Those of them of whose answers a part has come.
        seconds: How long the iteration has been open.
    """
    under_way = set(sending)
    silent = [n for n in unanswered if n not in under_way]
    fields = {
        "path": str(head.path), "task": head.task, "seconds": round(seconds),
        "answered": len(head.members) - len(unanswered), "members": len(head.members),
    }  # fmt: skip
    groups = {
        "missing": [n for n in silent if roster.standing(n) == "missing"],
        "silent": [n for n in silent if roster.standing(n) != "missing"],
        "sending": [n for n in unanswered if n in under_way],
    }
    return Note(level="info", event="waiting for answers", fields=fields | _named(groups))


def _named(groups: dict[str, list[NodeId]]) -> dict[str, str]:
    return {group: some_of(names) for group, names in groups.items() if names}


def some_of(names: Sequence[NodeId]) -> str:
    """Names for people: the first few, and how many more there are."""
    more = len(names) - WAITING_NAMES_MAX
    shown = ", ".join(names[:WAITING_NAMES_MAX])
    return f"{shown} and {more} more" if more > 0 else shown
