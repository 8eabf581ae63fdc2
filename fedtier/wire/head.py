"""The head: the commit record of a cell and the plan in one. Whoever holds it knows what to do."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

from fedtier.errors import WireError
from fedtier.ids import BootNonce, IterationPath, NodeId, RunId, hex64
from fedtier.limits import (
    BLOB_BYTES_MAX,
    CHILDREN_MAX,
    DIMENSION_MAX,
    HEAD_BYTES_BASE,
    HEAD_BYTES_PER_MEMBER,
    STEPS_PER_ROUND_MAX,
    TIERS_MAX,
    WEIGHT_MAX,
)
from fedtier.wire.fields import Fields, from_json, to_json
from fedtier.wire.plan import IDENTITY, CodecSpec, Plan

HeadState = Literal["open", "paused", "draining", "finished"]
Task = Literal["train", "evaluate", "gradient"]

ARTEFACT_FORM = "zlib"
"""The form of an artefact's blob: its files, each as zlib wrote it."""

HEAD_STATES: tuple[str, ...] = get_args(HeadState)
TASKS: tuple[str, ...] = get_args(Task)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A child as admitted for a round: its weight, and which members beneath it that stands for."""

    node: NodeId
    weight: int
    beneath: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRef:
    """A blob that can be had from the parent: ``form`` says how it decodes to what it is of."""

    form: str
    digest: str
    total: int
    parts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Head:
    """The commit record of a cell: its newest model, what is asked of whom, and the plan."""

    nonce: BootNonce
    seq: int  # orders the heads of one boot
    run: RunId
    epoch: int
    path: IterationPath
    state: HeadState
    task: Task
    model: str  # digest of the model, every update's base
    layout: str  # digest of the parameter layout
    dimension: int
    artefact: str  # digest of the artefact the devices train with
    artefact_blob: BlobRef | None = None  # how to have it; None where this parent does not
    blobs: tuple[BlobRef, ...]  # each decodes to the model
    tier: int  # of the parent
    first_step: int  # local steps of the round done before this iteration
    p0: float  # progress of the run at the round's first local step, in [0, 1]
    p1: float  # and after its last
    plan: Plan
    spacing: float = 0.0  # of the levels that answers share, in float32; 0 for none
    members: tuple[Member, ...] = field(default=())

    def member(self, node: NodeId) -> Member | None:
        """This node's entry, or None where it was not admitted."""
        return next((member for member in self.members if member.node == node), None)

    @property
    def codec(self) -> CodecSpec:
        """Of the vectors that answer it: its link's, but gradients travel as they are."""
        return IDENTITY if self.task == "gradient" else self.plan.codecs[self.tier - 1]

    @property
    def vectors(self) -> int:
        """How many vectors an answer of weight > 0 holds."""
        return {"train": 1, "evaluate": 0, "gradient": 2}[self.task]

    def encode(self) -> bytes:
        """The bytes that travel."""
        offered = self.artefact_blob
        artefact = {} if offered is None else {"artefact_blob": _listed(offered)}
        spacing = {"spacing": self.spacing} if self.spacing else {}
        return to_json(
            artefact
            | spacing
            | {
                "kind": "head", "nonce": hex64(self.nonce), "seq": self.seq, "run": hex64(self.run),
                "epoch": self.epoch, "path": str(self.path), "state": self.state,
                "task": self.task, "model": self.model, "layout": self.layout,
                "dimension": self.dimension, "artefact": self.artefact, "tier": self.tier,
                "first_step": self.first_step, "p0": self.p0, "p1": self.p1,
                "blobs": [_listed(blob) for blob in self.blobs],
                "plan": self.plan.to_json(),
                "members": [[m.node, m.weight, m.beneath] for m in self.members],
            }
        )  # fmt: skip

    @classmethod
    def from_fields(cls, fields: Fields) -> Head:
        """Read a head.

        Raises:
            WireError: If a field is missing or out of range.
        """
        head = cls(
            nonce=BootNonce(fields.hex64("nonce")), seq=fields.integer("seq", 0, 2**32 - 1),
            run=RunId(fields.hex64("run")), epoch=fields.integer("epoch", 0, 2**32 - 1),
            path=IterationPath.parse(fields.text("path", characters_max=100)),
            state=fields.choice("state", HEAD_STATES),  # type: ignore[arg-type]
            task=fields.choice("task", TASKS),  # type: ignore[arg-type]
            model=fields.digest("model"), layout=fields.digest("layout"),
            dimension=fields.integer("dimension", 1, DIMENSION_MAX),
            artefact=fields.digest("artefact"),
            artefact_blob=_artefact_blob(fields), tier=fields.integer("tier", 1, TIERS_MAX),
            first_step=fields.integer("first_step", 0, STEPS_PER_ROUND_MAX),
            p0=fields.number("p0", 0, 1), p1=fields.number("p1", 0, 1),
            blobs=tuple(_blob(item) for item in fields.listing("blobs", items_max=4)),
            plan=Plan.from_fields(fields.object("plan")),
            spacing=fields.float32("spacing") if fields.has("spacing") else 0.0,
            members=tuple(_member(m) for m in fields.listing("members", items_max=CHILDREN_MAX)),
        )  # fmt: skip
        tiers = head.plan.tiers
        if not 1 <= len(head.path.indices) <= tiers - head.tier + 1:
            raise WireError(f"a head of tier {head.tier} at {head.path} in a plan for {tiers}")
        if head.p0 > head.p1:
            raise WireError(f"head: progress goes backwards from p0 = {head.p0} to p1 = {head.p1}")
        if len({member.node for member in head.members}) != len(head.members):
            raise WireError("head: a member occurs twice")
        return head


