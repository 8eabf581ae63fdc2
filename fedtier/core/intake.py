"""The parent's end of the uplink: answer every offer, take updates in part by part.

At most K transfers run at a time, so no broker ever queues more than K windows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from fedtier.core.effects import Effect, Note, Send
from fedtier.core.pace import Pace
from fedtier.core.verify import OtherHeadError, update_bytes_max, verify_delta, verify_manifest
from fedtier.errors import PeerError
from fedtier.ids import NodeId
from fedtier.limits import GAP_S, PAUSE_MAX_S, TRANSFERS_AT_ONCE, WINDOW_PARTS
from fedtier.wire.head import Head
from fedtier.wire.manifest import (
    Update,
    UpdateManifest,
    clip_reason,
    decode_update,
    peek_update,
)
from fedtier.wire.messages import Ack, Verdict
from fedtier.wire.parts import Incoming, Part

Standing = Literal["closed", "nothing", "waiting", "receiving", "held"]
"""Of one child. closed: no iteration is open. waiting: it has offered, there is no place yet."""

_SILENCE_MAX_S = 2 * PAUSE_MAX_S  # a sender that lives has offered again by then


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    """Not for the driver but for the owner: a child's update is whole, verified and wanted."""

    child: NodeId
    digest: str
    update: Update
    blob: bytes = field(repr=False)


