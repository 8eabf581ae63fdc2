"""Every state of every machine meets every kind of event, right and wrong, and keeps its table."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pytest
import state_tables as tables
from world import ARTEFACT
from world_shapes import make_plan

from fedtier.core.aggregator import TierAggregator
from fedtier.core.cell import Cell
from fedtier.core.child import ChildLink
from fedtier.core.device import DeviceMachine, Trainee
from fedtier.core.effects import NO_BLOB, Aggregate, Answer, Job, Work
from fedtier.core.events import (
    Aggregated,
    Connected,
    Disconnected,
    Hindered,
    Installed,
    Received,
    Tick,
    WorkDone,
    WorkFailed,
)
from fedtier.core.expected import Expected, Subtree
from fedtier.core.intake import Held, Intake
from fedtier.core.root import Course, RootMachine
from fedtier.core.roster import Roster
from fedtier.ids import BootNonce, IterationPath, NodeId, RunId
from fedtier.limits import TRANSFERS_AT_ONCE
from fedtier.model.layout import ParameterLayout, TensorSpec, model_digest
from fedtier.wire.blob import blob_digest
from fedtier.wire.head import Beacon, BlobRef, Head, Member
from fedtier.wire.manifest import UpdateManifest, encode_model, encode_update, peek_update
from fedtier.wire.messages import Ack, Presence, Want
from fedtier.wire.parts import Outgoing
from fedtier.wire.plan import CodecSpec
from fedtier.wire.topics import ALL

PART_BYTES = 4096
DIMENSION = 3000  # four parts
LAYOUT = ParameterLayout(tensors=(TensorSpec(name="w", shape=(DIMENSION,)),)).digest
PLAN = make_plan((1, 1), rounds=2, deadline_s=(50.0, 50.0), quorum=("1", "1"))
D0, D1 = NodeId("d0"), NodeId("d1")
NONCE = BootNonce(1)


def model_of(value: float) -> tuple[str, bytes]:
    vector = np.full(DIMENSION, value, np.float32)
    digest = model_digest(LAYOUT, vector)
    return digest, encode_model(vector, model=digest, layout=LAYOUT)


MODEL, BLOB = model_of(0.0)
OTHER_MODEL, OTHER_BLOB = model_of(1.0)
OUT = Outgoing(BLOB, kind="model", part_bytes=PART_BYTES)
OTHER_OUT = Outgoing(OTHER_BLOB, kind="model", part_bytes=PART_BYTES)


OTHER_ARTEFACT = "cd" * 32
ARTEFACT_OUT = Outgoing(bytes(range(256)) * 40, kind="artefact", part_bytes=PART_BYTES)


def listed(out: Outgoing, form: str = "float32") -> BlobRef:
    return BlobRef(form=form, digest=out.digest, total=out.total, parts=out.parts)


HEAD = Head(
    nonce=NONCE, seq=5, run=RunId(1), epoch=1, path=IterationPath((0, 0)), state="open",
    task="train", model=MODEL, layout=LAYOUT, dimension=DIMENSION, artefact=ARTEFACT,
    blobs=(listed(OUT),), tier=1, first_step=0, p0=0.0, p1=1.0, plan=PLAN,
    members=(Member(node=D0, weight=1), Member(node=D1, weight=1)),
)  # fmt: skip
JOB = Job.of(HEAD)


OFFERED = {"artefact": OTHER_ARTEFACT, "artefact_blob": listed(ARTEFACT_OUT, form="zlib")}
OTHER_PATHS = {1: IterationPath((1,)), 2: IterationPath((1, 1))}


def heads(head: Head) -> list[Head]:
    """A head again, newer, older, of other boots, runs, epochs, paths, states, models, plans."""
    newer = replace(head, seq=head.seq + 1)
    other_blob = {"model": OTHER_MODEL, "blobs": (listed(OTHER_OUT),)}
    changes = [
        {}, {"run": RunId(9)}, {"epoch": 0}, {"epoch": 2},
        {"path": OTHER_PATHS[len(head.path.indices)]},
        {"state": "paused"}, {"state": "draining"}, {"state": "finished"}, {"members": ()},
        {"task": "evaluate"}, {"task": "gradient"}, other_blob, other_blob | {"state": "finished"},
        other_blob | {"blobs": ()}, other_blob | {"blobs": (), "state": "finished"},
        other_blob | {"blobs": (replace(listed(OTHER_OUT), total=2**31),)},
        {"plan": replace(PLAN, codecs=(CodecSpec(name="odd"),) * 2)}, {"artefact": OTHER_ARTEFACT},
        OFFERED, OFFERED | {"state": "finished"}, OFFERED | {"members": ()}, OFFERED | other_blob,
        OFFERED | {"artefact_blob": replace(listed(ARTEFACT_OUT), total=2**31)},
    ]  # fmt: skip
    return [
        head,
        replace(head, seq=head.seq - 1),
        *(replace(newer, **change) for change in changes),
        *(replace(head, nonce=BootNonce(2), **change) for change in changes),
    ]


def beacons(head: Head) -> list[Beacon]:
    beacon = Beacon(
        nonce=head.nonce, seq=head.seq, run=head.run, epoch=head.epoch, path=head.path,
        state=head.state,
    )  # fmt: skip
    return [
        beacon,
        replace(beacon, seq=4),
        replace(beacon, seq=9),
        replace(beacon, nonce=BootNonce(8)),
    ]


def artefact_parts() -> list[object]:
    address = {"run": RunId(1), "epoch": 1, "path": HEAD.path, "nonce": NONCE, "seq": 5}
    parts = [ARTEFACT_OUT.part(index, **address) for index in range(ARTEFACT_OUT.parts)]
    return [*parts, replace(parts[0], digest="ee" * 32), replace(parts[1], offset=1)]


def installations() -> list[Installed]:
    return [
        Installed(artefact=artefact, reason=reason, layout=LAYOUT, dimension=DIMENSION, weight=2)
        for reason in ("", "does not fit the board")
        for artefact in (OTHER_ARTEFACT, ARTEFACT)
    ]


def model_parts() -> list[object]:
    address = {"run": RunId(1), "epoch": 1, "path": HEAD.path, "nonce": NONCE, "seq": 5}
    parts = [out.part(i, **address) for out in (OUT, OTHER_OUT) for i in range(out.parts)]
    wrong = replace(parts[1], offset=parts[1].offset + 1)
    return [*parts, wrong, replace(parts[0], total=7)]


def acks(digest: str) -> list[Ack]:
    verdicts = ["want", "accepted", "stale", "rejected"]
    reasons = ["", "conflict: another", "not a member", "layout"]
    return [
        Ack(digest=d, verdict=v, parts=parts, reason=reason)
        for d, v, reason in itertools.product([digest, NO_BLOB, "ee" * 32], verdicts, reasons)
        for parts in ([(), (0, 1, 99)] if v == "want" else [()])
        if v == "rejected" or not reason
    ]


def update(head: Head, child: NodeId, value: float = 1.0, **changes: object) -> bytes:
    manifest = UpdateManifest(
        run=head.run, path=head.path, node=child, task=head.task, base=head.model,
        layout=head.layout, weight=1, codec="identity",
    )  # fmt: skip
    manifest = replace(manifest, **changes)
    delta = np.full(DIMENSION, value, "<f4").tobytes()
    return encode_update(manifest, (delta,) if manifest.weight else ())


def parts_of(blob: bytes, head: Head, part_bytes: int = PART_BYTES) -> list[object]:
    out = Outgoing(blob, kind="update", part_bytes=part_bytes)
    address = {"run": head.run, "epoch": head.epoch, "path": head.path}
    return [out.part(i, **address, nonce=head.nonce, seq=head.seq) for i in range(out.parts)]


@functools.cache
def update_parts(head: Head, node: NodeId) -> list[object]:
    """Right and wrong updates, in one part and in many, part by part."""
    wrong = [
        {"base": OTHER_MODEL}, {"layout": "ee" * 32}, {"weight": 5}, {"node": NodeId("d9")},
        {"task": "gradient"}, {"figures": {"l": 3}}, {"weight": 0}, {"weight": 0, "reason": "no"},
        {"run": RunId(9)},
    ]  # fmt: skip
    blobs = [update(head, node), update(head, node, 2.0), update(head, node, np.nan)]
    blobs += [update(head, node, **changes) for changes in wrong]
    blobs.append(blobs[0][:-4])
    found = [
        part
        for blob in blobs
        for size in (PART_BYTES, 65_536)
        for part in parts_of(blob, head, size)
    ]
    first = found[0]
    return [
        *found, replace(first, run=RunId(9)), replace(first, path=IterationPath((7,))),
        replace(first, epoch=9), replace(first, nonce=BootNonce(9)), replace(first, total=2**31),
    ]  # fmt: skip


def presences() -> list[Presence]:
    return [
        Presence(status=status, nonce=BootNonce(nonce), ready=ready, weight=weight)
        for status in ("online", "lost", "leaving")
        for nonce in (1, 8, 0)
        for ready in (True, False)
        for weight in (0, 3, 2**31 - 1)
    ]


@dataclass
class Under:
    """A machine in one state, how to feed it, and where it is then."""

    machine: object
    feed: Callable[[object], object]  # an input
    state: Callable[[], str]


NOW_S = 10.0


def drive(
    table: tables.Table, state: str, kind: str, reach: Callable[[str], Under], inputs: list[object]
) -> None:
    for given in inputs:
        under = reach(state)
        assert under.state() == state, f"the script for {state!r} ends in {under.state()!r}"
        if (state, kind) in table.impossible:
            with pytest.raises(AssertionError):
                under.feed(given)
            continue
        under.feed(given)
        allowed = table.allowed(state, kind)
        assert under.state() in allowed, f"{state} + {kind} -> {under.state()}: {given}"
    assert inputs, f"nothing to feed for {kind}"


def pairs(table: tables.Table) -> list[tuple[str, str]]:
    return list(itertools.product(table.states, table.kinds))


# The child's end


def child_at(state: str, *, device: bool) -> Under:
    presence = Presence(status="online", nonce=BootNonce(4), ready=True, weight=1)
    if device:
        trainee = Trainee(artefact=ARTEFACT, layout=LAYOUT, dimension=DIMENSION)
        machine = DeviceMachine(
            node=D0, parent=NodeId("g"), part_bytes=PART_BYTES, presence=presence, trainee=trainee
        )
        link = machine.link
    else:
        machine = link = ChildLink(
            node=D0, parent=NodeId("g"), part_bytes=PART_BYTES, presence=presence,
            artefact=ARTEFACT,
        )  # fmt: skip
    link.connected(0.0)
    if state == "resting":
        link.hear_head(replace(HEAD, members=()), 0.0, retained=False)
    elif state == "equipping":
        link.hear_head(replace(HEAD, **OFFERED), 0.0, retained=False)
    elif state != "absent":
        link.hear_head(HEAD, 0.0, retained=False)
    if state in ("working", "offering", "settled"):
        for part in model_parts()[: OUT.parts]:
            link.hear_part(part, 0.0)
    if state in ("offering", "settled"):
        link.answer(JOB, CHILD_UPDATE, 0.0)
    if state == "settled":
        link.hear_ack(Ack(digest=CHILD_OUT.digest, verdict="accepted"), 1.0)

    def feed(given):
        if device:
            machine.handle(given, NOW_S)
        else:
            method, arguments, keywords = given
            getattr(link, method)(*arguments, **keywords)
        assert link.timer_s is None or link.timer_s > 0

    return Under(machine, feed, lambda: machine.state)


CHILD_UPDATE = update(HEAD, D0)
CHILD_OUT = Outgoing(CHILD_UPDATE, kind="update", part_bytes=PART_BYTES)
OTHER_JOB = replace(JOB, path=IterationPath((0, 7)))


def link_inputs(kind: str) -> list[object]:
    def calls(method, *lists, **keywords):
        return [(method, arguments, keywords) for arguments in itertools.product(*lists)]

    now = [NOW_S]
    return {
        "connected": lambda: calls("connected", now),
        "disconnected": lambda: calls("disconnected"),
        "head": lambda: [
            call
            for flag in (True, False)
            for call in calls("hear_head", heads(HEAD), now, retained=flag)
        ],
        "beacon": lambda: calls("hear_beacon", beacons(HEAD)),
        "part": lambda: calls("hear_part", model_parts(), now),
        "ack": lambda: calls("hear_ack", acks(CHILD_OUT.digest), now),
        "artefact part": lambda: calls("hear", received("up", D0, artefact_parts()), now),
        "installed": lambda: calls("installed", installations(), now),
        "tick": lambda: calls("tick", [0.0, 2.0, 5.0, 1e3]),
        "announce": lambda: calls("announce", presences()[:3], now),
        "answer": lambda: calls("answer", [JOB, OTHER_JOB], [CHILD_UPDATE], now),
        "abstain": lambda: calls("abstain", [JOB, OTHER_JOB], ["ill", "", "\n" * 999], now),
    }[kind]()


@pytest.mark.parametrize(("state", "kind"), pairs(tables.CHILD_LINK))
def test_the_link_keeps_its_table(state, kind):
    drive(
        tables.CHILD_LINK, state, kind, lambda state: child_at(state, device=False),
        link_inputs(kind),
    )  # fmt: skip


def received(side: str, node: str, messages: list[object]) -> list[object]:
    return [
        Received(side=side, node=NodeId(node), message=message, retained=retained)
        for message in messages
        for retained in (False, True)
    ]


def results(job: Job) -> dict[str, list[object]]:
    other = replace(job, path=IterationPath((0, 7)))
    return {
        "work done": [WorkDone(job=j, blob=CHILD_UPDATE) for j in (job, other)],
        "work failed": [WorkFailed(job=j, reason="ill") for j in (job, other)],
        "aggregated": [Aggregated(job=j, model=OTHER_MODEL, blob=OTHER_BLOB) for j in (job, other)],
        "installed": list(installations()),
        "tick": [Tick()],
    }


@pytest.mark.parametrize(("state", "kind"), pairs(tables.DEVICE))
def test_the_device_keeps_its_table(state, kind):
    inputs = results(JOB) | {
        "connected": [Connected(side="up")],
        "disconnected": [Disconnected(side="up")],
        "head": received("up", ALL, heads(HEAD)),
        "beacon": received("up", ALL, beacons(HEAD)),
        "part": received("up", ALL, model_parts()),
        "artefact part": received("up", D0, artefact_parts()),
        "ack": received("up", D0, acks(CHILD_OUT.digest)),
        "presence": received("up", ALL, presences()[:4]),
        "want": received("up", D0, [Want(digest=NO_BLOB, parts=())]),
        "hindered": [
            Hindered(job=job, reason="hot", lasting=lasting)
            for job in (JOB, OTHER_JOB)
            for lasting in (False, True)
        ],
    }
    drive(tables.DEVICE, state, kind, lambda state: child_at(state, device=True), inputs[kind])


# The parent's end


def own_presences() -> list[Presence]:
    return presences()


@functools.cache
def from_children(side: str, head: Head) -> dict[str, list[object]]:
    wants = [
        Want(digest=digest, parts=parts)
        for digest in (NO_BLOB, OUT.digest, "ee" * 32)
        for parts in ((), (0, 1, 2**20))
    ]
    stray = [HEAD, beacons(HEAD)[0], Ack(digest=NO_BLOB, verdict="want"), model_parts()[0]]
    nodes = ("d0", "d1", "stranger", "all")
    return {
        "presence": [e for node in nodes[:3] for e in received(side, node, presences())],
        "own presence": received(side, ALL, own_presences()),
        "want": [e for node in nodes for e in received(side, node, wants)],
        "part": [e for node in nodes for e in received(side, node, update_parts(head, D0))],
        "stray": received(side, "d0", stray),
    }


def cell_at(state: str) -> Under:
    cell = Cell(
        node=NodeId("g"), members=[D0, D1], members_min=2, part_bytes=PART_BYTES, nonce=NONCE
    )
    cell.connected(0.0)
    if state != "looking":
        cell.tick(2.0)
    if state in ("collecting", "closing"):
        cell.open(HEAD, BLOB, 2.0, spooled={})
    if state == "closing":
        for child in (D0, D1):
            for part in parts_of(update(HEAD, child), HEAD):
                cell.hear_part(child, part, 3.0)

    def feed(given):
        method, arguments, keywords = given
        getattr(cell, method)(*arguments, **keywords)
        assert cell.timer_s is None or cell.timer_s > 0
        cell.figures()

    return Under(cell, feed, lambda: cell.state)


def held(blob: bytes) -> Held:
    return Held(digest=blob_digest(blob), manifest=peek_update(blob))


def cell_inputs(kind: str) -> list[object]:
    events = from_children("down", HEAD)

    def heard(method, kind, *rest):
        return [(method, (e.node, e.message, *rest), {}) for e in events[kind]]

    spools = [
        {},
        {D0: held(update(HEAD, D0)), D1: held(update(HEAD, D1))},
        {D0: held(update(HEAD, D1))},
        {D0: held(update(replace(HEAD, path=OTHER_PATHS[2]), D0))},
    ]
    return {
        "connected": lambda: [("connected", (NOW_S,), {})],
        "disconnected": lambda: [("disconnected", (), {})],
        "presence": lambda: heard("hear_presence", "presence"),
        "own presence": lambda: [
            ("hear_own_presence", (e.message, NOW_S), {"retained": e.retained})
            for e in events["own presence"]
        ],
        "want": lambda: heard("hear_want", "want", NOW_S),
        "part": lambda: heard("hear_part", "part", NOW_S),
        "tick": lambda: [("tick", (t,), {}) for t in (0.5, 2.0, 40.0, 60.0, 2000.0)],
        "open": lambda: [("open", (HEAD, BLOB, NOW_S), {"spooled": spooled}) for spooled in spools],
        "say": lambda: [("say", (head, BLOB, NOW_S), {}) for head in heads(HEAD)],
        "pause": lambda: [("pause", (NOW_S,), {})],
    }[kind]()


@pytest.mark.parametrize(("state", "kind"), pairs(tables.CELL))
def test_the_cell_keeps_its_table(state, kind):
    drive(tables.CELL, state, kind, cell_at, cell_inputs(kind))


def intake_at(state: str) -> Under:
    head = replace(HEAD, members=tuple(Member(node=NodeId(f"d{i}"), weight=1) for i in range(9)))
    intake = Intake()
    if state != "closed":
        intake.open(head)
    if state == "waiting":
        for index in range(1, 1 + TRANSFERS_AT_ONCE):
            other = NodeId(f"d{index}")
            intake.hear(other, parts_of(update(head, other), head)[0], 0.0)
    parts = parts_of(update(HEAD, D0), HEAD)
    if state in ("waiting", "receiving"):
        intake.hear(D0, parts[0], 0.0)
    if state == "held":
        for part in parts:
            intake.hear(D0, part, 0.0)

    def feed(given):
        method, arguments = given
        getattr(intake, method)(*arguments)

    return Under(intake, feed, lambda: intake.standing(D0))


@pytest.mark.parametrize(("state", "kind"), pairs(tables.INTAKE))
def test_the_intake_keeps_its_table(state, kind):
    parts = update_parts(HEAD, D0)
    inputs = {
        "offer": [("hear", (D0, part, 1.0)) for part in parts if part.part == 0],
        "part": [("hear", (D0, part, 1.0)) for part in parts if part.part],
        "tick": [("tick", (now_s,)) for now_s in (0.5, 2.5, 500.0)],
        "open": [("open", (head,)) for head in heads(HEAD)],
        "close": [("close", ())],
    }[kind]
    drive(tables.INTAKE, state, kind, intake_at, inputs)


BOOT = Presence(status="online", nonce=BootNonce(8), ready=True, weight=1)
MEMBER_INPUTS = {
    "says ready": [BOOT, replace(BOOT, weight=7), replace(BOOT, nonce=BootNonce(9))],
    "says not ready": [replace(BOOT, ready=False), replace(BOOT, ready=False, devices=2)],
    "weighs nothing": [replace(BOOT, weight=0)],
    "is lost": [replace(BOOT, status="lost")],
    "leaves": [replace(BOOT, status="leaving")],
    "late will": [replace(BOOT, status=s, nonce=BootNonce(3)) for s in ("lost", "leaving")],
}


def member_at(state: str) -> Under:
    roster = Roster([D0, D1], members_min=2)
    if state != "missing":
        roster.hear(D0, replace(BOOT, ready=state == "ready"))
    return Under(roster, lambda given: roster.hear(D0, given), lambda: roster.standing(D0))


@pytest.mark.parametrize(("state", "kind"), pairs(tables.MEMBER))
def test_a_roster_keeps_its_table(state, kind):
    drive(tables.MEMBER, state, kind, member_at, MEMBER_INPUTS[kind])


@pytest.mark.parametrize(("state", "kind"), pairs(tables.MEMBER))
def test_a_member_is_spoken_of_when_it_comes_goes_or_becomes_ready_or_not(state, kind):
    for given in MEMBER_INPUTS[kind]:
        under = member_at(state)
        notes = under.feed(given)
        other_boot = state != "missing" and given.nonce != BOOT.nonce and given.status == "online"
        spoken = [note.event for note in notes if note.level == "info"]
        event = {"is lost": "member lost", "leaves": "member left"}.get(
            kind, f"member {under.state().replace('_', ' ')}"
        )
        assert spoken == ([event] if under.state() != state or other_boot else [])
        assert under.feed(given) == []  # said again, it is nothing new


# The gateway and the cloud


GATEWAY = Member(node=NodeId("g"), weight=2, beneath="b")
ABOVE = replace(HEAD, path=IterationPath((0,)), tier=2, members=(GATEWAY,))
ANNOUNCED = {"b": HEAD.members}


def gateway_at(state: str) -> Under:
    machine = TierAggregator(
        node=NodeId("g"), parent=NodeId("c"), tier=1, members=[D0, D1], members_min=2,
        part_bytes=PART_BYTES, nonce=NONCE, announced=ANNOUNCED, artefact=(ARTEFACT, b"artefact"),
    )  # fmt: skip
    effects: list[object] = []

    def tell(event, now_s=0.0):
        effects.extend(machine.handle(event, now_s))

    tell(Connected(side="down"))
    tell(Connected(side="up"))
    if state != "waiting":
        tell(Tick(), 2.0)
    if state != "idle":
        tell(Received(side="up", node=ALL, message=ABOVE), 2.0)
        for part in model_parts()[: OUT.parts]:
            tell(Received(side="up", node=ALL, message=part), 2.0)
    if state in ("closing", "answering"):
        head = machine.cell.head
        for child in (D0, D1):
            for part in parts_of(update(head, child), head):
                tell(Received(side="down", node=child, message=part), 3.0)
    if state == "answering":
        aggregate = next(e for e in effects if isinstance(e, Aggregate))
        tell(Aggregated(job=aggregate.job, model=OTHER_MODEL, blob=OTHER_BLOB), 4.0)
        assert any(isinstance(e, Answer) for e in effects)

    def feed(given):
        machine.handle(given, NOW_S)
        assert machine.timer_s is None or machine.timer_s > 0

    return Under(machine, feed, lambda: machine.state)


@pytest.mark.parametrize(("state", "kind"), pairs(tables.GATEWAY))
def test_the_gateway_keeps_its_table(state, kind):
    above = Job.of(ABOVE)
    inputs = {
        "up connected": [Connected(side="up")],
        "up disconnected": [Disconnected(side="up")],
        "up head": received("up", ALL, heads(ABOVE)),
        "up beacon": received("up", ALL, beacons(ABOVE)),
        "up part": received("up", ALL, model_parts()),
        "up artefact part": received("up", "g", artefact_parts()),
        "up ack": received("up", "g", acks(CHILD_OUT.digest)),
        "up presence": received("up", ALL, presences()[:4]),
        "up want": received("up", "g", [Want(digest=NO_BLOB, parts=())]),
        "down connected": [Connected(side="down")],
        "down disconnected": [Disconnected(side="down")],
        **{f"down {kind}": events for kind, events in from_children("down", HEAD).items()},
        **results(above),
    }
    inputs["aggregated"] += results(JOB)["aggregated"]
    drive(tables.GATEWAY, state, kind, gateway_at, inputs[kind])


def root_at(state: str) -> Under:
    course = Course(
        run=RunId(1), epoch=1, plan=make_plan((1,), rounds=2, deadline_s=(50.0,)),
        artefact=ARTEFACT, artefact_blob=b"artefact", layout=LAYOUT, dimension=DIMENSION,
        next_round=2 if state == "finished" else 0, rounds_trained=0, model=MODEL, blob=BLOB,
    )  # fmt: skip
    machine = RootMachine(
        node=NodeId("cloud"), members=[D0, D1], members_min=2, part_bytes=PART_BYTES, nonce=NONCE,
        course=course,
        expected=Expected(where="the file", children={
            child: Subtree(devices=(child,), beneath="", whole=True) for child in (D0, D1)
        }),
    )  # fmt: skip
    machine.handle(Connected(side="down"), 0.0)
    if state != "looking":
        machine.handle(Tick(), 2.0)
    if state in ("collecting", "closing", "finished"):
        for child in (D0, D1):
            online = replace(BOOT, nonce=BootNonce(8), devices=1)
            machine.handle(Received(side="down", node=child, message=online), 2.0)
    head = machine.cell.head
    if state in ("closing", "finished"):
        for child in (D0, D1):
            changes = {"weight": 0, "codec": ""} if state == "finished" else {}
            for part in parts_of(update(head, child, **changes), head):
                machine.handle(Received(side="down", node=child, message=part), 3.0)
    return Under(machine, lambda given: machine.handle(given, NOW_S), lambda: machine.state)


@pytest.mark.parametrize(("state", "kind"), pairs(tables.ROOT))
def test_the_cloud_keeps_its_table(state, kind):
    head = root_at("collecting").machine.cell.head
    inputs = {
        "connected": [Connected(side="down")],
        "disconnected": [Disconnected(side="down")],
        **from_children("down", head),
        **results(Job.of(head)),
    }
    if (state, kind) == ("closing", "aggregated"):
        inputs["aggregated"].pop()  # of another job: impossible
    drive(tables.ROOT, state, kind, root_at, inputs[kind])


# The tables themselves


@pytest.mark.parametrize("table", tables.TABLES, ids=lambda table: table.name)
def test_a_table_names_only_its_own_states_and_kinds_and_reaches_every_state(table):
    for state, row in table.moves.items():
        for kind in row:
            assert table.allowed(state, kind) <= set(table.states)
    reached = {
        next_state for state, kind in pairs(table) for next_state in table.allowed(state, kind)
    }
    assert reached == set(table.states)


def test_work_is_asked_for_once_per_job():
    under = child_at("fetching", device=True)
    works = [
        effect
        for part in model_parts()[: OUT.parts] * 2
        for effect in under.machine.handle(Received(side="up", node=ALL, message=part), NOW_S)
        if isinstance(effect, Work)
    ]
    assert len(works) == 1
