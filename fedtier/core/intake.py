"""The parent's end of the uplink: answer every offer, take updates in part by part.

At most K transfers run at a time, so no broker ever queues more than K windows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fedtier.core.effects import Effect, Note, Send
from fedtier.errors import PeerError, WireError
from fedtier.ids import IterationPath, NodeId, RunId
from fedtier.limits import GAP_S, OFFER_MAX_S, TRANSFERS_AT_ONCE, WINDOW_PARTS
from fedtier.wire.manifest import Update, UpdateManifest, clip_reason, decode_update, peek_update
from fedtier.wire.messages import Ack, Verdict
from fedtier.wire.parts import Incoming, Part


@dataclass(frozen=True, slots=True, kw_only=True)
class Complete:
    """Not for the driver but for the owner: a child's update is whole, verified and wanted."""

    child: NodeId
    digest: str
    update: Update
    blob: bytes


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

    def __init__(
        self,
        *,
        check_manifest: Callable[[NodeId, UpdateManifest], None],
        check_update: Callable[[Update], None],
        bytes_max: Callable[[], int],
    ) -> None:
        """Begin with nothing open.

        Args:
            check_manifest: Raises PeerError for a manifest that cannot enter this iteration.
            check_update: Raises PeerError for sections that do not decode to finite numbers.
            bytes_max: The largest update that makes sense for this iteration.
        """
        self._check_manifest = check_manifest
        self._check_update = check_update
        self._bytes_max = bytes_max
        self._open: tuple[RunId, IterationPath] | None = None
        self._closed = True
        self._held: dict[NodeId, str] = {}  # digest of each verified update
        self._transfers: dict[NodeId, _Transfer] = {}
        self._waiting: dict[NodeId, Part] = {}  # offers for which there was no place yet
        self.counts = IntakeCounts()

    def open(self, run: RunId, path: IterationPath) -> None:
        """Begin an iteration with nothing held."""
        if self._open is not None and self._open[0] != run:
            self.counts = IntakeCounts()
        self._open = (run, path)
        self._closed = False
        self._held = {}
        self._transfers.clear()
        self._waiting.clear()

    def close(self) -> None:
        """Take nothing more; who is held is still answered ``accepted``, the others ``stale``."""
        self._closed = True
        self._transfers.clear()
        self._waiting.clear()

    def hold(self, child: NodeId, digest: str) -> None:
        """Count an update as held that a restart found in the spool."""
        self._held[child] = digest

    @property
    def held(self) -> dict[NodeId, str]:
        """The children whose answer is in, with its digest."""
        return self._held

    @property
    def timer_s(self) -> float | None:
        """When ``tick`` is next due."""
        return min((t.ask_at_s for t in self._transfers.values()), default=None)

    def hear(self, child: NodeId, part: Part, now_s: float) -> list[Effect | Complete]:
        """Take one part of an update, the first of which is its offer."""
        if self._open != (part.run, part.path) or (self._closed and child not in self._held):
            if part.part != 0:
                return []
            self.counts.late += 1
            return [_ack(child, part.digest, "stale")]
        if child in self._held:
            return self._repeated(child, part)
        try:
            if part.part == 0 and not self._same_slot(child, part):
                return self._offered(child, part, now_s)
            transfer = self._transfers.get(child)
            if transfer is None or transfer.slot.digest != part.digest:
                return []  # a straggler of an offer that was given up
            return self._progress(child, transfer, part, now_s)
        except PeerError as error:
            return self.refuse(child, part.digest, str(error), now_s)

    def refuse(
        self, child: NodeId, digest: str, reason: str, now_s: float
    ) -> list[Effect | Complete]:
        """Answer ``rejected``, free the place, and let the next child in."""
        self.counts.rejected += 1
        self._transfers.pop(child, None)
        self._waiting.pop(child, None)
        note = Note(
            level="warning", event="update rejected", fields={"child": child, "reason": reason}
        )
        answer = _ack(child, digest, "rejected", reason=clip_reason(reason))
        return [note, answer, *self._admit_waiting(now_s)]

    def tick(self, now_s: float) -> list[Effect | Complete]:
        """Ask again where nothing came; drop who has been silent for long."""
        effects: list[Effect | Complete] = []
        for child, transfer in list(self._transfers.items()):
            if now_s - transfer.progress_s >= 2 * OFFER_MAX_S:
                del self._transfers[child]
            elif now_s >= transfer.ask_at_s:
                effects.append(self._ask(child, transfer, now_s))
        return [*effects, *self._admit_waiting(now_s)]

    def _repeated(self, child: NodeId, part: Part) -> list[Effect | Complete]:
        if part.part != 0:
            return []
        if self._held[child] == part.digest:
            self.counts.duplicates += 1
            return [_ack(child, part.digest, "accepted")]
        self.counts.rejected += 1
        return [_ack(child, part.digest, "rejected", reason="conflict: another update is held")]

    def _same_slot(self, child: NodeId, part: Part) -> bool:
        transfer = self._transfers.get(child)
        return transfer is not None and transfer.slot.digest == part.digest

    def _offered(self, child: NodeId, part: Part, now_s: float) -> list[Effect | Complete]:
        self._check_manifest(child, peek_update(part.payload))
        self._transfers.pop(child, None)  # another offer of the same child replaces its first
        if part.parts > 1 and len(self._transfers) >= TRANSFERS_AT_ONCE:
            self._waiting[child] = part
            return [_ack(child, part.digest, "want")]
        self._waiting.pop(child, None)
        slot = Incoming(
            digest=part.digest, total=part.total, parts=part.parts, bytes_max=self._bytes_max()
        )
        transfer = _Transfer(slot=slot, asked=set(), progress_s=now_s, ask_at_s=now_s + GAP_S)
        self._transfers[child] = transfer
        return self._progress(child, transfer, part, now_s)

    def _progress(
        self, child: NodeId, transfer: _Transfer, part: Part, now_s: float
    ) -> list[Effect | Complete]:
        new = transfer.slot.add(part)
        if transfer.slot.complete:
            return self._completed(child, transfer, now_s)
        if not new and part.part != 0:
            return []
        transfer.asked.discard(part.part)
        transfer.progress_s = now_s
        transfer.ask_at_s = now_s + GAP_S
        if transfer.asked and part.part != 0:
            return []
        return [self._ask(child, transfer, now_s)]  # every offer is answered

    def _completed(
        self, child: NodeId, transfer: _Transfer, now_s: float
    ) -> list[Effect | Complete]:
        blob = transfer.slot.take()
        update = decode_update(blob)
        self._check_manifest(child, update.manifest)
        self._check_update(update)
        del self._transfers[child]
        self._held[child] = transfer.slot.digest
        complete = Complete(child=child, digest=transfer.slot.digest, update=update, blob=blob)
        return [complete, *self._admit_waiting(now_s)]

    def _ask(self, child: NodeId, transfer: _Transfer, now_s: float) -> Send:
        window = transfer.slot.missing(WINDOW_PARTS)
        transfer.asked = set(window)
        transfer.ask_at_s = now_s + GAP_S
        return _ack(child, transfer.slot.digest, "want", parts=window)

    def _admit_waiting(self, now_s: float) -> list[Effect | Complete]:
        effects: list[Effect | Complete] = []
        while self._waiting and len(self._transfers) < TRANSFERS_AT_ONCE:
            child = next(iter(self._waiting))
            part = self._waiting.pop(child)
            try:
                effects += self._offered(child, part, now_s)
            except WireError as error:
                effects += self.refuse(child, part.digest, str(error), now_s)
        return effects


def accepted(complete: Complete) -> Send:
    """The verdict for an update that is in the spool."""
    return _ack(complete.child, complete.digest, "accepted")


def _ack(
    child: NodeId, digest: str, verdict: Verdict, *, parts: tuple[int, ...] = (), reason: str = ""
) -> Send:
    message = Ack(digest=digest, verdict=verdict, parts=parts, reason=reason)
    return Send(side="down", message=message, node=child)