IntakeEffect = Effect | Complete


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What a machine must know of an update that lies in the spool, however large it is."""

    digest: str
    manifest: UpdateManifest


@dataclass(slots=True, kw_only=True)
class _Transfer:
    slot: Incoming
    asked: set[int]
    progress_s: float
    ask_at_s: float


@dataclass(slots=True)
class IntakeCounts:
    """What happened since the run began."""

    duplicates: int = 0
    late: int = 0
    rejected: int = 0


class Intake:
    """Takes in the updates of one iteration at a time."""

    def __init__(self) -> None:
        """Begin with nothing open."""
        self._head: Head | None = None  # of the iteration that is open, or was last
        self._open = False
        self._held: dict[NodeId, str] = {}  # digest of each verified update
        self._transfers: dict[NodeId, _Transfer] = {}
        self._paces: dict[NodeId, Pace] = {}  # of each member's line
        self._waiting: dict[NodeId, Part] = {}  # offers for which there was no place yet
        self.counts = IntakeCounts()

    @property
    def timer_s(self) -> float | None:
        """When ``tick`` is next due."""
        return min((t.ask_at_s for t in self._transfers.values()), default=None)

    @property
    def receiving(self) -> int:
        """How many updates are on their way; at most ``TRANSFERS_AT_ONCE``."""
        return len(self._transfers)

    def standing(self, child: NodeId) -> Standing:
        """How far a child's update has come."""
        if child in self._held:
            return "held"
        if child in self._transfers:
            return "receiving"
        if child in self._waiting:
            return "waiting"
        return "nothing" if self._open else "closed"

    def open(self, head: Head) -> None:
        """Begin an iteration with nothing held."""
        if self._head is not None and self._head.run != head.run:
            self.counts = IntakeCounts()
        self._head = head
        self._open = True
        self._held = {}
        self._drop_transfers()

    def close(self) -> None:
        """Take nothing more; who is held is still answered ``accepted``, the others ``stale``."""
        self._open = False
        self._drop_transfers()

    def hold(self, child: NodeId, digest: str) -> None:
        """Count an update as held that a restart found in the spool."""
        self._held[child] = digest

    def hear(self, child: NodeId, part: Part, now_s: float) -> list[IntakeEffect]:
        """Take one part of an update, the first of which is its offer."""
        head = self._head
        if head is None or (head.run, head.path) != (part.run, part.path):
            return self._stale(child, part)
        if child in self._held:
            return self._repeated(child, part)
        if not self._open:
            return self._stale(child, part)
        return [*self._step(head, child, part, now_s), *self._admit_waiting(head, now_s)]

    def tick(self, now_s: float) -> list[IntakeEffect]:
        """Ask again where nothing came; drop who has been silent for long."""
        head = self._head
        if head is None:
            return []
        effects: list[IntakeEffect] = []
        for child, transfer in list(self._transfers.items()):
            if now_s - transfer.progress_s >= _SILENCE_MAX_S:
                del self._transfers[child]
            elif now_s >= transfer.ask_at_s:
                effects.append(self._ask(child, transfer, now_s))
        return [*effects, *self._admit_waiting(head, now_s)]

    # Inside

    def _stale(self, child: NodeId, part: Part) -> list[IntakeEffect]:
        if part.part != 0:
            return []
        self.counts.late += 1
        return [_ack(child, part.digest, "stale")]

    def _repeated(self, child: NodeId, part: Part) -> list[IntakeEffect]:
        if part.part != 0:
            return []
        if self._held[child] == part.digest:
            self.counts.duplicates += 1
            return [_ack(child, part.digest, "accepted")]
        self.counts.rejected += 1
        return [_ack(child, part.digest, "rejected", reason="conflict: another update is held")]

    def _step(self, head: Head, child: NodeId, part: Part, now_s: float) -> list[IntakeEffect]:
        transfer = self._transfers.get(child)
        known = transfer is not None and transfer.slot.digest == part.digest
        try:
            if transfer is not None and known:
                return self._progress(head, child, transfer, part, now_s)
            return self._offered(head, child, part, now_s) if part.part == 0 else []
        except OtherHeadError:
            self._forget(child, digest=part.digest)
            return self._stale(child, part)
        except PeerError as error:
            self._forget(child, digest=part.digest)
            self.counts.rejected += 1
            fields = {"node": child, "reason": str(error)}
            note = Note(level="warning", event="update rejected", fields=fields)
            answer = _ack(child, part.digest, "rejected", reason=clip_reason(str(error)))
            return [note, answer]

    def _offered(self, head: Head, child: NodeId, part: Part, now_s: float) -> list[IntakeEffect]:
        # First whether it answers this head: how large it may be hangs on the head's task.
        verify_manifest(head, child, peek_update(part.payload))
        slot = Incoming(
            digest=part.digest, total=part.total, parts=part.parts,
            bytes_max=update_bytes_max(head),
        )  # fmt: skip
        slot.add(part)
        if slot.complete:
            return [self._completed(head, child, slot)]
        self._forget(child)  # another offer of the same child replaces its first, if it can be
        if len(self._transfers) >= TRANSFERS_AT_ONCE:
            self._waiting[child] = part
            return [_ack(child, part.digest, "want")]
        transfer = _Transfer(slot=slot, asked=set(), progress_s=now_s, ask_at_s=now_s)
        self._transfers[child] = transfer
        return [self._ask(child, transfer, now_s)]

    def _progress(
        self, head: Head, child: NodeId, transfer: _Transfer, part: Part, now_s: float
    ) -> list[IntakeEffect]:
        new = transfer.slot.add(part)
        if transfer.slot.complete:
            return [self._completed(head, child, transfer.slot)]
        if new:
            transfer.asked.discard(part.part)
            transfer.progress_s = now_s
            pace = self._pace(child)
            pace.answered(now_s, len(part.payload))
            transfer.ask_at_s = now_s + pace.pause_s(transfer.slot.part_bytes)
        if part.part == 0 or (new and not transfer.asked):  # every offer is answered
            return [self._ask(child, transfer, now_s)]
        return []

    def _completed(self, head: Head, child: NodeId, slot: Incoming) -> Complete:
        blob = slot.take()
        update = decode_update(blob)
        verify_manifest(head, child, update.manifest)
        verify_delta(head, update)
        self._forget(child)
        self._held[child] = slot.digest
        return Complete(child=child, digest=slot.digest, update=update, blob=blob)

    def _ask(self, child: NodeId, transfer: _Transfer, now_s: float) -> Send:
        window = transfer.slot.missing(WINDOW_PARTS)
        pace = self._pace(child)
        if transfer.asked.intersection(window):
            pace.in_vain()
        elif not transfer.asked:
            pace.afresh(now_s)
        transfer.asked = set(window)
        transfer.ask_at_s = now_s + pace.pause_s(transfer.slot.part_bytes)
        return _ack(child, transfer.slot.digest, "want", parts=window)

    def _pace(self, child: NodeId) -> Pace:
        return self._paces.setdefault(child, Pace(GAP_S))

    def _admit_waiting(self, head: Head, now_s: float) -> list[IntakeEffect]:
        effects: list[IntakeEffect] = []
        while self._waiting and len(self._transfers) < TRANSFERS_AT_ONCE:
            child, part = next(iter(self._waiting.items()))
            effects += self._step(head, child, part, now_s)
        return effects

    def _forget(self, child: NodeId, *, digest: str | None = None) -> None:
        """Give up what a child has offered, or only the update of one digest."""
        transfer, waiting = self._transfers.get(child), self._waiting.get(child)
        if transfer is not None and digest in (None, transfer.slot.digest):
            del self._transfers[child]
        if waiting is not None and digest in (None, waiting.digest):
            del self._waiting[child]

    def _drop_transfers(self) -> None:
        self._transfers.clear()
        self._waiting.clear()


def accepted(complete: Complete) -> Send:
    """The verdict for an update that is in the spool."""
    return _ack(complete.child, complete.digest, "accepted")


def _ack(
    child: NodeId, digest: str, verdict: Verdict, *, parts: tuple[int, ...] = (), reason: str = ""
) -> Send:
    message = Ack(digest=digest, verdict=verdict, parts=parts, reason=reason)
    return Send(side="down", message=message, node=child)
