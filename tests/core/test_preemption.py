"""Pauses, newer heads and restarts in the middle of work; and the pace of repetition."""

from __future__ import annotations

import itertools
from dataclasses import replace

import pytest
from core_messages import (
    D0,
    HEAD,
    JOB,
    MODEL,
    NONCE,
    OTHER_BLOB,
    OTHER_MODEL,
    OUT,
    PART_BYTES,
    model_parts,
    parts_of,
    update,
)
from core_states import ABOVE, child_at, gateway_at

from fedtier.core.aggregator import Resume, TierAggregator
from fedtier.core.effects import NO_BLOB, Aggregate, Answer, Job, Keep, Note, Preempt, Send, Stop
from fedtier.core.events import Aggregated, Connected, Received, Tick, WorkFailed
from fedtier.core.fetch import Fetch
from fedtier.core.figures import Figures, LinkFigures
from fedtier.core.intake import Intake
from fedtier.core.pace import Pace
from fedtier.core.roster import Lookout
from fedtier.ids import BootNonce, IterationPath, NodeId, RunId
from fedtier.limits import GAP_S
from fedtier.wire.head import Beacon, Head, Member
from fedtier.wire.manifest import peek_update
from fedtier.wire.messages import Ack, Presence
from fedtier.wire.parts import Part
from fedtier.wire.topics import ALL


def events_of(effects):
    return [effect.event for effect in effects if isinstance(effect, Note)]


def sent(effects, kind):
    return [e.message for e in effects if isinstance(e, Send) and isinstance(e.message, kind)]


def from_above(machine, message, now_s=20.0):
    return machine.handle(Received(side="up", node=ALL, message=message), now_s)


def gateway(**options):
    machine = TierAggregator(
        node=NodeId("g"), parent=NodeId("c"), tier=1, members=[D0, NodeId("d1")], members_min=1,
        part_bytes=PART_BYTES, nonce=NONCE, **options,
    )  # fmt: skip
    for event in (Connected(side="down"), Connected(side="up"), Tick()):
        machine.handle(event, 2.0 if isinstance(event, Tick) else 0.0)
    return machine


TWICE = replace(ABOVE, plan=replace(ABOVE.plan, tau=(1, 2)))


def close_iteration(machine, now_s=5.0):
    head = machine.cell.head
    effects = []
    for child in ("d0", "d1"):
        for part in parts_of(update(head, NodeId(child)), head):
            effects += machine.handle(
                Received(side="down", node=NodeId(child), message=part), now_s
            )
    return next(e for e in effects if isinstance(e, Aggregate))


def begin(machine, head=TWICE):
    from_above(machine, head, 3.0)
    for part in model_parts()[: OUT.parts]:
        from_above(machine, part, 3.0)


# A gateway that is interrupted


def test_a_paused_gateway_goes_on_after_its_last_closed_iteration():
    machine = gateway(announced={"b": HEAD.members})
    begin(machine)
    aggregate = close_iteration(machine)
    machine.handle(Aggregated(job=aggregate.job, model=OTHER_MODEL, blob=OTHER_BLOB), 6.0)
    assert str(machine.cell.head.path) == "r0.1"
    paused = from_above(machine, replace(TWICE, seq=6, state="paused"))
    assert [head.state for head in sent(paused, Head)] == ["paused"]
    assert any(isinstance(effect, Preempt) for effect in paused)
    assert machine.state == "idle"
    from_above(machine, replace(TWICE, seq=7))
    assert str(machine.cell.head.path) == "r0.1"
    assert machine.cell.head.model == OTHER_MODEL


def test_a_sum_that_ends_after_its_preemption_is_not_made_again():
    machine = gateway(announced={"b": HEAD.members})
    begin(machine)
    aggregate = close_iteration(machine)
    from_above(machine, replace(TWICE, seq=6, state="paused"))
    machine.handle(Aggregated(job=aggregate.job, model=OTHER_MODEL, blob=OTHER_BLOB), 6.0)
    from_above(machine, replace(TWICE, seq=7))
    assert str(machine.cell.head.path) == "r0.1"


def test_an_iteration_that_is_asked_anew_while_it_is_summed_is_not_opened_again():
    """A second sum of it would find its updates forgotten by the first."""
    machine = gateway(announced={"b": HEAD.members})
    begin(machine)
    aggregate = close_iteration(machine)
    from_above(machine, replace(TWICE, seq=6, state="paused"))
    assert not sent(from_above(machine, replace(TWICE, seq=7)), Head)
    assert machine.state == "closing"
    machine.handle(Aggregated(job=aggregate.job, model=OTHER_MODEL, blob=OTHER_BLOB), 6.0)
    assert (machine.state, str(machine.cell.head.path)) == ("collecting", "r0.1")
    assert machine.cell.head.model == OTHER_MODEL


