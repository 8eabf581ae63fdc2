"""A device whose board hinders it: it waits within the round, looks again, and then abstains."""

from __future__ import annotations

from dataclasses import replace

from core_messages import D0, DIMENSION, HEAD, LAYOUT, OUT, PART_BYTES, model_parts
from core_states import CHILD_UPDATE

from fedtier.core.device import DeviceMachine, Trainee
from fedtier.core.effects import Job, Note, Preempt, Send, Work
from fedtier.core.events import Connected, Hindered, Received, Tick, WorkDone
from fedtier.core.figures import Figures, TierFigures
from fedtier.ids import BootNonce, IterationPath, NodeId
from fedtier.limits import BOARD_AGAIN_S
from fedtier.wire.manifest import peek_update
from fedtier.wire.messages import Presence
from fedtier.wire.parts import Part
from fedtier.wire.topics import ALL

PATIENCE_S = 12.0


def device(patience_s=PATIENCE_S):
    machine = DeviceMachine(
        node=D0, parent=NodeId("g"), part_bytes=PART_BYTES,
        presence=Presence(status="online", nonce=BootNonce(4), ready=True, weight=1),
        trainee=Trainee(artefact=HEAD.artefact, layout=LAYOUT, dimension=DIMENSION),
        patience_s=patience_s,
    )  # fmt: skip
    machine.handle(Connected(side="up"), 0.0)
    return machine


def hear(machine, message, now_s):
    return machine.handle(Received(side="up", node=ALL, message=message), now_s)


def asked(machine, *, seq=HEAD.seq, path="r0.0", now_s=0.0):
    """The work that a head asks for."""
    head = replace(HEAD, seq=seq, path=IterationPath.parse(path))
    effects = hear(machine, head, now_s)
    for part in model_parts()[: OUT.parts]:
        effects += hear(machine, part, now_s)
    (work,) = works(effects)
    assert work.job == Job.of(head)
    return work


def works(effects):
    return [effect for effect in effects if isinstance(effect, Work)]


def abstentions(effects):
    parts = [e.message for e in effects if isinstance(e, Send) and isinstance(e.message, Part)]
    assert all(part.part == 0 for part in parts)
    return [peek_update(part.payload).reason for part in parts]


def hindered(machine, work, now_s, **given):
    return machine.handle(Hindered(job=work.job, reason="hot", **given), now_s)


def test_it_looks_again_every_so_often_until_its_patience_ends_and_then_says_why():
    machine = device()
    work = asked(machine)
    looked, now_s, effects = [], 0.0, []
    while not abstentions(effects):
        effects = hindered(machine, work, now_s)
        if not abstentions(effects):
            assert effects == []
            now_s = machine.timer_s
            looked.append(now_s)
            assert works(machine.handle(Tick(), now_s)) == [work]
    assert looked == [BOARD_AGAIN_S, 2 * BOARD_AGAIN_S, PATIENCE_S]
    assert abstentions(effects) == ["hot"]
    assert machine.state == "offering"


def test_between_two_looks_nothing_is_begun():
    machine = device()
    work = asked(machine)
    hindered(machine, work, 0.0)
    assert works(machine.handle(Tick(), BOARD_AGAIN_S - 0.1)) == []
    assert works(machine.handle(Tick(), BOARD_AGAIN_S)) == [work]
    assert works(machine.handle(Tick(), 2 * BOARD_AGAIN_S)) == []  # it was asked for already


def test_work_that_is_allowed_at_the_second_look_is_answered_as_any_other():
    machine = device()
    work = asked(machine)
    hindered(machine, work, 0.0)
    machine.handle(Tick(), BOARD_AGAIN_S)
    machine.handle(WorkDone(job=work.job, blob=CHILD_UPDATE), 7.0)
    assert machine.state == "offering"


def test_what_can_never_be_done_is_not_waited_for_and_its_figures_ride_along():
    machine = device()
    figures = Figures(tiers={0: TierFigures(nodes=1, cpu_ms_sum=5, cpu_ms_max=5)})
    effects = hindered(machine, asked(machine), 0.0, lasting=True, figures=figures)
    (offer,) = [e.message for e in effects if isinstance(e, Send)]
    manifest = peek_update(offer.payload)
    assert (manifest.reason, manifest.weight) == ("hot", 0)
    assert Figures.from_json(manifest.figures) == figures


def test_a_round_waits_once_and_the_next_one_anew():
    machine = device()
    hindered(machine, asked(machine), 0.0)
    again = asked(machine, seq=HEAD.seq + 1, path="r0.1", now_s=PATIENCE_S)
    assert abstentions(hindered(machine, again, PATIENCE_S)) == ["hot"]
    later = asked(machine, seq=HEAD.seq + 2, path="r1.0", now_s=20.0)
    assert hindered(machine, later, 20.0) == []


def test_work_done_in_between_gives_its_patience_back():
    machine = device()
    first = asked(machine)
    hindered(machine, first, 0.0)
    machine.handle(WorkDone(job=first.job, blob=CHILD_UPDATE), 6.0)
    second = asked(machine, seq=HEAD.seq + 1, path="r0.1", now_s=30.0)
    assert hindered(machine, second, 30.0) == []


def test_without_patience_it_abstains_at_the_first_look():
    machine = device(patience_s=0.0)
    assert abstentions(hindered(machine, asked(machine), 0.0)) == ["hot"]


def test_a_later_head_ends_the_waiting():
    machine = device()
    work = asked(machine)
    hindered(machine, work, 0.0)
    paused = hear(machine, replace(HEAD, seq=HEAD.seq + 1, state="paused"), 1.0)
    assert any(isinstance(effect, Preempt) for effect in paused)
    assert works(machine.handle(Tick(), BOARD_AGAIN_S)) == []
    late = hindered(machine, work, BOARD_AGAIN_S)
    assert [e.event for e in late if isinstance(e, Note)] == ["hindered too late"]
    assert machine.timer_s > BOARD_AGAIN_S + 5  # nothing but the presence is due