@dataclass(frozen=True, slots=True, kw_only=True)
class Beacon:
    """The parent's sign of life: enough to see that one's head is no longer the newest."""

    nonce: BootNonce
    seq: int
    run: RunId
    epoch: int
    path: IterationPath
    state: HeadState

    def encode(self) -> bytes:
        """The bytes that travel."""
        return to_json(
            {
                "kind": "beacon", "nonce": hex64(self.nonce), "seq": self.seq,
                "run": hex64(self.run), "epoch": self.epoch, "path": str(self.path),
                "state": self.state,
            }
        )  # fmt: skip

    @classmethod
    def from_fields(cls, fields: Fields) -> Beacon:
        """Read a beacon.

        Raises:
            WireError: If a field is missing or out of range.
        """
        return cls(
            nonce=BootNonce(fields.hex64("nonce")), seq=fields.integer("seq", 0, 2**32 - 1),
            run=RunId(fields.hex64("run")), epoch=fields.integer("epoch", 0, 2**32 - 1),
            path=IterationPath.parse(fields.text("path", characters_max=100)),
            state=fields.choice("state", HEAD_STATES),  # type: ignore[arg-type]
        )  # fmt: skip


def decode_head_or_beacon(payload: bytes) -> Head | Beacon:
    """Read what a parent publishes on ``all/head``.

    Raises:
        WireError: If it is neither.
    """
    bytes_max = HEAD_BYTES_BASE + HEAD_BYTES_PER_MEMBER * CHILDREN_MAX
    fields = from_json(payload, what="head", bytes_max=bytes_max)
    if fields.choice("kind", ("head", "beacon")) == "beacon":
        return Beacon.from_fields(fields)
    return Head.from_fields(fields)


def _artefact_blob(fields: Fields) -> BlobRef | None:
    return _blob(fields.raw()["artefact_blob"]) if fields.has("artefact_blob") else None


def _listed(blob: BlobRef) -> list[str | int]:
    return [blob.form, blob.digest, blob.total, blob.parts]


def _blob(item: object) -> BlobRef:
    if not isinstance(item, list) or len(item) != 4:
        raise WireError("head: a blob is not [form, digest, bytes, parts]")
    fields = Fields(dict(zip(("form", "digest", "total", "parts"), item, strict=True)), what="blob")
    return BlobRef(
        form=fields.text("form", characters_max=40),
        digest=fields.digest("digest"),
        total=fields.integer("total", 1, BLOB_BYTES_MAX),
        parts=fields.integer("parts", 1, BLOB_BYTES_MAX),
    )


def _member(item: object) -> Member:
    if not isinstance(item, list) or len(item) != 3:
        raise WireError("head: a member is not [node, weight, beneath]")
    fields = Fields(dict(zip(("node", "weight", "beneath"), item, strict=True)), what="member")
    return Member(
        node=fields.node("node"),
        weight=fields.integer("weight", 1, WEIGHT_MAX),
        beneath=fields.short_digest("beneath"),
    )