def test_an_answered_gateway_that_is_asked_anew_answers_without_its_cell():
    under = gateway_at("answering")
    machine = under.machine
    failed = machine.handle(WorkFailed(job=Job.of(ABOVE), reason="diverged"), 9.0)
    assert "abstained" in events_of(failed)
    from_above(machine, replace(ABOVE, seq=6, state="paused"))
    effects = from_above(machine, replace(ABOVE, seq=7))
    assert any(isinstance(effect, Answer) for effect in effects)


def test_a_restarted_gateway_that_had_closed_everything_answers_at_once():
    resume = Resume(above=Job.of(TWICE), done=2, trained=2, model=OTHER_MODEL, blob=OTHER_BLOB)
    machine = gateway(announced={"b": HEAD.members}, resume=resume)
    begin(machine)
    assert machine.state == "answering"


def test_a_gateway_that_forgot_what_it_announced_abstains_for_that_round():
    machine = gateway()
    begin(machine)
    assert machine.state == "idle"
    assert machine.link.state == "offering"


def test_a_finished_head_is_passed_on_once_the_cell_is_ones_own():
    under = gateway_at("waiting")
    machine = under.machine
    finished = replace(ABOVE, seq=6, state="finished", members=())
    kept = from_above(machine, finished, 1.0)
    assert any(isinstance(effect, Keep) for effect in kept)
    assert not sent(kept, Head)
    said = sent(machine.handle(Tick(), 2.0), Head)
    assert [(head.state, head.model, head.members) for head in said] == [("finished", MODEL, ())]


def test_a_finished_head_of_another_tier_is_kept_but_not_passed_on():
    machine = gateway()
    effects = from_above(
        machine, replace(ABOVE, state="finished", members=(), tier=1, path=HEAD.path)
    )
    for part in model_parts()[: OUT.parts]:
        effects += from_above(machine, part)
    assert "head refused" in events_of(effects)
    assert not sent(effects, Head)


def test_only_the_latest_announcements_are_remembered():
    machine = gateway()
    for weight in range(1, 20):
        online = Presence(status="online", nonce=BootNonce(8), ready=True, weight=weight)
        effects = machine.handle(Received(side="down", node=D0, message=online), 3.0)
        assert sent(effects, Presence)[0].weight == weight
    assert len(machine._announced) == 16


def test_a_paused_device_that_was_fetching_does_not_begin():
    under = child_at("fetching", device=True)
    from_above(under.machine, replace(HEAD, seq=6, state="paused"))
    for part in model_parts()[: OUT.parts]:
        from_above(under.machine, part)
    assert under.machine.state == "resting"


def test_a_settled_child_offers_again_when_the_same_is_asked_anew():
    under = child_at("settled", device=True)
    for head in (replace(HEAD, seq=6), replace(HEAD, nonce=BootNonce(9), epoch=2)):
        effects = from_above(under.machine, head)
        assert [part.part for part in sent(effects, Part)] == [0]
        under.machine.link.hear_ack(accepted_ack(under), 21.0)


def accepted_ack(under):
    return Ack(digest=under.machine.link._offer.digest, verdict="accepted")


def test_a_false_verdict_is_mended_by_the_parents_question():
    """A verdict of an earlier boot may come late; the parent asks who is missing at each beacon."""
    under = child_at("settled", device=True)
    effects = from_above(under.machine, Ack(digest=NO_BLOB, verdict="want"))
    assert [part.part for part in sent(effects, Part)] == [0]
    assert under.machine.state == "offering"


def test_an_offer_that_is_on_its_way_is_not_sent_again_for_the_parents_question():
    """On a slow line the question overtakes what it asks for."""
    under = child_at("offering", device=True)
    effects = from_above(under.machine, Ack(digest=NO_BLOB, verdict="want"))
    assert not sent(effects, Part)
    assert sent(under.machine.handle(Tick(), 1e6), Part), "what was lost is repeated in its time"


