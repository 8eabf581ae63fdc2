"""The parent's end of a cell: publish a head, serve its model, collect answers, close.

The gateway and the cloud run this same part; what an iteration is for is their own. It reports
``Collected`` when an iteration is to be closed and waits for the next ``open``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Literal

from fedtier.core.effects import Effect, Job, Note, Send, Spool
from fedtier.core.figures import Q_UNITS_PER_ONE, Figures, LinkFigures, Scores, fold
from fedtier.core.intake import Complete, Intake, accepted
from fedtier.core.roster import Lookout, Roster
from fedtier.errors import PeerError, UpdateError
from fedtier.ids import BootNonce, NodeId
from fedtier.limits import GAP_S, WINDOW_PARTS
from fedtier.model.exact_sum import in_range
from fedtier.quantize.registry import make_codec
from fedtier.wire.blob import blob_digest
from fedtier.wire.manifest import RAW_FORM, Update, UpdateManifest, decode_update
from fedtier.wire.messages import (
    Ack,
    Beacon,
    BlobRef,
    Head,
    Member,
    Presence,
    Want,
    members_needed,
)
from fedtier.wire.parts import Outgoing, Part

CellState = Literal["looking", "idle", "collecting", "closing"]
"""looking: is there a second parent? collecting: an iteration is open. closing: it is summed."""

_UPDATE_OVERHEAD_BYTES = 8192  # header, manifest and alignment of an update's blob


@dataclass(frozen=True, slots=True, kw_only=True)
class Collected:
    """Not for the driver but for the owner: nobody more is waited for."""

    job: Job
    head: Head
    came: tuple[Member, ...]  # members with a delta, by name
    figures: Figures  # scores and training of this iteration's answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Looked:
    """Not for the driver but for the owner: no second parent answered, the cell may open."""


CellEffect = Effect | Collected | Looked


class Cell:
    """One parent's conversation with its children. Methods return effects, in order."""

    def __init__(
        self, *, node: NodeId, members: Iterable[NodeId], part_bytes: int, nonce: BootNonce
    ) -> None:
        """Begin without an open iteration.

        Args:
            node: The parent's id, which names the cell.
            members: The only children whose messages count.
            part_bytes: How large a published part may be, header included.
            nonce: 64 fresh random bits of this boot.
        """
        self.roster = Roster(members)
        self._lookout = Lookout(node=node, nonce=nonce)
        self._part_bytes = part_bytes
        self._nonce = nonce
        self._seq = 0
        self._connected = False
        self._head: Head | None = None
        self._model: Outgoing | None = None
        self._collecting = False
        self._closing = False
        self._quorum = 0
        self._deadline_at_s: float | None = None
        self._overdue = False
        self._give_up_at_s: float | None = None
        self._beacon_at_s: float | None = None
        self._head_again_at_s = 0.0
        self._answers: dict[NodeId, UpdateManifest] = {}
        self._latest: dict[NodeId, Figures] = {}
        self._counts = LinkFigures()
        self._intake = Intake(
            check_manifest=self._check_manifest,
            check_update=self._check_update,
            bytes_max=self._update_bytes_max,
        )

    # What it is

    @property
    def state(self) -> CellState:
        """Where the cell is."""
        if not self._lookout.done:
            return "looking"
        if self._collecting:
            return "collecting"
        return "closing" if self._closing else "idle"

    @property
    def head(self) -> Head | None:
        """The head last published."""
        return self._head

    @property
    def timer_s(self) -> float | None:
        """When ``tick`` is next due, on the driver's monotonic clock."""
        times = [self._lookout.timer_s, self._beacon_at_s if self._connected else None]
        if self._collecting:
            times += [self._intake.timer_s, self._deadline_at_s, self._give_up_at_s]
        return min((t for t in times if t is not None), default=None)

    def missing(self) -> tuple[NodeId, ...]:
        """The members of the open iteration that have not answered, by name."""
        head = self._head
        return (
            ()
            if head is None
            else tuple(m.node for m in head.members if m.node not in self._answers)
        )

    def figures(self) -> Figures:
        """Links and tiers of the whole subtree since the run began, this cell's own included."""
        below = replace(
            fold(self._latest.values()), scores=Scores(), trained_steps=0, trained_loss_units=0
        )
        counts = self._intake.counts
        own = replace(self._counts, duplicates=counts.duplicates, late=counts.late)
        return below if self._head is None else below.with_link(self._head.tier, own)

    # Events

    def connected(self, now_s: float) -> list[CellEffect]:
        """The cell's broker is there: be seen, and repeat the head."""
        self._connected = True
        effects: list[CellEffect] = [*self._lookout.connected(now_s)]
        return effects if self._head is None else [*effects, *self._publish(now_s)]

    def disconnected(self) -> None:
        """The cell's broker is gone; nothing is sent until it is back."""
        self._connected = False

    def hear_own_presence(self, presence: Presence, *, retained: bool) -> list[CellEffect]:
        """Take what was published as this cell's parent, by whomever."""
        return [*self._lookout.hear(presence, retained=retained)]

    def hear_presence(self, child: NodeId, presence: Presence) -> list[CellEffect]:
        """Know who is there."""
        if child not in self.roster:
            return [Note(level="warning", event="stranger", fields={"node": child})]
        if not self.roster.hear(child, presence):
            return []
        fields = {"node": child, "status": presence.status, "ready": presence.ready}
        return [Note(level="info", event="presence", fields=fields)]

    def hear_want(self, child: NodeId, want: Want, now_s: float) -> list[CellEffect]:
        """Send a child what it lacks: parts of the model, or the head itself."""
        if child not in self.roster or self._head is None:
            return []
        if want.digest == "":
            if now_s < self._head_again_at_s:
                return []
            self._head_again_at_s = now_s + GAP_S
            return [Send(side="down", message=self._head)]
        if self._model is None or want.digest != self._model.digest:
            return [Note(level="debug", event="want of an old blob", fields={"node": child})]
        wanted = dict.fromkeys(index for index in want.parts if index < self._model.parts)
        return [
            Send(side="down", message=self._part(index), node=child)
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
        if self._beacon_at_s is not None and now_s >= self._beacon_at_s and self._connected:
            effects.append(self._beacon(now_s))
        if self._collecting and self._head is not None:
            effects += self._taken(self._intake.tick(now_s))
            if self._deadline_at_s is not None and now_s >= self._deadline_at_s:
                self._deadline_at_s = None
                self._overdue = True
                self._give_up_at_s = now_s + self._head.plan.give_up_s
            effects += self._close_if_ready(now_s)
        return effects

    # What the owner says

    def open(
        self, head: Head, blob: bytes, now_s: float, *, spooled: Mapping[NodeId, bytes]
    ) -> list[CellEffect]:
        """Publish a head that asks for work, and collect the answers.

        Args:
            head: All of it but nonce, seq and blobs, which are this cell's to fill in.
            blob: The model's blob, for the children to fetch.
            now_s: The time.
            spooled: Updates of this very iteration that a restart found, by child.
        """
        assert head.members, "an iteration needs a member"
        if self._head is not None and self._head.run != head.run:
            self._latest.clear()
            self._counts = LinkFigures()
        link = head.tier - 1
        quorum = head.plan.quorum[link] if head.plan.quorum else "all"
        deadline_s = head.plan.deadline_s[link] if head.plan.deadline_s else None
        self._quorum = members_needed(quorum, members=len(head.members))
        self._deadline_at_s = None if deadline_s is None else now_s + deadline_s
        self._overdue = False
        self._give_up_at_s = None
        self._answers = {}
        self._collecting = True
        self._closing = False
        self._intake.open(head.run, head.path)
        effects = self.say(head, blob, now_s)
        for child, update in sorted(spooled.items()):
            self._restore(child, update)
        return [*effects, *self._close_if_ready(now_s)]

    def say(self, head: Head, blob: bytes, now_s: float) -> list[CellEffect]:
        """Publish a head and its model."""
        same = self._head is not None and self._head.model == head.model
        if self._model is None or not same:
            self._model = Outgoing(blob, kind="model", part_bytes=self._part_bytes)
        model = BlobRef(
            form=RAW_FORM, digest=self._model.digest, total=self._model.total,
            parts=self._model.parts,
        )  # fmt: skip
        self._seq += 1
        self._head = replace(head, nonce=self._nonce, seq=self._seq, blobs=(model,))
        effects = self._publish(now_s)
        if not self._connected or same:
            return effects
        return [
            *effects,
            *(Send(side="down", message=self._part(index)) for index in range(model.parts)),
        ]

    def pause(self, now_s: float) -> list[CellEffect]:
        """Drop the open iteration, if any; the children rest until the next head."""
        self._collecting = False
        self._closing = False
        self._intake.close()
        if self._head is None or self._head.state in ("paused", "finished"):
            return []
        self._seq += 1
        self._head = replace(self._head, state="paused", seq=self._seq)
        return self._publish(now_s)

    # Inside

    def _publish(self, now_s: float) -> list[CellEffect]:
        if not self._connected or self._head is None:
            return []
        self._beacon_at_s = now_s + self._head.plan.beacon_s
        return [Send(side="down", message=self._head)]

    def _beacon(self, now_s: float) -> Send:
        head = self._head
        assert head is not None
        self._beacon_at_s = now_s + head.plan.beacon_s
        beacon = Beacon(
            nonce=head.nonce, seq=head.seq, run=head.run, epoch=head.epoch, path=head.path,
            state=head.state,
        )  # fmt: skip
        return Send(side="down", message=beacon)

    def _part(self, index: int) -> Part:
        head, model = self._head, self._model
        assert head is not None
        assert model is not None
        return model.part(
            index, run=head.run, epoch=head.epoch, path=head.path, nonce=head.nonce, seq=head.seq
        )

    def _taken(self, items: list[Effect | Complete]) -> list[CellEffect]:
        effects: list[CellEffect] = []
        for item in items:
            if not isinstance(item, Complete):
                effects.append(item)
                continue
            manifest = item.update.manifest
            self._enter(item.child, manifest)
            spool = Spool(run=manifest.run, path=manifest.path, child=item.child, blob=item.blob)
            effects += [spool, accepted(item)]
        return effects

    def _enter(self, child: NodeId, manifest: UpdateManifest) -> None:
        self._answers[child] = manifest
        self._latest[child] = Figures.from_json(manifest.figures)
        measured = manifest.weight > 0
        self._counts += LinkFigures(
            updates=1,
            q_units=round(manifest.q * Q_UNITS_PER_ONE) if measured else 0,
            q_count=1 if measured else 0,
        )

    def _restore(self, child: NodeId, blob: bytes) -> None:
        try:
            update = decode_update(blob)
            self._check_manifest(child, update.manifest)
            self._check_update(update)
        except PeerError:  # torn by the crash: the child still has it and will offer it again
            return
        self._intake.hold(child, blob_digest(blob))
        self._enter(child, update.manifest)

    def _close_if_ready(self, now_s: float) -> list[CellEffect]:
        head = self._head
        if not self._collecting or head is None:
            return []
        missing = self.missing()
        given_up = self._give_up_at_s is not None and now_s >= self._give_up_at_s
        enough = self._overdue and len(self._answers) >= self._quorum
        if missing and not enough and not given_up:
            return []
        self._collecting = False
        self._closing = True
        self._intake.close()
        self._counts += LinkFigures(lost=len(missing))
        came = tuple(
            m for m in head.members if m.node in self._answers and self._answers[m.node].weight > 0
        )
        answered = fold(Figures.from_json(m.figures) for m in self._answers.values())
        figures = replace(answered, links={}, tiers={})
        return [Collected(job=Job.of(head), head=head, came=came, figures=figures)]

    def _check_manifest(self, child: NodeId, manifest: UpdateManifest) -> None:
        head = self._head
        assert head is not None
        member = head.member(child)
        if member is None:
            raise UpdateError(f"not a member of round {head.path.round}")
        if manifest.node != child:
            raise UpdateError(f"an update of {manifest.node!r} came from {child!r}")
        if (manifest.run, manifest.path, manifest.task) != (head.run, head.path, head.task):
            raise UpdateError(f"an update for {manifest.task} {manifest.path} under another path")
        if manifest.base != head.model:
            raise UpdateError(f"base model {manifest.base[:12]} is not {head.model[:12]}")
        if manifest.layout != head.layout:
            raise UpdateError(f"layout {manifest.layout[:12]} is not {head.layout[:12]}")
        if manifest.weight not in (0, member.weight):
            raise UpdateError(f"weight {manifest.weight} is not the admitted {member.weight}")
        if manifest.weight > 0 and head.task == "evaluate":
            raise UpdateError(f"an evaluation has weight 0, not {manifest.weight}")
        if manifest.weight == 0 and head.task == "train" and not manifest.reason:
            raise UpdateError("an abstention gives its reason")
        Figures.from_json(manifest.figures)

    def _check_update(self, update: Update) -> None:
        head = self._head
        assert head is not None
        if update.manifest.weight == 0:
            return
        spec = head.plan.codecs[head.tier - 1]
        codec = make_codec(spec.name, dict(spec.parameters), where="plan")
        delta = codec.decode(update.sections, head.dimension)
        if not in_range(delta, head.plan.range_bits):
            raise UpdateError(f"a coordinate is not within 2^{head.plan.range_bits}")

    def _update_bytes_max(self) -> int:
        head = self._head
        assert head is not None
        spec = head.plan.codecs[head.tier - 1]
        codec = make_codec(spec.name, dict(spec.parameters), where="plan")
        return codec.payload_bytes(head.dimension) + _UPDATE_OVERHEAD_BYTES
