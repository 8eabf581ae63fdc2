"""The child's end of a link: obey the parent's head, fetch its model, offer an answer.

Devices and gateways are both children; what they do with a head is their own. This part ends
where the work begins: it reports ``Assigned`` and waits for ``answer`` or ``abstain``.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, assert_never

from fedtier.core.above import Above
from fedtier.core.effects import NO_BLOB, Effect, Job, Keep, Note, Preempt, Reconnect, Send
from fedtier.core.equipment import Equipment
from fedtier.core.events import Allowance, Installed, Received
from fedtier.core.fetch import Fetch
from fedtier.core.figures import Figures
from fedtier.core.hearing import Hearing
from fedtier.core.offer import Offer
from fedtier.core.pace import Line, Pace
from fedtier.core.verify import update_bytes_max
from fedtier.errors import WireError
from fedtier.ids import BootNonce, NodeId, hex64
from fedtier.limits import BEACON_S, GAP_S, OFFER_FIRST_S, WINDOW_PARTS
from fedtier.model.layout import model_digest
from fedtier.wire.costs import fetch_bytes, offer_bytes
from fedtier.wire.head import Beacon, Head
from fedtier.wire.manifest import (
    RAW_FORM,
    UpdateManifest,
    clip_reason,
    decode_model,
    encode_update,
)
from fedtier.wire.messages import Ack, Presence, Want
from fedtier.wire.parts import Part

ChildState = Literal["absent", "equipping", "fetching", "working", "offering", "settled", "resting"]
"""absent: no head obeyed yet. equipping: its artefact is on the way, and perhaps the model.
resting: the head asks nothing of this node. settled: answered."""

_MODEL_OVERHEAD_BYTES = 4096  # header and manifest of a model's blob
_PAST_BOOTS_MAX = 16
_NO_APPEAL = ("not a member", "conflict")  # rejections that no other answer would change


@dataclass(frozen=True, slots=True, kw_only=True)
class Assigned:
    """Not for the driver but for the owner: work to do, and the model to start from."""

    job: Job
    head: Head
    model: bytes = field(repr=False)


LinkEffect = Effect | Assigned


@dataclass(frozen=True, slots=True, kw_only=True)
class LinkTimes:
    """How long things took on a child's link, in microseconds."""

    offered: int = 0  # from first offers to `accepted`, over the updates of this run
    equipping: int = 0  # for which the present work waited, with its model, for an artefact


