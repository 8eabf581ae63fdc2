"""Clauses of the conversation that are seen best from one end of a link, message by message."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import numpy as np
import pytest

from fedtier.core.cell import Cell
from fedtier.core.child import Assigned, ChildLink
from fedtier.core.effects import NO_BLOB, Job, Keep, Note, Preempt, Send, Spool
from fedtier.core.roster import Roster, digest_of_members
from fedtier.ids import BootNonce, IterationPath, NodeId, RunId
from fedtier.model.layout import ParameterLayout, TensorSpec, model_digest
from fedtier.wire.head import Beacon, BlobRef, Head, Member
from fedtier.wire.manifest import UpdateManifest, decode_update, encode_model, encode_update
from fedtier.wire.messages import Ack, Presence, Want
from fedtier.wire.parts import Outgoing, Part
from fedtier.wire.plan import CodecSpec, Plan

DIMENSION = 3000  # 12 kB: four parts of 4 KiB
PART_BYTES = 4096
NODE = NodeId("d1")
LAYOUT = ParameterLayout(tensors=(TensorSpec(name="w", shape=(DIMENSION,)),))
PLAN = Plan(
    seed=7, rounds=9, tau=(2,), codecs=(CodecSpec(name="identity"),), schedule="constant", mu=0.1,
    floor=1.0,
)  # fmt: skip


def model_of(value):
    vector = np.full(DIMENSION, value, np.float32)
    digest = model_digest(LAYOUT.digest, vector)
    blob = encode_model(vector, model=digest, layout=LAYOUT.digest)
    return digest, Outgoing(blob, kind="model", part_bytes=PART_BYTES)


def head_of(*, value=1.0, nonce=1, seq=1, run=1, epoch=0, path=(0,), state="open", members=(NODE,)):
    digest, outgoing = model_of(value)
    listed = BlobRef(
        form="float32", digest=outgoing.digest, total=outgoing.total, parts=outgoing.parts
    )
    return Head(
        nonce=BootNonce(nonce), seq=seq, run=RunId(run), epoch=epoch, path=IterationPath(path),
        state=state, task="train", model=digest, layout=LAYOUT.digest, dimension=DIMENSION,
        artefact="ab" * 32, blobs=(listed,), tier=1, first_step=0, p0=0.0, p1=1.0, plan=PLAN,
        members=tuple(Member(node=node, weight=1) for node in members),
    )  # fmt: skip


def model_parts(head, *, value=1.0):
    _, outgoing = model_of(value)
    return [
        outgoing.part(
            index, run=head.run, epoch=head.epoch, path=head.path, nonce=head.nonce, seq=head.seq
        )
        for index in range(outgoing.parts)
    ]


def update_for(head, *, value=0.5):
    delta = np.full(DIMENSION, value, np.float32)
    manifest = UpdateManifest(
        run=head.run, path=head.path, node=NODE, task="train", base=head.model, layout=head.layout,
        weight=1, codec="identity",
    )  # fmt: skip
    return encode_update(manifest, (delta.tobytes(),))


def sent(effects, kind):
    return [e.message for e in effects if isinstance(e, Send) and isinstance(e.message, kind)]


def of(effects, kind):
    return [effect for effect in effects if isinstance(effect, kind)]


def child():
    link = ChildLink(
        node=NODE,
        parent=NodeId("g"),
        part_bytes=PART_BYTES,
        presence=Presence(status="online", nonce=BootNonce(5)),
    )
    link.connected(0.0)
    return link


def child_at_work(head=None):
    link, head = child(), head or head_of()
    link.hear_head(head, 0.0, retained=False)
    for part in model_parts(head):
        effects = link.hear_part(part, 0.0)
    assert len(of(effects, Assigned)) == 1
    return link, head


def child_that_offers(head=None):
    link, head = child_at_work(head)
    effects = link.answer(Job.of(head), update_for(head), 0.0)
    return link, head, sent(effects, Part)


# Heads


@pytest.mark.covers("H-1")
def test_heads_of_one_boot_are_obeyed_in_their_order_and_earlier_boots_never_again():
    link = child()
    for nonce, seq, path, obeyed in [
        (1, 5, (3,), True), (1, 5, (4,), False), (1, 4, (9,), False), (1, 6, (2,), True),
        (2, 1, (0,), True), (1, 99, (9,), False), (2, 2, (1,), True),
    ]:  # fmt: skip
        head = head_of(nonce=nonce, seq=seq, path=path)
        link.hear_head(head, 0.0, retained=False)
        assert (link.head == head) == obeyed, (nonce, seq)


@pytest.mark.covers("H-1")
def test_a_new_boot_with_a_lower_epoch_is_obeyed_only_in_another_run():
    link = child()
    link.hear_head(head_of(epoch=3), 0.0, retained=False)
    lower = head_of(nonce=2, epoch=2)
    link.hear_head(lower, 0.0, retained=False)
    assert link.head != lower
    for other in (head_of(nonce=3, epoch=3), head_of(nonce=4, epoch=0, run=2)):
        link.hear_head(other, 0.0, retained=False)
        assert link.head == other


@pytest.mark.covers("H-5")
@pytest.mark.parametrize(
    "later",
    [
        {"path": (1,)}, {"value": 2.0}, {"run": 2, "nonce": 2}, {"state": "paused"},
        {"state": "finished"}, {"members": ("d2",)},
    ],
    ids=str,
)  # fmt: skip
def test_a_later_head_ends_the_work_for_an_earlier_one(later):
    link, head = child_at_work()
    effects = link.hear_head(head_of(seq=2, **later), 1.0, retained=False)
    assert of(effects, Preempt) == [Preempt(job=Job.of(head))]
    note = of(effects, Note)[-1]
    assert (note.event, note.fields) == ("preempted", {"path": str(head.path)})
    late = link.answer(Job.of(head), update_for(head), 2.0)
    assert sent(late, Part) == []
    assert [note.event for note in of(late, Note)] == ["answer too late"]


@pytest.mark.covers("H-5")
@pytest.mark.parametrize(
    "same", [{"seq": 2}, {"nonce": 2}, {"nonce": 2, "epoch": 1}, {"seq": 2, "state": "draining"}]
)
def test_a_later_head_for_the_same_job_lets_the_work_go_on(same):
    link, head = child_at_work()
    again = head_of(**same)
    assert of(link.hear_head(again, 1.0, retained=False), Preempt) == []
    (offer,) = sent(link.answer(Job.of(head), update_for(head), 2.0), Part)
    assert (offer.nonce, offer.seq, offer.epoch) == (again.nonce, again.seq, again.epoch)


@pytest.mark.covers("H-2")
@pytest.mark.parametrize(
    ("state", "effect"),
    [("open", Assigned), ("draining", Assigned), ("finished", Keep), ("paused", None)],
)
def test_what_a_state_asks_of_a_child_that_has_the_model(state, effect):
    link, _ = child_at_work()
    effects = link.hear_head(head_of(seq=2, path=(1,), state=state), 1.0, retained=False)
    assert [type(e) for e in of(effects, (Assigned, Keep))] == ([effect] if effect else [])
    again = link.hear_head(head_of(seq=3, path=(1,), state=state), 2.0, retained=False)
    assert of(again, Assigned) == []  # a state is no event


# The way up


@pytest.mark.covers("T-1")
def test_an_offer_is_repeated_with_doubling_pauses_until_there_is_a_verdict():
    link, _, (offer,) = child_that_offers()
    pauses, now_s = [], 0.0
    for _ in range(7):
        due_s = link._offer.repeat_at_s
        assert sent(link.tick(due_s - 0.01), Part) == []
        assert sent(link.tick(due_s), Part) == [offer]
        pauses.append(due_s - now_s)
        now_s = due_s
    for pause_s, least_s in zip(pauses, [5, 10, 20, 40, 60, 60, 60], strict=True):
        assert least_s <= pause_s <= 1.1 * least_s
    link.hear_ack(Ack(digest=offer.digest, verdict="accepted"), now_s)
    assert sent(link.tick(now_s + 1000), Part) == []


@pytest.mark.covers("T-1")
def test_an_offer_is_made_again_at_once_when_there_is_reason_to():
    link, _, (offer,) = child_that_offers()
    link.disconnected()
    assert sent(link.tick(100.0), Part) == []
    assert sent(link.connected(200.0), Part) == [offer]
    (restarted,) = sent(link.hear_head(head_of(nonce=2), 201.0, retained=True), Part)
    assert (restarted.digest, restarted.nonce) == (offer.digest, 2)
    question = Ack(digest=NO_BLOB, verdict="want")
    assert sent(link.hear_ack(question, 202.0), Part) == [], "it is on its way"
    link.hear_ack(Ack(digest=offer.digest, verdict="accepted"), 203.0)
    (asked,) = sent(link.hear_ack(question, 204.0), Part)
    assert asked.part == 0


@pytest.mark.covers("T-3")
@pytest.mark.covers("T-13")
def test_exactly_what_is_wanted_is_sent_also_after_it_was_accepted():
    link, _, (offer,) = child_that_offers()
    assert (offer.part, offer.parts) == (0, 4)
    for verdict in ("want", "accepted", "want"):
        parts = (2, 1, 99) if verdict == "want" else ()
        effects = link.hear_ack(Ack(digest=offer.digest, verdict=verdict, parts=parts), 1.0)
        assert [part.part for part in sent(effects, Part)] == [i for i in parts if i < 4]
    assert sent(link.hear_ack(Ack(digest="11" * 32, verdict="want", parts=(1,)), 1.0), Part) == []


@pytest.mark.covers("R-6")
def test_a_rejected_update_is_replaced_by_an_abstention_and_that_by_nothing():
    link, _, (offer,) = child_that_offers()
    rejected = Ack(digest=offer.digest, verdict="rejected", reason="layout 1234 is not 5678")
    (abstention,) = sent(link.hear_ack(rejected, 1.0), Part)
    manifest = decode_update(bytes(abstention.payload)).manifest
    assert (manifest.weight, manifest.reason) == (0, "rejected: layout 1234 is not 5678")
    assert sent(link.hear_ack(replace(rejected, digest=abstention.digest), 2.0), Part) == []


@pytest.mark.covers("R-6")
@pytest.mark.parametrize("reason", ["not a member", "conflict: another update is held"])
def test_no_other_answer_would_change_a_conflict_or_a_missing_membership(reason):
    link, _, (offer,) = child_that_offers()
    effects = link.hear_ack(Ack(digest=offer.digest, verdict="rejected", reason=reason), 1.0)
    assert sent(effects, Part) == []


@pytest.mark.covers("T-12")
def test_who_is_told_stale_or_hears_of_a_later_head_asks_for_the_head():
    link, head, (offer,) = child_that_offers()
    asks_for_head = [Want(digest=NO_BLOB, parts=())]
    stale = link.hear_ack(Ack(digest=offer.digest, verdict="stale"), 1.0)
    assert sent(stale, Want) == asks_for_head

    def beacon(nonce, seq):
        said = Beacon(
            nonce=BootNonce(nonce), seq=seq, run=head.run, epoch=0, path=head.path, state="open"
        )
        return sent(link.hear_beacon(said), Want)

    assert beacon(1, 1) == []
    assert beacon(1, 2) == asks_for_head
    assert beacon(9, 1) == asks_for_head


# The way down


@pytest.mark.covers("T-4")
@pytest.mark.covers("T-6")
def test_a_child_asks_for_what_it_lacks_after_a_gap_and_not_before():
    head = head_of()
    link = child()
    assert sent(link.hear_head(head, 0.0, retained=False), Want) == []
    link.hear_part(model_parts(head)[1], 1.0)
    assert sent(link.tick(2.9), Want) == []
    (want,) = sent(link.tick(3.0), Want)
    assert (want.digest, want.parts) == (head.blobs[0].digest, (0, 2, 3))
    assert sent(link.tick(5.0), Want) == [want]


@pytest.mark.covers("T-6")
def test_a_child_that_comes_to_a_retained_head_asks_at_once():
    link = child()
    link.hear_head(head_of(), 0.0, retained=True)
    (want,) = sent(link.tick(0.0), Want)
    assert want.parts == (0, 1, 2, 3)


@pytest.mark.covers("W-10")
def test_a_model_that_is_not_the_heads_is_not_worked_from():
    head = head_of()
    _, other = model_of(9.0)
    listed = BlobRef(form="float32", digest=other.digest, total=other.total, parts=other.parts)
    link = child()
    link.hear_head(replace(head, blobs=(listed,)), 0.0, retained=False)
    for part in model_parts(head, value=9.0):
        effects = link.hear_part(part, 0.0)
    assert of(effects, Assigned) == []
    assert "abstained" in [note.event for note in of(effects, Note)]


# The parent's end


def open_cell():
    cell = Cell(
        node=NodeId("gw"), members=[NODE, NodeId("d2")], members_min=2, part_bytes=PART_BYTES,
        nonce=BootNonce(1),
    )  # fmt: skip
    cell.connected(0.0)
    cell.tick(2.0)
    digest, _ = model_of(1.0)
    blob = encode_model(np.full(DIMENSION, 1.0, np.float32), model=digest, layout=LAYOUT.digest)
    effects = cell.open(head_of(members=(NODE, "d2")), blob, 2.0, spooled={})
    (head,) = sent(effects, Head)
    return cell, head, effects


def parts_for(head, **changes):
    outgoing = Outgoing(update_for(head, **changes), kind="update", part_bytes=PART_BYTES)
    return [
        outgoing.part(
            index, run=head.run, epoch=head.epoch, path=head.path, nonce=head.nonce, seq=head.seq
        )
        for index in range(outgoing.parts)
    ]


@pytest.mark.covers("T-6")
def test_the_parts_of_a_new_model_follow_its_head_once():
    _, head, effects = open_cell()
    sends = of(effects, Send)
    assert isinstance(sends[0].message, Head)
    assert [send.message.part for send in sends[1:]] == [0, 1, 2, 3]
    assert {send.node for send in sends} == {"all"}
    assert head.blobs[0].parts == 4


@pytest.mark.covers("T-2")
@pytest.mark.covers("T-11")
@pytest.mark.covers("S-5")
def test_every_offer_is_answered_and_accepted_follows_the_spool():
    cell, head, _ = open_cell()
    parts = parts_for(head)

    def hear(part, now_s=3.0):
        return cell.hear_part(NODE, part, now_s)

    (want,) = sent(hear(parts[0]), Ack)
    assert (want.verdict, want.parts) == ("want", (1, 2, 3))
    assert sent(hear(parts[0]), Ack) == [want]
    hear(parts[3])
    hear(parts[1])
    effects = hear(parts[2])
    kinds = [type(e) for e in effects if isinstance(e, (Spool, Send))]
    assert kinds == [Spool, Send]
    assert sent(effects, Ack)[0].verdict == "accepted"
    assert sent(hear(parts[0]), Ack)[0].verdict == "accepted"
    (conflict,) = sent(hear(parts_for(head, value=0.25)[0]), Ack)
    assert (conflict.verdict, conflict.reason[:9]) == ("rejected", "conflict:")
    earlier = replace(parts[0], path=IterationPath((7,)))
    assert sent(hear(earlier), Ack)[0].verdict == "stale"


@pytest.mark.covers("T-8")
@pytest.mark.parametrize(
    "claims",
    [
        {"parts": 2**32 - 1}, {"total": 2**32 - 1}, {"parts": 3}, {"payload": b"no update"},
        {"parts": 1, "total": 2000},
    ],
    ids=str,
)  # fmt: skip
def test_an_offer_that_cannot_be_ends_no_other_transfer_of_the_same_child(claims):
    cell, head, _ = open_cell()
    parts = parts_for(head)
    cell.hear_part(NODE, parts[0], 3.0)
    cell.hear_part(NODE, parts[1], 3.0)
    lie = {"digest": "ab" * 32, "payload": parts[0].payload[: claims.get("total", 2**20)]}
    (answer,) = sent(cell.hear_part(NODE, replace(parts[0], **{**lie, **claims}), 3.5), Ack)
    assert (answer.digest, answer.verdict) == ("ab" * 32, "rejected")
    cell.hear_part(NODE, parts[2], 4.0)
    (verdict,) = sent(cell.hear_part(NODE, parts[3], 4.0), Ack)
    assert (verdict.digest, verdict.verdict) == (parts[0].digest, "accepted")


@pytest.mark.covers("H-9")
def test_a_sign_of_life_has_a_beacon_and_a_question_to_who_has_not_answered():
    cell, head, _ = open_cell()
    for part in parts_for(head):
        cell.hear_part(NODE, part, 3.0)
    assert cell.timer_s <= 2.0 + PLAN.beacon_s
    effects = cell.tick(2.0 + PLAN.beacon_s)
    (beacon,) = sent(effects, Beacon)
    assert (beacon.nonce, beacon.seq, beacon.state) == (head.nonce, head.seq, "open")
    asked = [(e.node, e.message) for e in of(effects, Send) if isinstance(e.message, Ack)]
    assert asked == [("d2", Ack(digest=NO_BLOB, verdict="want"))]


@pytest.mark.covers("H-9")
def test_a_head_is_repeated_to_all_at_most_once_in_two_seconds():
    cell, head, _ = open_cell()
    question = Want(digest=NO_BLOB, parts=())
    said = [sent(cell.hear_want(NODE, question, now_s), Head) for now_s in (10, 11, 11.9, 12, 13)]
    assert said == [[head], [], [], [head], []]


# Membership


@pytest.mark.covers("M-1")
@pytest.mark.parametrize("status", ["lost", "leaving"])
def test_a_late_will_of_an_earlier_boot_takes_nobody_away(status):
    roster = Roster([NODE], members_min=1)
    online = Presence(status="online", nonce=BootNonce(2), ready=True, weight=1)
    assert roster.hear(NODE, online)
    assert not roster.hear(NODE, Presence(status=status, nonce=BootNonce(1)))
    assert [member.node for member in roster.present()] == [NODE]
    assert roster.hear(NODE, Presence(status=status, nonce=BootNonce(2)))
    assert roster.present() == ()


@pytest.mark.covers("M-3")
def test_the_digest_of_members_is_as_it_is_written_down():
    members = [Member(node=NodeId("b"), weight=2, beneath="0" * 16), Member(node=NODE, weight=1)]
    text = b'{"members":[["b",2,"0000000000000000"],["d1",1,""]]}'
    assert digest_of_members(members) == hashlib.sha256(text).hexdigest()[:16]
    assert digest_of_members(reversed(members)) == digest_of_members(members)


@pytest.mark.covers("M-5")
def test_a_presence_is_repeated_every_30_seconds_and_when_it_changes():
    link = child()
    assert sent(link.tick(29.9), Presence) == []
    (said,) = sent(link.tick(30.0), Presence)
    changed = replace(said, weight=9)
    assert sent(link.announce(changed, 31.0), Presence) == [changed]
    assert sent(link.tick(61.0), Presence) == [changed]
