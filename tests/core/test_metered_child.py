"""A child whose link has a budget: it asks part by part, and answers even where it cannot pay."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core_messages import (
    ARTEFACT,
    D0,
    DIMENSION,
    HEAD,
    JOB,
    LAYOUT,
    OUT,
    PART_BYTES,
    model_parts,
)
from core_states import CHILD_UPDATE

from fedtier.core.aggregator import TierAggregator
from fedtier.core.device import DeviceMachine, Trainee
from fedtier.core.effects import Note, Reconnect, Send, Work
from fedtier.core.events import Allowance, Connected, Disconnected, Received, Tick, WorkDone
from fedtier.ids import BootNonce, IterationPath, NodeId
from fedtier.wire.costs import fetch_bytes, offer_bytes
from fedtier.wire.manifest import peek_update
from fedtier.wire.messages import Presence, Want
from fedtier.wire.parts import Part
from fedtier.wire.topics import ALL

REASON = "budget_bytes_per_round = 9999: 1 bytes are left"


def device(*, metered=True):
    machine = DeviceMachine(
        node=D0, parent=NodeId("g"), part_bytes=PART_BYTES,
        presence=Presence(status="online", nonce=BootNonce(4), ready=True, weight=1),
        trainee=Trainee(artefact=ARTEFACT, layout=LAYOUT, dimension=DIMENSION),
        metered=metered,
    )  # fmt: skip
    machine.handle(Connected(side="up"), 0.0)
    return machine


def gateway():
    machine = TierAggregator(
        node=D0, parent=NodeId("g"), tier=1, members=[NodeId("e0")], members_min=1,
        part_bytes=PART_BYTES, nonce=BootNonce(4), artefact=(ARTEFACT, b"blob"), metered=True,
    )  # fmt: skip
    machine.handle(Connected(side="up"), 0.0)
    return machine


def hear(machine, message, now_s=0.0):
    return machine.handle(Received(side="up", node=ALL, message=message), now_s)


def allow(machine, bytes_left, *, short=False):
    event = Allowance(side="up", bytes_left=bytes_left, short=short, reason=REASON)
    return machine.handle(event, 0.0)


def wants(effects):
    return [e.message for e in effects if isinstance(e, Send) and isinstance(e.message, Want)]


def abstentions(effects):
    parts = [e.message for e in effects if isinstance(e, Send) and isinstance(e.message, Part)]
    manifests = [peek_update(part.payload) for part in parts]
    return [manifest.reason for manifest in manifests if manifest.reason]


def trained(machine):
    """Until the update is offered; the effects of its being done."""
    effects = hear(machine, HEAD)
    for part in model_parts()[: OUT.parts]:
        effects += hear(machine, part)
    assert [type(e) for e in effects if isinstance(e, Work)] == [Work]
    return machine.handle(WorkDone(job=JOB, blob=CHILD_UPDATE), 0.0)


@pytest.mark.covers("T-17")
def test_it_asks_at_once_for_one_part_after_another():
    machine = device()
    hear(machine, HEAD)
    effects = machine.handle(Tick(), 0.0)
    asked = []
    for part in model_parts()[: OUT.parts]:
        (want,) = wants(effects)
        asked.append(want.parts)
        effects = hear(machine, part)
    assert asked == [(index,) for index in range(OUT.parts)]
    assert any(isinstance(effect, Work) for effect in effects)


def test_without_a_budget_it_waits_for_what_comes_unasked():
    machine = device(metered=False)
    hear(machine, HEAD)
    assert wants(machine.handle(Tick(), 0.0)) == []


@pytest.mark.parametrize("make", [device, gateway])
def test_a_round_that_cannot_be_paid_for_is_answered_at_once_with_the_reason(make):
    machine = make()
    allow(machine, 100)
    effects = hear(machine, HEAD)
    (reason,) = abstentions(effects)
    assert reason.startswith(REASON)
    assert wants(effects) == []


def test_exactly_enough_is_enough():
    update = 8192 + 4 * DIMENSION  # what identity writes for d, and its overhead
    need = fetch_bytes(OUT.total, PART_BYTES) + offer_bytes(update, PART_BYTES)
    for bytes_left, answered in ((need, 0), (need - 1, 1)):
        machine = device()
        allow(machine, bytes_left)
        assert len(abstentions(hear(machine, HEAD))) == answered


@pytest.mark.parametrize("make", [device, gateway])
def test_what_could_not_be_asked_for_any_more_is_answered_with_the_reason(make):
    machine = make()
    hear(machine, HEAD)
    machine.handle(Tick(), 0.0)
    effects = allow(machine, 0, short=True)
    assert abstentions(effects) == [REASON]
    assert abstentions(allow(machine, 0, short=True)) == []  # once
    assert wants(machine.handle(Tick(), 100.0)) == []


def test_an_update_that_cannot_be_sent_gives_way_to_its_reason():
    machine = device()
    trained(machine)
    assert abstentions(allow(machine, 0, short=True)) == [REASON]


def test_the_next_round_is_another():
    machine = device()
    allow(machine, 100)
    hear(machine, HEAD)
    allow(machine, 10**6)
    later = replace(HEAD, seq=HEAD.seq + 1, path=IterationPath((1, 0)))
    assert abstentions(hear(machine, later)) == []
    assert wants(machine.handle(Tick(), 0.0))


def test_a_finished_run_whose_model_cannot_be_paid_for_is_not_answered():
    machine = device()
    allow(machine, 100)
    effects = hear(machine, replace(HEAD, state="finished"))
    assert [note.event for note in effects if isinstance(note, Note)][-1] == "model refused"
    assert abstentions(allow(machine, 0, short=True)) == []
    assert wants(machine.handle(Tick(), 100.0)) == []


def test_who_hung_up_connects_again_to_offer_what_is_done():
    machine = device()
    hear(machine, HEAD)
    for part in model_parts()[: OUT.parts]:
        hear(machine, part)
    machine.handle(Disconnected(side="up"), 0.0)
    assert machine.handle(WorkDone(job=JOB, blob=CHILD_UPDATE), 0.0) == [Reconnect(side="up")]
    effects = machine.handle(Connected(side="up"), 1.0)
    assert any(isinstance(e, Send) and isinstance(e.message, Part) for e in effects)