def test_a_parent_asks_nobody_whose_update_it_is_receiving():
    machine = gateway(announced={"b": HEAD.members})
    begin(machine)
    head = machine.cell.head
    first, *rest = parts_of(update(head, D0), head)
    (want,) = sent(machine.handle(Received(side="down", node=D0, message=first), 4.0), Ack)
    assert want.parts == tuple(part.part for part in rest)
    assert rest
    effects = machine.handle(Tick(), 3.0 + head.plan.beacon_s)
    questions = [e for e in effects if isinstance(e, Send) and isinstance(e.message, Ack)]
    assert [e.node for e in questions if e.message.digest == NO_BLOB] == ["d1"]


def test_a_parent_asks_who_is_missing_at_every_sign_of_life():
    machine = gateway(announced={"b": HEAD.members})
    begin(machine)
    head = machine.cell.head
    for part in parts_of(update(head, D0), head):
        machine.handle(Received(side="down", node=D0, message=part), 4.0)
    effects = machine.handle(Tick(), 3.0 + head.plan.beacon_s)
    asked = [e.node for e in effects if isinstance(e, Send) and isinstance(e.message, Ack)]
    assert asked == ["d1"]
    assert [beacon.seq for beacon in sent(effects, Beacon)] == [head.seq]


def test_a_new_boot_of_a_lower_epoch_is_refused_unless_the_run_is_another():
    under = child_at("settled", device=True)
    older = replace(HEAD, nonce=BootNonce(9), epoch=0, path=IterationPath((0, 3)))
    assert events_of(from_above(under.machine, older)) == ["head ignored"]
    assert under.machine.state == "settled"
    from_above(under.machine, replace(older, run=RunId(9)))
    assert under.machine.state == "working"


@pytest.mark.parametrize("sender", ["device", "gateway"])
def test_an_abstention_reports_the_figures_of_work_that_failed(sender):
    device = sender == "device"
    under = child_at("working", device=True) if device else gateway_at("answering")
    figures = Figures(links={1: LinkFigures(bytes_up=70)})
    job = JOB if device else Job.of(ABOVE)
    failed = under.machine.handle(WorkFailed(job=job, reason="ill", figures=figures), 9.0)
    (offer,) = sent(failed, Part)
    manifest = peek_update(offer.payload)
    assert (manifest.weight, manifest.reason) == (0, "ill")
    assert Figures.from_json(manifest.figures) == figures


def test_a_rejected_abstention_ends_there():
    under = child_at("working", device=True)
    link = under.machine.link
    link.abstain(JOB, "ill", 1.0)
    effects = link.hear_ack(
        Ack(digest=link._offer.digest, verdict="rejected", reason="layout"), 2.0
    )
    assert not sent(effects, Part)
    assert link.state == "settled"


def test_nothing_is_repeated_while_away_and_all_of_it_on_return():
    under = child_at("offering", device=False)
    link = under.machine
    link.disconnected()
    assert link.timer_s is None
    assert link.tick(1e6) == []
    assert link.announce(Presence(status="online", nonce=BootNonce(4)), 5.0) == []
    assert [type(m) for m in (e.message for e in link.connected(100.0))] == [Presence, Part]


# Paces


def test_an_unanswered_offer_is_repeated_after_5_10_20_40_and_then_60_seconds():
    under = child_at("offering", device=False)
    link, times = under.machine, [0.0]
    for _ in range(50):  # its presence is said in between
        now_s = link.timer_s
        if sent(link.tick(now_s), Part):
            times.append(now_s)
    pauses = [later - sooner for sooner, later in itertools.pairwise(times[:8])]
    for pause, expected in zip(pauses, [5, 10, 20, 40, 60, 60, 60], strict=True):
        assert expected <= pause <= 1.1 * expected


def test_a_window_is_followed_by_the_next_and_a_repeated_part_by_nothing():
    fetch = Fetch(HEAD.blobs[0], Pace(GAP_S), bytes_max=10**6, now_s=0.0, by_itself=False)
    parts = model_parts()[: OUT.parts]
    assert fetch.ask(1.0).parts == tuple(range(OUT.parts))
    assert fetch.add(parts[0], 2.0) is None
    assert fetch.add(parts[0], 3.0) is None
    assert fetch.ask_at_s == 4.0


def test_late_parts_of_a_closed_iteration_are_not_answered():
    intake = Intake()
    intake.open(HEAD)
    intake.close()
    first, second = parts_of(update(HEAD, D0), HEAD)[:2]
    assert [ack.verdict for ack in sent(intake.hear(D0, first, 1.0), Ack)] == ["stale"]
    assert intake.hear(D0, second, 1.0) == []
    assert intake.counts.late == 1


# The second parent, message by message


