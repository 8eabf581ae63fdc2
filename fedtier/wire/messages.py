"""The control messages: presence, head, beacon, want, ack. Canonical JSON, all bounded.

A head is the commit record of a cell and the plan in one: whoever holds it knows what to do.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Literal, get_args

from fedtier.errors import WireError
from fedtier.ids import BootNonce, IterationPath, NodeId, RunId, hex64
from fedtier.limits import (
    BEACON_S,
    BLOB_BYTES_MAX,
    CHILDREN_MAX,
    CONTROL_BYTES_MAX,
    DIMENSION_MAX,
    GIVE_UP_S,
    HEAD_BYTES_BASE,
    HEAD_BYTES_PER_MEMBER,
    RANGE_BITS_DEFAULT,
    RANGE_BITS_MAX,
    REASON_CHARACTERS_MAX,
    TIERS_MAX,
    WINDOW_PARTS,
)
from fedtier.wire.fields import Fields, from_json, to_json
from fedtier.wire.parts import Part

Status = Literal["online", "lost", "leaving"]
HeadState = Literal["open", "paused", "draining", "finished"]
Task = Literal["train", "evaluate", "gradient"]
Verdict = Literal["want", "accepted", "stale", "rejected"]
ScheduleKind = Literal["constant", "cosine"]

STATUSES: tuple[str, ...] = get_args(Status)
HEAD_STATES: tuple[str, ...] = get_args(HeadState)
TASKS: tuple[str, ...] = get_args(Task)
VERDICTS: tuple[str, ...] = get_args(Verdict)
SCHEDULE_KINDS: tuple[str, ...] = get_args(ScheduleKind)

WEIGHT_MAX = 2**31 - 1
STEPS_PER_ROUND_MAX = 2**53  # the product of all tau: exact in float64 and in any int64
MU_END = 1e6  # step sizes lie in (0, this)
_COUNT_MAX = 2**31 - 1
_CODEC_PARAMETERS_MAX = 8
_QUORUM = re.compile(r"all|[0-9]{1,9}|0\.[0-9]{1,17}|1\.0{1,17}")
_PARAMETER = re.compile(r"[a-z][a-z0-9_]{0,39}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Presence:
    """Who is there, since which boot, and with what weight it would enter a mean.

    A parent's own presence (on ``all``) says only status and nonce; as a last will it says
    ``lost`` with the nonce of the boot that was lost.
    """

    status: Status
    nonce: BootNonce
    ready: bool = False
    weight: int = 0  # devices, or examples, beneath; 0 = nothing to train with
    beneath: str = ""  # digest of the members this weight stands for, 16 hexadecimal digits
    devices: int = 0  # beneath, for display
    version: str = ""

    def encode(self) -> bytes:
        """The bytes that travel."""
        return to_json(
            {
                "status": self.status, "nonce": hex64(self.nonce), "ready": self.ready,
                "weight": self.weight, "beneath": self.beneath, "devices": self.devices,
                "version": self.version,
            }
        )  # fmt: skip

    @classmethod
    def decode(cls, payload: bytes) -> Presence:
        """Read a presence.

        Raises:
            WireError: If a field is missing or out of range.
        """
        fields = from_json(payload, what="presence", bytes_max=CONTROL_BYTES_MAX)
        return cls(
            status=fields.choice("status", STATUSES),  # type: ignore[arg-type]
            nonce=BootNonce(fields.hex64("nonce")),
            ready=fields.boolean("ready"),
            weight=fields.integer("weight", 0, WEIGHT_MAX),
            beneath=fields.short_digest("beneath"),
            devices=fields.integer("devices", 0, _COUNT_MAX),
            version=fields.text("version", characters_max=40),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A child as admitted for a round: its weight, and which members beneath it that stands for."""

    node: NodeId
    weight: int
    beneath: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BlobRef:
    """A blob that can be had from the parent: ``form`` says how it decodes to the model."""

    form: str
    digest: str
    total: int
    parts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CodecSpec:
    """A codec's name and its integer parameters, as in a federation file."""

    name: str
    parameters: tuple[tuple[str, int], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What stays the same for a whole round in every cell of the tree."""

    seed: int  # 64 bits; the only source of every draw
    rounds: int
    tau: tuple[int, ...]  # tau_1 .. tau_N
    codecs: tuple[CodecSpec, ...]  # Q_1 .. Q_N
    schedule: ScheduleKind
    mu: float  # step size at the beginning
    floor: float  # share of mu left at the end
    quorum: tuple[str, ...] = ()  # per link: "all", a number such as "3", a share such as "0.8"
    deadline_s: tuple[float | None, ...] = ()  # per iteration on link n; () = none
    give_up_s: float = GIVE_UP_S  # past its deadline an iteration waits so long for its quorum
    beacon_s: float = BEACON_S  # a parent's sign of life
    range_bits: int = RANGE_BITS_DEFAULT  # R: coordinates of updates lie in (-2**R, 2**R)

    @property
    def tiers(self) -> int:
        """N, the number of links between a device on tier 0 and the cloud."""
        return len(self.tau)

    def to_json(self) -> dict[str, Any]:
        """As it stands in a head."""
        return {
            "seed": hex64(self.seed), "rounds": self.rounds, "tau": list(self.tau),
            "codecs": [[codec.name, dict(codec.parameters)] for codec in self.codecs],
            "schedule": self.schedule, "mu": self.mu, "floor": self.floor,
            "quorum": list(self.quorum), "deadline_s": list(self.deadline_s),
            "give_up_s": self.give_up_s, "beacon_s": self.beacon_s, "range_bits": self.range_bits,
        }  # fmt: skip

    @classmethod
    def from_fields(cls, fields: Fields) -> Plan:
        """Read a plan out of a head.

        Raises:
            WireError: If a field is missing or out of range.
        """
        tau = fields.integers("tau", 1, _COUNT_MAX, items_max=TIERS_MAX)
        codecs = tuple(_codec(item) for item in fields.listing("codecs", items_max=TIERS_MAX))
        quorum = tuple(_quorum(item) for item in fields.listing("quorum", items_max=TIERS_MAX))
        deadlines = tuple(
            None if item is None else _number(item, 0, 1e9)
            for item in fields.listing("deadline_s", items_max=TIERS_MAX)
        )
        if (
            not tau
            or len(codecs) != len(tau)
            or not all(len(values) in (0, len(tau)) for values in (quorum, deadlines))
        ):
            raise WireError("the plan's lists do not have one entry per link")
        if math.prod(tau) > STEPS_PER_ROUND_MAX:
            raise WireError(f"the plan asks for {math.prod(tau)} steps a round, beyond 2^53")
        mu = fields.number("mu", 0, MU_END)
        if not 0 < mu < MU_END:
            raise WireError(f"plan: mu = {mu} is outside (0, {MU_END:g})")
        return cls(
            seed=fields.hex64("seed"), rounds=fields.integer("rounds", 1, _COUNT_MAX), tau=tau,
            codecs=codecs,
            schedule=fields.choice("schedule", SCHEDULE_KINDS),  # type: ignore[arg-type]
            mu=mu, floor=fields.number("floor", 0, 1),
            quorum=quorum, deadline_s=deadlines,
            give_up_s=fields.number("give_up_s", 0, 1e9),
            beacon_s=fields.number("beacon_s", 1, 1e6),
            range_bits=fields.integer("range_bits", 0, RANGE_BITS_MAX),
        )  # fmt: skip


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
    blobs: tuple[BlobRef, ...]  # each decodes to the model
    tier: int  # of the parent
    first_step: int  # local steps of the round done before this iteration
    p0: float  # progress of the run at the round's first local step, in [0, 1]
    p1: float  # and after its last
    plan: Plan
    members: tuple[Member, ...] = field(default=())

    def member(self, node: NodeId) -> Member | None:
        """This node's entry, or None where it was not admitted."""
        return next((member for member in self.members if member.node == node), None)

    def encode(self) -> bytes:
        """The bytes that travel."""
        return to_json(
            {
                "kind": "head", "nonce": hex64(self.nonce), "seq": self.seq, "run": hex64(self.run),
                "epoch": self.epoch, "path": str(self.path), "state": self.state,
                "task": self.task, "model": self.model, "layout": self.layout,
                "dimension": self.dimension, "artefact": self.artefact, "tier": self.tier,
                "first_step": self.first_step, "p0": self.p0, "p1": self.p1,
                "blobs": [[b.form, b.digest, b.total, b.parts] for b in self.blobs],
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
            artefact=fields.digest("artefact"), tier=fields.integer("tier", 1, TIERS_MAX),
            first_step=fields.integer("first_step", 0, STEPS_PER_ROUND_MAX),
            p0=fields.number("p0", 0, 1), p1=fields.number("p1", 0, 1),
            blobs=tuple(_blob(item) for item in fields.listing("blobs", items_max=4)),
            plan=Plan.from_fields(fields.object("plan")),
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """A child asks its parent for parts of a blob that the head lists.

    The digest of no blob (64 zeros) asks for the head itself, as that of an old one does.
    """

    digest: str
    parts: tuple[int, ...]

    def encode(self) -> bytes:
        """The bytes that travel."""
        return to_json({"digest": self.digest, "parts": list(self.parts)})

    @classmethod
    def decode(cls, payload: bytes) -> Want:
        """Read a want.

        Raises:
            WireError: If a field is missing or out of range, or more than a window is asked for.
        """
        fields = from_json(payload, what="want", bytes_max=CONTROL_BYTES_MAX)
        parts = fields.integers("parts", 0, BLOB_BYTES_MAX, items_max=WINDOW_PARTS)
        return cls(digest=fields.digest("digest"), parts=parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ack:
    """A parent's answer to an offer: what it still wants of the update, or its verdict.

    To want the digest of no blob (64 zeros) asks a child that is silent for its offer.
    """

    digest: str  # of the offered blob
    verdict: Verdict
    parts: tuple[int, ...] = ()
    reason: str = ""

    def encode(self) -> bytes:
        """The bytes that travel."""
        return to_json(
            {
                "digest": self.digest, "verdict": self.verdict, "parts": list(self.parts),
                "reason": self.reason,
            }
        )  # fmt: skip

    @classmethod
    def decode(cls, payload: bytes) -> Ack:
        """Read an ack.

        Raises:
            WireError: If a field is missing or out of range.
        """
        fields = from_json(payload, what="ack", bytes_max=CONTROL_BYTES_MAX)
        return cls(
            digest=fields.digest("digest"),
            verdict=fields.choice("verdict", VERDICTS),  # type: ignore[arg-type]
            parts=fields.integers("parts", 0, BLOB_BYTES_MAX, items_max=WINDOW_PARTS),
            reason=fields.text("reason", characters_max=REASON_CHARACTERS_MAX),
        )


Message = Presence | Head | Beacon | Want | Ack | Part
"""Everything that can stand on a topic."""


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


def _codec(item: object) -> CodecSpec:
    if not isinstance(item, list) or len(item) != 2 or not isinstance(item[1], Mapping):
        raise WireError("plan: a codec is not [name, parameters]")
    fields = Fields({"name": item[0]}, what="codec")
    parameters = Fields(item[1], what="codec")
    if len(item[1]) > _CODEC_PARAMETERS_MAX or not all(map(_PARAMETER.fullmatch, item[1])):
        raise WireError("plan: a codec has odd parameters")
    return CodecSpec(
        name=fields.text("name", characters_max=40),
        parameters=tuple(
            (key, parameters.integer(key, -_COUNT_MAX, _COUNT_MAX)) for key in sorted(item[1])
        ),
    )


def _number(item: object, low: float, high: float) -> float:
    return Fields({"value": item}, what="plan").number("value", low, high)


def _quorum(item: object) -> str:
    text = Fields({"quorum": item}, what="plan").text("quorum", characters_max=20)
    if not _QUORUM.fullmatch(text) or (text != "all" and float(text) == 0):
        raise WireError(f"plan: quorum {text!r} is neither 'all' nor a number nor a share")
    return text


def members_needed(quorum: str, *, members: int) -> int:
    """How many of a cell's members a quorum asks for, at least 1.

    A share is taken exactly as it is written, and rounded up: 0.07 of 100 is 7.
    """
    if quorum == "all":
        return members
    if "." in quorum:
        return math.ceil(Fraction(quorum) * members)
    return min(members, int(quorum))
