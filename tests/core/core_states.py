"""Machines brought into each of their states, and fed what they may meet there."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace

import pytest
import state_tables as tables
from core_messages import (
    ARTEFACT,
    BLOB,
    D0,
    D1,
    DIMENSION,
    HEAD,
    JOB,
    LAYOUT,
    MODEL,
    NONCE,
    OFFERED,
    OTHER_BLOB,
    OTHER_MODEL,
    OUT,
    PART_BYTES,
    model_parts,
    parts_of,
    update,
)
from world_shapes import make_plan

from fedtier.core.aggregator import TierAggregator
from fedtier.core.cell import Cell
from fedtier.core.child import ChildLink
from fedtier.core.device import DeviceMachine, Trainee
from fedtier.core.effects import Aggregate, Answer
from fedtier.core.events import Aggregated, Connected, Received, Tick
from fedtier.core.expected import Expected, Subtree
from fedtier.core.intake import Intake
from fedtier.core.root import Course, RootMachine
from fedtier.core.roster import Roster
from fedtier.ids import BootNonce, IterationPath, NodeId, RunId
from fedtier.limits import TRANSFERS_AT_ONCE
from fedtier.wire.head import Member
from fedtier.wire.messages import Ack, Presence
from fedtier.wire.parts import Outgoing
from fedtier.wire.topics import ALL


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


BOOT = Presence(status="online", nonce=BootNonce(8), ready=True, weight=1)


def member_at(state: str) -> Under:
    roster = Roster([D0, D1], members_min=2)
    if state != "missing":
        roster.hear(D0, replace(BOOT, ready=state == "ready"))
    return Under(roster, lambda given: roster.hear(D0, given), lambda: roster.standing(D0))


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