def online(nonce, ready=False):
    return Presence(status="online", nonce=BootNonce(nonce), ready=ready)


def test_what_a_broker_kept_of_ones_last_boot_is_no_answer():
    """Redelivered before one's own question comes back, retained, or a will."""
    lookout = Lookout(node=NodeId("g"), nonce=BootNonce(5))
    lookout.connected(0.0)
    assert lookout.hear(online(1, ready=True), 0.1, retained=False) == []
    assert lookout.hear(online(5), 0.2, retained=False) == []
    assert lookout.hear(online(1, ready=True), 0.3, retained=True) == []
    assert lookout.hear(Presence(status="lost", nonce=BootNonce(1)), 0.4, retained=False) == []
    assert lookout.tick(2.0)


@pytest.mark.parametrize(
    ("done", "other", "ready", "stops"),
    [
        (False, 1, False, True), (False, 9, False, False), (False, 9, True, True),
        (True, 1, False, False), (True, 1, True, True), (True, 9, True, False),
    ],
)  # fmt: skip
def test_who_holds_the_cell_stays_and_of_two_equals_the_smaller_nonce(done, other, ready, stops):
    lookout = Lookout(node=NodeId("g"), nonce=BootNonce(5))
    lookout.connected(0.0)
    lookout.hear(online(5), 0.1, retained=False)
    if done:
        lookout.tick(2.0)
    first = lookout.hear(online(other, ready=ready), 2.1, retained=False)
    assert any(isinstance(effect, Send) for effect in first), "who is heard is asked again"
    lookout.hear(online(5, ready=done), 2.2, retained=False)
    second = lookout.hear(online(other, ready=ready), 2.3, retained=False)
    assert isinstance(second[0], Stop) is stops


def test_late_words_of_an_earlier_boot_are_no_second_parent():
    """Two copies on a connection that is gone; who is asked again would answer."""
    lookout = Lookout(node=NodeId("g"), nonce=BootNonce(5))
    lookout.connected(0.0)
    lookout.hear(online(5), 0.1, retained=False)
    (again,) = lookout.hear(online(9, ready=True), 1.0, retained=False)
    assert isinstance(again, Send)
    assert lookout.hear(online(9, ready=True), 1.1, retained=False) == [], "not yet an answer"
    assert lookout.hear(online(5), 1.2, retained=False) == []
    assert not lookout.tick(2.5), "it listens as long again"
    assert lookout.tick(3.0)
    assert lookout.done


def test_who_holds_the_cell_and_was_in_doubt_is_not_done_anew():
    lookout = Lookout(node=NodeId("g"), nonce=BootNonce(5))
    lookout.connected(0.0)
    assert lookout.tick(2.0)
    lookout.hear(online(1, ready=True), 9.0, retained=False)
    assert lookout.timer_s == 11.0
    assert not lookout.tick(11.0), "the cell is looked at once"
    assert lookout.timer_s is None


def test_a_will_that_replaced_ones_presence_is_answered_by_saying_it_again():
    lookout = Lookout(node=NodeId("g"), nonce=BootNonce(5))
    lookout.connected(0.0)
    lookout.tick(2.0)
    (again,) = lookout.hear(Presence(status="lost", nonce=BootNonce(1)), 3.0, retained=False)
    assert again.message.ready


def test_a_look_that_is_cut_off_begins_again():
    lookout = Lookout(node=NodeId("g"), nonce=BootNonce(5))
    lookout.connected(0.0)
    lookout.disconnected()
    assert lookout.timer_s is None
    assert not lookout.tick(3.0)
    lookout.connected(10.0)
    assert lookout.timer_s == 12.0
    assert not lookout.done


def test_a_gateway_that_is_admitted_anew_for_the_same_job_goes_on():
    """Should its weight no longer be the admitted one, its parent rejects it and it abstains."""
    under = gateway_at("answering")
    machine = under.machine
    heavier = replace(
        ABOVE, nonce=BootNonce(9), members=(Member(node=NodeId("g"), weight=3, beneath="c"),)
    )  # fmt: skip
    assert not any(isinstance(effect, Preempt) for effect in from_above(machine, heavier))
    assert machine.state == "answering"


def test_heads_of_an_earlier_path_are_obeyed_from_a_new_boot():
    under = child_at("settled", device=True)
    earlier = replace(HEAD, nonce=BootNonce(9), path=IterationPath((0, 0)), model=OTHER_MODEL)
    from_above(under.machine, earlier)
    assert under.machine.state == "fetching"