class ChildLink:
    """One node's conversation with its parent. Methods return effects, in order."""

    def __init__(
        self,
        *,
        node: NodeId,
        parent: NodeId,
        part_bytes: int,
        presence: Presence,
        artefact: str = "",
        saved: Iterable[Part] = (),
        metered: bool = False,
    ) -> None:
        """Begin knowing nothing of the parent.

        Args:
            node: This node's id.
            parent: Its parent's.
            part_bytes: How large a published part may be, header included.
            presence: What to say of this node when connected.
            artefact: Digest of the artefact it holds; empty for none.
            saved: Parts of another that an earlier boot saved.
            metered: Whether this link has a budget. Then nothing comes that was not asked for, and
                parts are asked for one by one, so that what an answer costs is known before.
        """
        self._window = 1 if metered else WINDOW_PARTS
        self._metered = metered
        self._allowance: Allowance | None = None
        line = Line()
        self.equipment = Equipment(node, artefact, saved, line=line, window=self._window)
        self._node = node
        self._part_bytes = part_bytes
        self._presence = presence
        self._presence_at_s: float | None = None
        self._connected = False
        self._hearing = Hearing("up")
        self._above = Above(parent)
        self._parent: Presence | None = None  # what it last said of itself
        self._head: Head | None = None
        self._past_boots: list[BootNonce] = []
        self._model: tuple[str, bytes] | None = None  # digest of the model, its blob
        self._fetch: Fetch | None = None
        self._fetching = Pace(GAP_S, line)
        self._offering = Pace(OFFER_FIRST_S, line)
        self._working: Job | None = None
        self._offer: Offer | None = None
        self._model_at_s: float | None = None  # since when it waits for an artefact alone
        self.times = LinkTimes()

    # What it is

    @property
    def state(self) -> ChildState:
        """Where in the conversation this link is."""
        if self._head is None:
            return "absent"
        if self.equipment.busy:
            return "equipping"
        if self._fetch is not None:
            return "fetching"
        if self._working is not None:
            return "working"
        if self._offer is not None:
            return "settled" if self._offer.settled else "offering"
        return "resting"

    @property
    def job(self) -> Job | None:
        """The work it waits for, if it does."""
        return self._working

    @property
    def head(self) -> Head | None:
        """The head now obeyed."""
        return self._head

    @property
    def timer_s(self) -> float | None:
        """When ``tick`` is next due, on the driver's monotonic clock."""
        if not self._connected:
            return None
        times = (
            self._presence_at_s,
            self._fetch.ask_at_s if self._fetch is not None else None,
            self.equipment.timer_s,
            self._offer.repeat_at_s if self._offer is not None else None,
            self._hearing.timer_s,
            self._above.timer_s,
        )
        return min((t for t in times if t is not None), default=None)

    # Events

    def connected(self, now_s: float) -> list[LinkEffect]:
        """The parent's broker is there: say who is here, and go on where it stopped."""
        self._connected = True
        self._hearing.connected(now_s)
        self._above.connected()
        effects: list[LinkEffect] = [self._announce(now_s), *self.equipment.connected(now_s)]
        if self._fetch is not None:
            effects.append(self._send(self._fetch.again(now_s)))
        if self.state == "offering":
            effects += self._offer_again(now_s)
        return [*effects, *self._wait(now_s)]

    def disconnected(self) -> None:
        """The parent's broker is gone; nothing is sent until it is back."""
        self._connected = False

    def allow(self, allowance: Allowance, now_s: float) -> list[LinkEffect]:
        """Know what the link may still carry in this round; answer without a delta if too little.

        An update that was made and cannot be sent is given up: the next round is another.
        """
        self._allowance = allowance
        head, offer = self._head, self._offer
        if not allowance.short or head is None:
            return []
        fetching = offer is None and (self._fetch is not None or self.equipment.busy)
        unsent = offer is not None and not offer.settled and not offer.abstains
        if not (fetching or unsent):
            return []
        self._fetch = None
        return self._do_without(head, allowance.reason, now_s)

    def announce(self, presence: Presence, now_s: float) -> list[LinkEffect]:
        """Say something new about this node."""
        self._presence = presence
        return [self._announce(now_s)] if self._connected else []

    def hear(self, event: Received, now_s: float) -> list[LinkEffect]:
        """Take a message from the parent's side."""
        spoke = not event.retained and not isinstance(event.message, Presence)
        there = self._above.speaks(now_s) if spoke else []
        return [*there, *self._hear(event, now_s), *self._wait(now_s)]

    def _hear(self, event: Received, now_s: float) -> list[LinkEffect]:
        match event.message:
            case Head() as head:
                return self.hear_head(head, now_s, retained=event.retained)
            case Beacon() as beacon:
                return self.hear_beacon(beacon)
            case Part(kind="artefact") as part:
                return self.hear_artefact(part, now_s)
            case Part() as part:
                return self.hear_part(part, now_s)
            case Ack() as ack:
                return self.hear_ack(ack, now_s)
            case Presence() as presence:
                return self.hear_presence(presence, now_s)
            case Want():
                return [Note(level="debug", event="stray want")]
            case _:
                assert_never(event.message)

    def hear_presence(self, presence: Presence, now_s: float) -> list[LinkEffect]:
        """Know whether the parent is there, and since which boot."""
        self._parent = presence
        self._listen(now_s)
        note = Note(level="debug", event="parent", fields={"status": presence.status})
        return [note, *self._above.hear(presence, now_s)]

    def hear_head(self, head: Head, now_s: float, *, retained: bool) -> list[LinkEffect]:
        """Take a head, if it is newer than the one obeyed."""
        refusal = self._refusal(head)
        if refusal is not None:
            return [Note(level="debug", event="head ignored", fields={"reason": refusal})]
        before, self._head = self._head, head
        self._model_at_s = None
        if before is not None and before.nonce != head.nonce:
            self._past_boots = [*self._past_boots, before.nonce][-_PAST_BOOTS_MAX:]
        self._listen(now_s)
        if before is not None and before.run == head.run:
            return self._follow(head, now_s, retained=retained)
        self.times = LinkTimes()
        fields = {"run": hex64(head.run), "path": str(head.path), "state": head.state}
        note = Note(level="info", event="following run", fields=fields)
        return [note, *self._follow(head, now_s, retained=retained)]

    def hear_beacon(self, beacon: Beacon) -> list[LinkEffect]:
        """Notice that one's head is not the newest, and ask for it."""
        head = self._head
        if beacon.nonce in self._past_boots:
            return []
        if head is not None and beacon.nonce == head.nonce and beacon.seq <= head.seq:
            return []
        return [self._want_head()]

    def hear_part(self, part: Part, now_s: float) -> list[LinkEffect]:
        """Take a slice of the model."""
        self._hearing.delivers(now_s)
        head, fetch = self._head, self._fetch
        if head is None or fetch is None or part.digest != fetch.blob.digest:
            return [Note(level="debug", event="stray part", fields={"part": part.part})]
        try:
            want = fetch.add(part, now_s)
            blob = fetch.take() if fetch.complete else None
        except WireError as error:  # some part of it is not the parent's: begin afresh
            note = Note(level="warning", event="model refused", fields={"reason": str(error)})
            return [note, *self._start_fetch(head, now_s, by_itself=True)]
        self.equipment.put_off(now_s, fetch.ask_at_s)
        if blob is not None:
            return self._fetched(head, blob, now_s)
        return [] if want is None else [self._send(want)]

    def hear_artefact(self, part: Part, now_s: float) -> list[LinkEffect]:
        """Take a slice of an artefact."""
        self._hearing.delivers(now_s)
        if self._fetch is not None and self.equipment.timer_s is not None:
            self._fetch.put_off(now_s, self.equipment.timer_s)
        return [*self.equipment.hear(part, now_s)]

    def hear_ack(self, ack: Ack, now_s: float) -> list[LinkEffect]:
        """Take the parent's answer to an offer, or its question for one."""
        head, offer = self._head, self._offer
        if head is None or offer is None or ack.digest not in (offer.digest, NO_BLOB):
            return [Note(level="debug", event="stray ack", fields={"verdict": ack.verdict})]
        if ack.verdict == "want":
            if ack.digest == NO_BLOB:
                return self._offer_again(now_s) if offer.settled else []
            return [self._send(part) for part in offer.wanted(ack.parts, head, now_s)]
        if offer.settled or ack.digest == NO_BLOB:
            return [Note(level="debug", event="stray ack", fields={"verdict": ack.verdict})]
        offer.settle(now_s)
        if ack.verdict == "accepted":
            offered = self.times.offered + offer.micros(now_s)
            self.times = replace(self.times, offered=offered)
            return []
        if ack.verdict == "stale":
            return [self._want_head()]  # the head that made it stale did not reach us
        return self._rejected(offer, ack.reason, now_s)

    def tick(self, now_s: float) -> list[LinkEffect]:
        """Repeat what is due."""
        if not self._connected:
            return []
        effects: list[LinkEffect] = [*self._hearing.tick(now_s), *self.equipment.tick(now_s)]
        if self._presence_at_s is not None and now_s >= self._presence_at_s:
            effects.append(self._announce(now_s))
        if self._fetch is not None and now_s >= self._fetch.ask_at_s:
            effects.append(self._send(self._fetch.ask(now_s)))
        offer, head = self._offer, self._head
        if offer is not None and offer.repeat_at_s is not None and now_s >= offer.repeat_at_s:
            assert head is not None, "an offer answers a head"
            effects.append(self._send(offer.repeat(head, now_s)))
        return [*effects, *self._wait(now_s)]

    # What the owner says

    def installed(self, event: Installed, now_s: float) -> list[LinkEffect]:
        """Go on with the head that asked for the artefact, if it still does."""
        effects: list[LinkEffect] = [*self.equipment.installed(event)]
        if self._head is None:
            return effects
        return [*effects, *self._follow(self._head, now_s, retained=True)]

    def answer(self, job: Job, blob: bytes, now_s: float) -> list[LinkEffect]:
        """Offer the update that answers a job, unless a later head has ended it."""
        if self._working != job:
            return [Note(level="debug", event="answer too late", fields={"path": str(job.path)})]
        return self._put_up(job, blob, now_s, abstains=False)

    def abstain(
        self, job: Job, reason: str, now_s: float, *, figures: Figures | None = None
    ) -> list[LinkEffect]:
        """Answer a job without a delta, and say why; ``figures`` are what rides along."""
        head = self._head
        if head is None or self._working != job:
            return [Note(level="debug", event="answer too late", fields={"path": str(job.path)})]
        manifest = UpdateManifest(
            run=job.run, path=job.path, node=self._node, task=job.task, base=job.base,
            layout=head.layout, weight=0, reason=clip_reason(reason) or "no reason given",
            figures={} if figures is None else figures.to_json(),
        )  # fmt: skip
        fields = {"path": str(job.path), "reason": reason}
        note = Note(level="warning", event="abstained", fields=fields)
        return [note, *self._put_up(job, encode_update(manifest, ()), now_s, abstains=True)]

    # Inside

    def _listen(self, now_s: float) -> None:
        """Expect a sign of life of the boot that said the head, for as long as it is there."""
        head, parent = self._head, self._parent
        if head is None or parent is None or parent.status != "online":
            self._hearing.heard(None, now_s)
        else:
            self._hearing.heard(head if parent.nonce == head.nonce else None, now_s)

    def _wait(self, now_s: float) -> list[Note]:
        """After a finished run nothing is wanted of the parent until there is another."""
        if not self._connected:
            return []
        return self._above.wait(now_s, wanted=self._head is None or self._head.state != "finished")

    def _refusal(self, head: Head) -> str | None:
        obeyed = self._head
        if head.nonce in self._past_boots:
            return "from an earlier boot of the parent"
        if obeyed is None:
            return None
        if head.nonce == obeyed.nonce and head.seq <= obeyed.seq:
            return "not newer"
        if head.run == obeyed.run and head.epoch < obeyed.epoch:
            return f"epoch {head.epoch} is older than {obeyed.epoch}"
        return None

    def _follow(self, head: Head, now_s: float, *, retained: bool) -> list[LinkEffect]:
        job = Job.of(head)
        asked = self._asked(head)
        effects: list[LinkEffect] = []
        if self._working is not None and not (asked and self._working == job):
            path = str(self._working.path)
            effects.append(Note(level="info", event="preempted", fields={"path": path}))
            effects.append(Preempt(job=self._working))
            self._working = None
        if self._offer is not None and not (asked and self._offer.job == job):
            self._offer = None
        needed = asked or head.state == "finished"
        if self._fetch is not None and not (needed and self._fetch.blob in head.blobs):
            self._fetch = None
        if not needed:
            self.equipment.drop()
            return effects
        if self.equipment.lacks(head):
            effects += self.equipment.fetch(head, now_s)
            if self.equipment.busy:
                return [*effects, *self._listen_for_model(head, now_s, retained=retained)]
        self.equipment.drop()
        if self._fetch is not None:
            self._fetch.hurry(now_s)
            return effects
        if self._working is not None:
            return effects
        if self._offer is not None:  # asked anew: the parent may have lost what it accepted
            return [*effects, *self._offer_again(now_s)]
        if self._model is not None and self._model[0] == head.model:
            return [*effects, *self._begin(head, self._model[1], now_s)]
        by_itself = self._comes_by_itself(retained=retained)
        return [*effects, *self._start_fetch(head, now_s, by_itself=by_itself)]

    def _listen_for_model(self, head: Head, now_s: float, *, retained: bool) -> list[LinkEffect]:
        """While the artefact is on its way, take what comes of the model."""
        if self._model is not None and self._model[0] == head.model:
            self._model_at_s = now_s if self._model_at_s is None else self._model_at_s
            return []
        if self._fetch is not None or not self._comes_by_itself(retained=retained):
            return []
        return self._start_fetch(head, now_s, by_itself=True)

    def _comes_by_itself(self, *, retained: bool) -> bool:
        """Whether the model's parts follow the head."""
        return not retained and not self._metered

    def _asked(self, head: Head) -> bool:
        """Whether this head asks this node for an answer."""
        return head.state in ("open", "draining") and head.member(self._node) is not None

    def _start_fetch(self, head: Head, now_s: float, *, by_itself: bool) -> list[LinkEffect]:
        self._fetch = None
        blob = next((blob for blob in head.blobs if blob.form == RAW_FORM), None)
        if blob is None:
            forms = ", ".join(blob.form for blob in head.blobs) or "nothing"
            return self._do_without(head, f"the head offers its model as {forms}", now_s)
        bytes_max = 4 * head.dimension + _MODEL_OVERHEAD_BYTES
        if (lacking := self._lacking(head, blob.total)) is not None:
            return self._do_without(head, lacking, now_s)
        try:
            self._fetch = Fetch(
                blob,
                self._fetching,
                bytes_max=bytes_max,
                now_s=now_s,
                by_itself=by_itself,
                window=self._window,
            )
        except WireError as error:
            return self._do_without(head, str(error), now_s)
        self.equipment.put_off(now_s, self._fetch.ask_at_s)
        return []

    def _lacking(self, head: Head, model_bytes: int) -> str | None:
        """Why the round's budget carries no model and update, if it does not."""
        allowance = self._allowance
        if allowance is None:
            return None
        need, what = fetch_bytes(model_bytes, self._part_bytes), "the model needs"
        if self._asked(head) and head.task == "train":
            need += offer_bytes(update_bytes_max(head), self._part_bytes)
            what = "model and update need"
        if need <= allowance.bytes_left:
            return None
        return f"{allowance.reason}, and {what} {need}"

    def _fetched(self, head: Head, blob: bytes, now_s: float) -> list[LinkEffect]:
        self._fetch = None
        try:
            parameters, _, layout = decode_model(blob)
        except WireError as error:
            return self._do_without(head, str(error), now_s)
        found = (layout, parameters.size, model_digest(layout, parameters))
        if found != (head.layout, head.dimension, head.model):
            return self._do_without(head, "the blob does not hold the head's model", now_s)
        self._model = (head.model, blob)
        if not self.equipment.busy:
            return self._begin(head, blob, now_s)
        self._model_at_s = now_s
        return []

    def _begin(self, head: Head, model: bytes, now_s: float) -> list[LinkEffect]:
        if head.state == "finished":
            return [Keep(head=head, model=model)]
        waited_s = 0.0 if self._model_at_s is None else now_s - self._model_at_s
        self._model_at_s = None
        self.times = replace(self.times, equipping=round(1e6 * waited_s))
        self._working = Job.of(head)
        return [Assigned(job=self._working, head=head, model=model)]

    def _do_without(self, head: Head, reason: str, now_s: float) -> list[LinkEffect]:
        """The head's model cannot be had: no repetition would change that."""
        if not self._asked(head):
            return [Note(level="warning", event="model refused", fields={"reason": reason})]
        self._working = Job.of(head)
        return self.abstain(self._working, reason, now_s)

    def _rejected(self, offer: Offer, reason: str, now_s: float) -> list[LinkEffect]:
        """Give the parent the answer it can take: an abstention, unless this was one."""
        fields = {"path": str(offer.job.path), "reason": reason}
        note = Note(level="warning", event="update rejected", fields=fields)
        if offer.abstains or reason.startswith(_NO_APPEAL):
            return [note]
        self._working = offer.job
        return [note, *self.abstain(offer.job, f"rejected: {reason}", now_s)]

    def _put_up(self, job: Job, blob: bytes, now_s: float, *, abstains: bool) -> list[LinkEffect]:
        self._working = None
        self._offer = Offer(
            job,
            blob,
            self._offering,
            node=self._node,
            part_bytes=self._part_bytes,
            now_s=now_s,
            abstains=abstains,
        )
        return self._offer_again(now_s)

    def _offer_again(self, now_s: float) -> list[LinkEffect]:
        assert self._offer is not None
        assert self._head is not None
        part = self._offer.begin(self._head, now_s)
        if self._connected:
            return [self._send(part)]
        return [Reconnect(side="up")] if self._metered else []  # it hung up to save its budget

    def _announce(self, now_s: float) -> Send:
        """Said again every so often: nobody can ask for what he does not know of."""
        self._presence_at_s = now_s + BEACON_S
        return self._send(self._presence)

    def _want_head(self) -> Send:
        return self._send(Want(digest=NO_BLOB, parts=()))

    def _send(self, message: Presence | Want | Part) -> Send:
        return Send(side="up", message=message, node=self._node)
