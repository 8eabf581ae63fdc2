"""How long an iteration is kept open: for everybody, or past a deadline for a quorum."""

from __future__ import annotations

from typing import Literal

from fedtier.wire.head import Head
from fedtier.wire.plan import members_needed

Decision = Literal["wait", "close", "give up"]


class Patience:
    """Decides when an iteration has enough answers, or has waited in vain."""

    def __init__(self, head: Head, now_s: float) -> None:
        """Begin to wait for the members of a head, as its plan says for their link."""
        link = head.tier - 1
        plan = head.plan
        deadline_s = plan.deadline_s[link] if plan.deadline_s else None
        self._members = len(head.members)
        self._quorum = members_needed(
            plan.quorum[link] if plan.quorum else "all", members=self._members
        )
        self._give_up_s = plan.give_up_s
        self._overdue = False
        self.timer_s: float | None = None if deadline_s is None else now_s + deadline_s

    def decide(self, answers: int, now_s: float) -> Decision:
        """What to do with so many answers at this time; past the deadline a quorum is enough."""
        if answers >= self._members:
            return "close"
        due = self.timer_s is not None and now_s >= self.timer_s
        if due and not self._overdue:
            self._overdue = True
            self.timer_s = now_s + self._give_up_s
            due = False
        if self._overdue and answers >= self._quorum:
            return "close"
        return "give up" if due else "wait"
