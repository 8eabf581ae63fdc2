"""The way up of one answer: offered until there is a verdict, served as it is asked for."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from fedtier.core.effects import Job
from fedtier.core.pace import Pace
from fedtier.ids import NodeId
from fedtier.wire.head import Head
from fedtier.wire.parts import Outgoing, Part


class Offer:
    """One update, and when to offer it next."""

    def __init__(
        self,
        job: Job,
        blob: bytes,
        pace: Pace,
        *,
        node: NodeId,
        part_bytes: int,
        now_s: float,
        abstains: bool,
    ) -> None:
        """Make an update ready to be offered.

        Args:
            job: What it answers.
            blob: All of it.
            pace: Of the line it goes by: what the parent's answers take.
            node: The sender, so that siblings do not march in step.
            part_bytes: How large a published part may be, header included.
            now_s: The time.
            abstains: It is what is left to say when any other answer would be rejected.
        """
        self.job = job
        self.abstains = abstains
        self.settled = False
        self.repeat_at_s: float | None = None
        self._outgoing = Outgoing(blob, kind="update", part_bytes=part_bytes)
        self._pace = pace
        self._node = node
        self._repeats = 0
        self._sent_bytes = 0
        self._since_s: float | None = now_s

    @property
    def digest(self) -> str:
        """The update's name."""
        return self._outgoing.digest

    def begin(self, head: Head, now_s: float) -> Part:
        """Offer it as if for the first time."""
        self.settled = False
        self._repeats = 0
        self._pace.afresh(now_s)
        return self._offer(head, now_s)

    def repeat(self, head: Head, now_s: float) -> Part:
        """Offer it once more, for nothing was heard."""
        self._pace.in_vain()
        return self._offer(head, now_s)

    def wanted(self, parts: tuple[int, ...], head: Head, now_s: float) -> list[Part]:
        """What the parent asks for; with nothing, it is queued and needs no hurry."""
        self.settled = False
        if parts:
            self._pace.answered(now_s, self._sent_bytes)
        else:
            self._pace.heard(now_s, self._sent_bytes)
        sent = [self._part(index, head) for index in parts if index < self._outgoing.parts]
        self._sent(sent, now_s)
        return sent

    def settle(self, now_s: float) -> None:
        """Stop offering it, but keep it for as long as the parent may ask again."""
        self._pace.heard(now_s, self._sent_bytes)
        self.settled = True
        self.repeat_at_s = None

    def micros(self, now_s: float) -> int:
        """Microseconds from the first offer to now; counted once."""
        since_s, self._since_s = self._since_s, None
        return 0 if since_s is None else round(1e6 * (now_s - since_s))

    def _offer(self, head: Head, now_s: float) -> Part:
        """Its first part, addressed to the head it answers."""
        first = self._part(0, head)
        self._pace.begin(now_s)
        self._sent([first], now_s)
        self._repeats += 1
        return first

    def _sent(self, parts: Sequence[Part], now_s: float) -> None:
        """Wait for the line's pause, spread by up to a tenth."""
        spread = zlib.crc32(f"{self._node} {self.digest} {self._repeats}".encode())
        self._sent_bytes = sum(len(part.payload) for part in parts)
        pause_s = self._pace.pause_s(self._sent_bytes)
        self.repeat_at_s = now_s + pause_s * (1 + 0.1 * spread / 2**32)

    def _part(self, index: int, head: Head) -> Part:
        return self._outgoing.part(
            index, run=head.run, epoch=head.epoch, path=head.path, nonce=head.nonce, seq=head.seq
        )
