"""The child's end of a link: obey the parent's head, fetch its model, offer an answer.

Devices and gateways are both children; what they do with a head is their own. This part ends
where the work begins: it reports ``Assigned`` and waits for ``answer`` or ``abstain``.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Literal

from fedtier.core.effects import Effect, Job, Keep, Note, Preempt, Send
from fedtier.errors import WireError
from fedtier.ids import BootNonce, NodeId, RunId
from fedtier.limits import BEACON_S, GAP_S, OFFER_FIRST_S, OFFER_MAX_S, WINDOW_PARTS
from fedtier.model.layout import model_digest
from fedtier.wire.manifest import (
    RAW_FORM,
    UpdateManifest,
    clip_reason,
    decode_model,
    encode_update,
)
from fedtier.wire.messages import Ack, Beacon, Head, Presence, Want
from fedtier.wire.parts import Incoming, Outgoing, Part

ChildState = Literal["absent", "fetching", "working", "offering", "settled", "resting"]
"""absent: no head obeyed yet. resting: the head asks nothing of this node. settled: answered."""

_MODEL_OVERHEAD_BYTES = 4096  # header and manifest of a model's blob
_PAST_BOOTS_MAX = 16
_NO_APPEAL = ("not a member", "conflict")  # rejections that no other answer would change


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """Not for the driver but for the owner: work to do, and the model to start from."""

    job: Job
    head: Head
    model: bytes


class ChildLink:
    """One node's conversation with its parent. Methods return effects, in order."""

    def __init__(self, *, node: NodeId, part_bytes: int, presence: Presence) -> None:
        """Begin knowing nothing of the parent.

        Args:
            node: This node's id.
            part_bytes: How large a published part may be, header included.
            presence: What to say of this node when connected.
        """
        self._node = node
        self._part_bytes = part_bytes
        self._presence = presence
        self._connected = False
        self._head: Head | None = None
        self._past_boots: list[BootNonce] = []
        self._epochs: dict[RunId, int] = {}
        self._model: tuple[str, bytes] | None = None  # digest of the model, its blob
        self._slot: Incoming | None = None
        self._asked: set[int] = set()
        self._working: Job | None = None
        self._answered: tuple[Job, Outgoing] | None = None
        self._settled = False
        self._offered_since_s: float | None = None
        self._offers = 0
        self._want_at_s: float | None = None
        self._offer_at_s: float | None = None
        self._presence_at_s: float | None = None
        self.micros = 0  # time from first offer to `accepted`, summed over this run

    # What it is

    @property
    def state(self) -> ChildState:
        """Where in the conversation this link is."""
        if self._head is None:
            return "absent"
        if self._slot is not None:
            return "fetching"
        if self._working is not None:
            return "working"
        if self._answered is not None:
            return "settled" if self._settled else "offering"
        return "resting"

    @property
    def head(self) -> Head | None:
        """The head now obeyed."""
        return self._head

    @property
    def timer_s(self) -> float | None:
        """When ``tick`` is next due, on the driver's monotonic clock."""
        if not self._connected:
            return None
        times = (self._want_at_s, self._offer_at_s, self._presence_at_s)
        return min((t for t in times if t is not None), default=None)

    # Events

    def connected(self, now_s: float) -> list[Effect | Assigned]:
        """The parent's broker is there: say who is here, and go on where it stopped."""
        self._connected = True
        effects: list[Effect | Assigned] = [*self._announce(now_s)]
        if self._slot is not None:
            effects += self._ask(now_s)
        if self.state == "offering":
            self._offers = 0
            effects += self._offer(now_s)
        return effects

    def disconnected(self) -> None:
        """The parent's broker is gone; nothing is sent until it is back."""
        self._connected = False

    def announce(self, presence: Presence, now_s: float) -> list[Effect | Assigned]:
        """Say something new about this node."""
        self._presence = presence
        return [*self._announce(now_s)] if self._connected else []

    def hear_head(self, head: Head, now_s: float, *, retained: bool) -> list[Effect | Assigned]:
        """Take a head, if it is newer than the one obeyed."""
        refusal = self._refusal(head)
        if refusal is not None:
            return [Note(level="debug", event="head ignored", fields={"reason": refusal})]
        before, self._head = self._head, head
        if before is not None and before.nonce != head.nonce:
            self._past_boots = [*self._past_boots, before.nonce][-_PAST_BOOTS_MAX:]
        if before is None or before.run != head.run:
            self.micros = 0
        self._epochs = {head.run: head.epoch}
        return self._follow(before, now_s, retained=retained)

    def hear_beacon(self, beacon: Beacon, now_s: float) -> list[Effect | Assigned]:
        """Notice that one's head is not the newest, and ask for it."""
        del now_s
        head = self._head
        if head is not None and (
            beacon.nonce in self._past_boots
            or (beacon.nonce == head.nonce and beacon.seq <= head.seq)
        ):
            return []
        return [self._want("", ())]

    def hear_part(self, part: Part, now_s: float) -> list[Effect | Assigned]:
        """Take a slice of the model."""
        if self._slot is None or part.digest != self._slot.digest:
            return [Note(level="debug", event="stray part", fields={"part": part.part})]
        try:
            new = self._slot.add(part)
            if not new:
                return []
            if self._slot.complete:
                return self._fetched(self._slot.take(), now_s)
        except WireError as error:
            self._open_slot()
            self._want_at_s = now_s + GAP_S
            return [Note(level="warning", event="model refused", fields={"reason": str(error)})]
        self._asked.discard(part.part)
        self._want_at_s = now_s + GAP_S
        asked_before = bool(self._asked) or part.part not in self._last_window
        return [] if asked_before else [*self._ask(now_s)]

    def hear_ack(self, ack: Ack, now_s: float) -> list[Effect | Assigned]:
        """Take the parent's answer to an offer."""
        if self._answered is None or self._settled or self._answered[1].digest != ack.digest:
            return [Note(level="debug", event="stray ack", fields={"verdict": ack.verdict})]
        job, outgoing = self._answered
        match ack.verdict:
            case "want":
                self._offers = 0
                self._offer_at_s = now_s + self._pause_s()
                return [
                    self._part(outgoing, index) for index in ack.parts if index < outgoing.parts
                ]
            case "accepted":
                if self._offered_since_s is not None:
                    self.micros += round(1e6 * (now_s - self._offered_since_s))
                self._settle()
                return []
            case "stale":
                self._settle()
                return [self._want("", ())]  # the head that made it stale did not reach us
            case "rejected":
                note = Note(
                    level="warning",
                    event="update rejected",
                    fields={"path": str(job.path), "reason": ack.reason},
                )
                if ack.reason.startswith(_NO_APPEAL):
                    self._settle()
                    return [note]
                return [note, *self.abstain(job, f"rejected: {ack.reason}", now_s)]
        raise AssertionError(ack.verdict)

    def tick(self, now_s: float) -> list[Effect | Assigned]:
        """Repeat what is due."""
        effects: list[Effect | Assigned] = []
        if not self._connected:
            return effects
        if self._want_at_s is not None and now_s >= self._want_at_s:
            effects += self._ask(now_s)
        if self._offer_at_s is not None and now_s >= self._offer_at_s:
            effects += self._offer(now_s)
        if self._presence_at_s is not None and now_s >= self._presence_at_s:
            effects += self._announce(now_s)
        return effects

    # What the owner says

    def answer(self, job: Job, blob: bytes, now_s: float) -> list[Effect | Assigned]:
        """Offer the update that answers a job, unless a later head has made it idle."""
        if self._head is None or job != Job.of(self._head) or self._working is None:
            return [Note(level="debug", event="answer too late", fields={"path": str(job.path)})]
        self._working = None
        self._answered = (job, Outgoing(blob, kind="update", part_bytes=self._part_bytes))
        self._settled = False
        self._offers = 0
        self._offered_since_s = now_s
        return self._offer(now_s)

    def abstain(self, job: Job, reason: str, now_s: float) -> list[Effect | Assigned]:
        """Answer a job with nothing, and say why."""
        head = self._head
        if head is None or job != Job.of(head):
            return []
        manifest = UpdateManifest(
            run=job.run, path=job.path, node=self._node, task=job.task, base=job.base,
            layout=head.layout, weight=0, reason=clip_reason(reason) or "no reason given",
        )  # fmt: skip
        self._working = job
        note = Note(
            level="warning", event="abstained", fields={"path": str(job.path), "reason": reason}
        )
        return [note, *self.answer(job, encode_update(manifest, ()), now_s)]

    # Inside

    def _refusal(self, head: Head) -> str | None:
        obeyed = self._head
        if head.nonce in self._past_boots:
            return "from an earlier boot of the parent"
        if obeyed is not None and head.nonce == obeyed.nonce and head.seq <= obeyed.seq:
            return "not newer"
        if head.epoch < self._epochs.get(head.run, 0):
            return f"epoch {head.epoch} is older than {self._epochs[head.run]}"
        return None

    def _follow(
        self, before: Head | None, now_s: float, *, retained: bool
    ) -> list[Effect | Assigned]:
        head = self._head
        assert head is not None
        job = Job.of(head)
        wanted = head.state in ("open", "draining") and head.member(self._node) is not None
        effects: list[Effect | Assigned] = []
        if self._working is not None and (not wanted or self._working != job):
            effects.append(Preempt(job=self._working))
            self._working = None
        if self._answered is not None and (not wanted or self._answered[0] != job):
            self._answered = None
            self._offer_at_s = None
        if self._slot is not None and all(b.digest != self._slot.digest for b in head.blobs):
            self._slot = None
            self._want_at_s = None
        self._presence_at_s = None if wanted else now_s + BEACON_S
        if self._working is not None:
            return effects
        if self._answered is not None:  # the same job from a parent that has just been restarted
            if before is None or before.nonce != head.nonce:
                self._settled = False
                self._offers = 0
                effects += self._offer(now_s)
            return effects
        if not wanted and head.state != "finished":
            return effects
        if self._model is not None and self._model[0] == head.model:
            return [*effects, *self._begin(now_s)]
        if self._slot is None:
            self._open_slot()
            self._want_at_s = now_s if retained else now_s + GAP_S  # parts follow a fresh head
        return effects

    def _open_slot(self) -> None:
        head = self._head
        assert head is not None
        self._asked = set()
        self._last_window: frozenset[int] = frozenset()
        blob = next((blob for blob in head.blobs if blob.form == RAW_FORM), None)
        if blob is None:
            self._slot = None
            return
        self._slot = Incoming(
            digest=blob.digest, total=blob.total, parts=blob.parts,
            bytes_max=4 * head.dimension + _MODEL_OVERHEAD_BYTES,
        )  # fmt: skip

    def _fetched(self, blob: bytes, now_s: float) -> list[Effect | Assigned]:
        head = self._head
        assert head is not None
        parameters, _, layout = decode_model(blob)
        if layout != head.layout or model_digest(layout, parameters) != head.model:
            raise WireError("the blob does not hold the model its head names")
        self._slot = None
        self._want_at_s = None
        self._model = (head.model, blob)
        return self._begin(now_s)

    def _begin(self, now_s: float) -> list[Effect | Assigned]:
        del now_s
        head = self._head
        assert head is not None
        assert self._model is not None
        if head.state == "finished":
            return [Keep(head=head, model=self._model[1])]
        if head.member(self._node) is None:
            return []
        self._working = Job.of(head)
        return [Assigned(job=self._working, head=head, model=self._model[1])]

    def _announce(self, now_s: float) -> list[Effect]:
        self._presence_at_s = now_s + BEACON_S if self.state in ("absent", "resting") else None
        return [Send(side="up", message=self._presence, node=self._node)]

    def _want(self, digest: str, parts: tuple[int, ...]) -> Send:
        return Send(side="up", message=Want(digest=digest, parts=parts), node=self._node)

    def _ask(self, now_s: float) -> list[Effect]:
        assert self._slot is not None
        self._want_at_s = now_s + GAP_S
        window = self._slot.missing(WINDOW_PARTS)
        self._asked = set(window)
        self._last_window = frozenset(window)
        return [self._want(self._slot.digest, window)] if self._connected else []

    def _offer(self, now_s: float) -> list[Effect | Assigned]:
        assert self._answered is not None
        self._offer_at_s = now_s + self._pause_s()
        self._offers += 1
        return [self._part(self._answered[1], 0)] if self._connected else []

    def _pause_s(self) -> float:
        """Doubling from 5 s to 60 s, spread by up to a tenth so that siblings do not march."""
        assert self._answered is not None
        pause_s = min(OFFER_MAX_S, OFFER_FIRST_S * 2.0 ** min(self._offers, 10))
        spread = zlib.crc32(f"{self._node} {self._answered[1].digest} {self._offers}".encode())
        return pause_s * (1 + 0.1 * spread / 2**32)

    def _part(self, outgoing: Outgoing, index: int) -> Send:
        head = self._head
        assert head is not None
        part = outgoing.part(
            index, run=head.run, epoch=head.epoch, path=head.path, nonce=head.nonce, seq=head.seq
        )
        return Send(side="up", message=part, node=self._node)

    def _settle(self) -> None:
        self._settled = True
        self._offer_at_s = None
        self._offered_since_s = None
