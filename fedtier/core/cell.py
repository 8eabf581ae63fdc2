"""The parent's end of a cell: publish a head, serve its model, collect answers, close.

The gateway and the cloud run this same part; what an iteration is for is their own. It reports
``Collected`` when an iteration is to be closed and waits for the next ``open``.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Literal, assert_never

from fedtier.core.effects import NO_BLOB, Effect, Job, Note, Reasons, Send, Spool
from fedtier.core.events import Received
from fedtier.core.figures import Figures, fold
from fedtier.core.hearing import Hearing
from fedtier.core.intake import Complete, Held, Intake, IntakeEffect, accepted
from fedtier.core.measured import Measured
from fedtier.core.patience import Patience
from fedtier.core.roster import Lookout, Roster
from fedtier.core.tally import Tally
from fedtier.core.verify import verify_manifest
from fedtier.core.waiting import MEMBERS, Waiting, WaitingFor, answers_note, members_note
from fedtier.errors import PeerError
from fedtier.ids import BootNonce, NodeId
from fedtier.limits import GAP_S, WINDOW_PARTS
from fedtier.wire.head import ARTEFACT_FORM, Beacon, BlobRef, Head, Member
from fedtier.wire.manifest import RAW_FORM, UpdateManifest
from fedtier.wire.messages import Ack, Presence, Want
from fedtier.wire.parts import Outgoing, Part
from fedtier.wire.topics import ALL

CellState = Literal["looking", "idle", "collecting", "closing"]
"""looking: is there a second parent? collecting: an iteration is open. closing: it is summed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Not for the driver but for the owner: nobody more is waited for."""

    job: Job
    head: Head
    came: tuple[Member, ...]  # members with a delta, by name; nobody where the quorum was missed
    answered: int  # members that answered, if only to abstain
    seconds: float  # how long the iteration was open
    reasons: Reasons
    rms: float  # of the coordinates of the deltas that came; 0 where they do not say
    figures: Figures  # scores and training of this iteration's answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """Not for the driver but for the owner: no second parent answered, the cell may open."""


CellEffect = Effect | Collected | Looked


def _listed(blob: Outgoing, *, form: str) -> BlobRef:
    return BlobRef(form=form, digest=blob.digest, total=blob.total, parts=blob.parts)


class Cell:
    """One parent's conversation with its children. Methods return effects, in order."""

    def __init__(
        self,
        *,
        node: NodeId,
        members: Iterable[NodeId],
        members_min: int,
        part_bytes: int,
        nonce: BootNonce,
    ) -> None:
        """Begin without an open iteration.

        Args:
            node: The parent's id, which names the cell.
            members: The only children whose messages count.
            members_min: How many of them must be ready before an iteration opens.
            part_bytes: How large a published part may be, header included.
            nonce: 64 fresh random bits of this boot.
        """
        self.roster = Roster(members, members_min=members_min)
        self._lookout = Lookout(node=node, nonce=nonce)
        self._part_bytes = part_bytes
        self._nonce = nonce
        self._seq = 0
        self._connected = False
        self._hearing = Hearing("down")
        self._head: Head | None = None
        self._model: Outgoing | None = None
        self._artefact: tuple[str, Outgoing] | None = None  # digest of what the blob holds
        self._beacon_at_s: float | None = None
        self._head_again_at_s = 0.0
        self._patience: Patience | None = None  # while an iteration is open
        self._closing = False
        self._waiting = Waiting()
        self._answers: dict[NodeId, tuple[UpdateManifest, Figures]] = {}
        self._intake = Intake()
        self._tally = Tally()

    # What it is

    @property
    def state(self) -> CellState:
        """Where the cell is."""
        if not self._lookout.done:
            return "looking"
        if self._patience is not None:
            return "collecting"
        return "closing" if self._closing else "idle"

    @property
    def head(self) -> Head | None:
        """The head last published."""
        return self._head

    @property
    def timer_s(self) -> float | None:
        """When ``tick`` is next due, on the driver's monotonic clock."""
        times = [self._lookout.timer_s, self._waiting.timer_s]
        if self._connected:
            times += [self._beacon_at_s, self._hearing.timer_s]
        if self._patience is not None:
            times += [self._intake.timer_s, self._patience.timer_s]
        return min((t for t in times if t is not None), default=None)

    @property
    def receiving(self) -> int:
        """How many of the children's updates are on their way."""
        return self._intake.receiving

    def missing(self) -> tuple[NodeId, ...]:
        """The members of the open iteration that have not answered, by name."""
        members = self._head.members if self._head is not None else ()
        return tuple(m.node for m in members if m.node not in self._answers)

    def figures(self) -> Figures:
        """Links and tiers of the whole subtree since the run began, this cell's own included."""
        if self._head is None:
            return Figures()
        return self._tally.figures(self._head.tier, self._intake.counts)

    # Events

    def connected(self, now_s: float) -> list[CellEffect]:
        """The cell's broker is there: be seen, and repeat the head."""
        self._connected = True
        self._hearing.connected(now_s)
        return [*self._lookout.connected(now_s), *self._publish(now_s)]

    def disconnected(self) -> None:
        """The cell's broker is gone; nothing is sent until it is back."""
        self._connected = False
        self._beacon_at_s = None
        self._lookout.disconnected()

    def hear(self, event: Received, now_s: float) -> list[CellEffect]:
        """Take a message from the children's side."""
        return [*self._heard(event, now_s), *self._wait(now_s)]

    def _heard(self, event: Received, now_s: float) -> list[CellEffect]:
        match event.message:
            case Presence() as presence if event.node == ALL:
                return self.hear_own_presence(presence, now_s, retained=event.retained)
            case Presence() as presence:
                return self.hear_presence(event.node, presence)
            case Want() as want:
                return self.hear_want(event.node, want, now_s)
            case Part(kind="update") as part:
                self._hearing.delivers(now_s)
                return self.hear_part(event.node, part, now_s)
            case Head() | Beacon() | Ack() | Part():
                return [Note(level="debug", event="stray message", fields={"node": event.node})]
            case _:
                assert_never(event.message)

    def hear_own_presence(
        self, presence: Presence, now_s: float, *, retained: bool
    ) -> list[CellEffect]:
        """Take what was published as this cell's parent, by whomever."""
        if presence.nonce == self._nonce:
            self._hearing.heard(self._head, now_s)
        return [*self._lookout.hear(presence, now_s, retained=retained)]

    def hear_presence(self, child: NodeId, presence: Presence) -> list[CellEffect]:
        """Know who is there."""
        if child not in self.roster:
            return [Note(level="warning", event="stranger", fields={"node": child})]
        return [*self.roster.hear(child, presence)]

    def hear_want(self, child: NodeId, want: Want, now_s: float) -> list[CellEffect]:
        """Send a child the parts of a blob it lacks, or the head where it lacks that."""
        if child not in self.roster or self._head is None:
            return []
        served = (self._model, self._artefact[1] if self._artefact is not None else None)
        blob = next((b for b in served if b is not None and b.digest == want.digest), None)
        if blob is None:
            return self._head_again(now_s)
        wanted = dict.fromkeys(index for index in want.parts if index < blob.parts)
        return [
            Send(side="down", message=self._part(self._head, blob, index), node=child)
            for index in list(wanted)[:WINDOW_PARTS]
        ]

    def hear_part(self, child: NodeId, part: Part, now_s: float) -> list[CellEffect]:
        """Take a slice of a child's update, the first of which is its offer."""
        if child not in self.roster:
            if part.part != 0:
                return []
            answer = Ack(digest=part.digest, verdict="rejected", reason="not a member")
            note = Note(level="warning", event="stranger", fields={"node": child})
            return [note, Send(side="down", message=answer, node=child)]
        effects = self._taken(self._intake.hear(child, part, now_s))
        return [*effects, *self._close_if_ready(now_s)]

    def tick(self, now_s: float) -> list[CellEffect]:
        """Do what is due."""
        effects: list[CellEffect] = []
        if self._lookout.tick(now_s):
            effects += [self._lookout.presence(), Looked()]
        if self._patience is not None:
            effects += self._taken(self._intake.tick(now_s))
            effects += self._close_if_ready(now_s)
        if self._connected and self._beacon_at_s is not None and now_s >= self._beacon_at_s:
            effects += self._sign_of_life(now_s)
        if self._connected:
            effects += self._hearing.tick(now_s)
        effects += self._wait(now_s)
        if self._waiting.is_due(now_s):
            effects.append(self._waiting_note(now_s))
        return effects

    # What the owner says

    def equip(self, artefact: str, blob: bytes) -> None:
        """Have an artefact for children that lack it, from the next head on that names it.

        Args:
            artefact: Its digest.
            blob: What it travels as.
        """
        outgoing = Outgoing(blob, kind="artefact", part_bytes=self._part_bytes)
        self._artefact = (artefact, outgoing)

    def open(
        self, head: Head, blob: bytes, now_s: float, *, spooled: Mapping[NodeId, Held]
    ) -> list[CellEffect]:
        """Publish a head that asks for work, and collect the answers.

        Args:
            head: All of it but nonce, seq and what lists blobs, which are this cell's to fill in.
            blob: The model's blob, for the children to fetch.
            now_s: The time.
            spooled: Updates of this very iteration that a restart found, by child.
        """
        assert head.members, "an iteration needs a member"
        assert self._lookout.done, "a cell opens once nobody else speaks for it"
        self._patience = Patience(head, now_s)
        self._closing = False
        self._answers = {}
        self._tally.open(head.run)
        self._intake.open(head)
        effects = self.say(head, blob, now_s)
        for child, held in sorted(spooled.items()):
            self._restore(head, child, held)
        effects += self._wait(now_s)
        return [*effects, *self._close_if_ready(now_s), *self._wait(now_s)]

    def say(self, head: Head, blob: bytes, now_s: float) -> list[CellEffect]:
        """Publish a head, and its model unless the children have just been sent it."""
        model = self._model
        fresh = model is None or self._head is None or self._head.model != head.model
        if model is None or fresh:
            model = self._model = Outgoing(blob, kind="model", part_bytes=self._part_bytes)
        listed = (_listed(model, form=RAW_FORM),)
        offered = self._artefact
        if offered is None or offered[0] != head.artefact:
            said = self._put_head(replace(head, blobs=listed, artefact_blob=None))
        else:
            artefact = _listed(offered[1], form=ARTEFACT_FORM)
            said = self._put_head(replace(head, blobs=listed, artefact_blob=artefact))
        effects = self._publish(now_s)
        if effects and fresh:
            effects += [
                Send(side="down", message=self._part(said, model, index))
                for index in range(model.parts)
            ]
        return effects

    def pause(self, now_s: float) -> list[CellEffect]:
        """Drop the open iteration, if any; the children rest until the next head."""
        self._patience = None
        self._closing = False
        self._intake.close()
        effects = self._wait(now_s)
        if self._head is None or self._head.state in ("paused", "finished"):
            return effects
        self._put_head(replace(self._head, state="paused"))
        return [*effects, *self._publish(now_s)]

    # Inside: speaking

    def _put_head(self, head: Head) -> Head:
        self._seq += 1
        self._head = replace(head, nonce=self._nonce, seq=self._seq)
        return self._head

    def _publish(self, now_s: float) -> list[CellEffect]:
        if not self._connected or self._head is None:
            return []
        if self._beacon_at_s is None:  # no flow of heads puts off the next sign of life
            self._beacon_at_s = now_s + self._head.plan.beacon_s
        self._hearing.expect(self._head, now_s)
        return [Send(side="down", message=self._head)]

    def _head_again(self, now_s: float) -> list[CellEffect]:
        """Repeat the head to everybody; one child's question is many children's."""
        if self._head is None or now_s < self._head_again_at_s:
            return []
        self._head_again_at_s = now_s + GAP_S
        return [Send(side="down", message=self._head)]

    def _sign_of_life(self, now_s: float) -> list[CellEffect]:
        """Be seen, say which head is the newest, and ask who has offered nothing for an offer."""
        head = self._head
        assert head is not None, "nothing is said before the first head"
        self._beacon_at_s = now_s + head.plan.beacon_s
        beacon = Beacon(
            nonce=head.nonce, seq=head.seq, run=head.run, epoch=head.epoch, path=head.path,
            state=head.state,
        )  # fmt: skip
        question = Ack(digest=NO_BLOB, verdict="want")
        missing = self.missing() if self._patience is not None else ()
        asked = [child for child in missing if self._intake.standing(child) == "nothing"]
        return [
            self._lookout.presence(),
            Send(side="down", message=beacon),
            *(Send(side="down", message=question, node=child) for child in asked),
        ]

    def _part(self, head: Head, blob: Outgoing, index: int) -> Part:
        return blob.part(
            index, run=head.run, epoch=head.epoch, path=head.path, nonce=head.nonce, seq=head.seq
        )

    # Inside: waiting

    def _wait(self, now_s: float) -> list[CellEffect]:
        """Know what is waited for now, so that it can be said when it takes long."""
        what: WaitingFor = None
        if self._patience is not None:
            what = self._seq  # of the open iteration's head
        elif self._lookout.done and self.roster.ready < self.roster.needed:
            what = MEMBERS
        return [*self._waiting.wait_for(what, now_s)]

    def _waiting_note(self, now_s: float) -> Note:
        seconds, head = self._waiting.seconds(now_s), self._head
        if head is None or self._patience is None:
            return members_note(self.roster, seconds=seconds)
        unanswered = self.missing()
        sending = [n for n in unanswered if self._intake.standing(n) in ("waiting", "receiving")]
        return answers_note(
            head, self.roster, unanswered=unanswered, sending=sending, seconds=seconds
        )

    # Inside: collecting

    def _taken(self, items: list[IntakeEffect]) -> list[CellEffect]:
        effects: list[CellEffect] = []
        for item in items:
            if not isinstance(item, Complete):
                effects.append(item)
                continue
            manifest = item.update.manifest
            self._enter(item.child, manifest)
            spool = Spool(run=manifest.run, path=manifest.path, child=item.child, blob=item.blob)
            effects += [spool, accepted(item)]
            if manifest.reason:
                why = {"node": item.child, "reason": manifest.reason}
                effects.append(Note(level="warning", event="member abstained", fields=why))
        return effects

    def _enter(self, child: NodeId, manifest: UpdateManifest) -> None:
        self._answers[child] = (manifest, self._tally.enter(child, manifest))

    def _restore(self, head: Head, child: NodeId, held: Held) -> None:
        """Count an update again; its delta was verified before it went into the spool."""
        try:
            verify_manifest(head, child, held.manifest)
        except PeerError:  # of another membership: the child will offer what it has
            return
        self._intake.hold(child, held.digest)
        self._enter(child, held.manifest)

    def _close_if_ready(self, now_s: float) -> list[CellEffect]:
        head, patience = self._head, self._patience
        if head is None or patience is None:
            return []
        decision = patience.decide(len(self._answers), now_s)
        if decision == "wait":
            return []
        self._patience = None
        self._closing = True
        self._intake.close()
        self._tally.lose(len(self.missing()))
        came = tuple(
            m for m in head.members if m.node in self._answers and self._answers[m.node][0].weight
        )
        reasons = sorted((child, m.reason) for child, (m, _) in self._answers.items() if m.reason)
        reported = fold(figures for _, figures in self._answers.values())
        figures, seconds = reported.of_iteration + self._own_q(head), self._waiting.seconds(now_s)
        if head.task == "train":
            figures = figures.with_span(head.tier, seconds - figures.equipping / 1e6)
        return [
            Collected(
                job=Job.of(head), head=head, came=() if decision == "give up" else came,
                answered=len(self._answers), seconds=seconds, reasons=tuple(reasons),
                rms=self._rms(head, came), figures=figures,
            )
        ]  # fmt: skip

    def _rms(self, head: Head, came: Sequence[Member]) -> float:
        """Of the coordinates of their deltas, by weight; the same to the bit in any order."""
        norms = [(m.weight, self._answers[m.node][0].norm) for m in came]
        weight = head.dimension * sum(weight for weight, _ in norms)
        return math.sqrt(math.fsum(w * norm**2 for w, norm in norms) / weight) if weight else 0.0

    def _own_q(self, head: Head) -> Figures:
        """In a pilot, what this link's quantizer did to the deltas that came."""
        if head.task != "train" or head.path.round >= head.plan.pilot:
            return Figures()
        errors = [Fraction(m.q) for m, _ in self._answers.values() if m.weight]
        link = head.tier
        return Figures(
            measured=Measured(q={link: sum(errors, start=Fraction())}, deltas={link: len(errors)})
        )
