"""What the cloud writes of its rounds and of its end, whether or not anybody trained."""

from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from cloud.performer import Performer, Places
from fedtier.artefact.find import find_artefact
from fedtier.core.effects import Aggregate, Finish, Job
from fedtier.core.events import Tick
from fedtier.core.figures import Figures, LinkFigures
from fedtier.core.root import Course
from fedtier.ids import BootNonce, FederationId, IterationPath, NodeId, RunId
from fedtier.model.layout import model_digest
from fedtier.runtime.driver import Driver
from fedtier.runtime.mailbox import Mailbox
from fedtier.runtime.updates import delta_update
from fedtier.storage.snapshots import Snapshots
from fedtier.storage.spool import Spool
from fedtier.topology import Node, Topology
from fedtier.wire.head import Head, Member
from fedtier.wire.manifest import decode_model, encode_model
from fedtier.wire.plan import CodecSpec, Plan

ARTEFACT = find_artefact("package:imu")
INITIAL = ARTEFACT.initial()
DIGEST = model_digest(ARTEFACT.layout.digest, INITIAL)
BLOB = encode_model(INITIAL, model=DIGEST, layout=ARTEFACT.layout.digest)
DEVICE = Member(node=NodeId("d"), weight=1)
TREE = Topology(
    (
        Node(id=NodeId("cloud"), tier=1, parent=None),
        Node(id=DEVICE.node, tier=0, parent=NodeId("cloud")),
    )
)
WHY = ((DEVICE.node, "memory is full"),)


def course(rounds: int) -> Course:
    plan = Plan(
        seed=7, rounds=rounds, tau=(2,), codecs=(CodecSpec(name="identity"),),
        schedule="constant", mu=0.1, floor=1.0,
    )  # fmt: skip
    return Course(
        run=RunId(5), epoch=0, plan=plan, artefact=ARTEFACT.digest,
        artefact_blob=b"artefact", layout=ARTEFACT.layout.digest,
        dimension=ARTEFACT.layout.dimension, next_round=0, rounds_trained=0,
        model=DIGEST, blob=BLOB,
    )  # fmt: skip


@dataclass
class Rounds:
    """A machine that closes rounds, with a member or without, and finishes."""

    course: Course
    came: list[bool]
    timer_s: float | None = 0.0
    closed: int = 0
    blob: bytes = BLOB

    def handle(self, event, now_s):
        if isinstance(event, Tick):
            self.timer_s = None
        else:
            self.blob = event.blob
            self.closed += 1
        trained = sum(self.came[: self.closed])
        if self.closed == len(self.came):
            return [Finish(head=self.head(), rounds_trained=trained, figures=Figures())]
        came = self.came[self.closed]
        counted = LinkFigures(updates=self.closed + 1, abstained=self.closed + 1 - trained - came)
        return [
            Aggregate(
                job=Job.of(self.head()), head=self.head(), came=(DEVICE,) if came else (),
                admitted_weight=1, above=None, done=self.closed + 1, trained=trained + came,
                seconds=1.0, reasons=() if came else WHY, model=self.blob,
                figures=Figures(links={1: counted}),
            )
        ]  # fmt: skip

    def head(self) -> Head:
        _, digest, layout = decode_model(self.blob)
        return Head(
            nonce=BootNonce(1), seq=1, run=self.course.run, epoch=0, state="open", task="train",
            path=IterationPath((self.closed,)), model=digest, layout=layout, tier=1,
            dimension=self.course.dimension, artefact=self.course.artefact, blobs=(),
            first_step=0, p0=0.0, p1=1.0, plan=self.course.plan, members=(DEVICE,),
        )  # fmt: skip


@pytest.fixture
def run_cloud(tmp_path):
    """Close these rounds: the performer at the end."""

    def run(*came: bool) -> Performer:
        mine = course(len(came))
        machine = Rounds(mine, list(came))
        driver = Driver(
            federation=FederationId("farm"), machine=machine, mailbox=Mailbox(), connections={}
        )
        performer = Performer(
            federation=FederationId("farm"), course=mine, artefact=ARTEFACT, evaluator=None,
            places=Places(state_dir=tmp_path / "state", run_dir=tmp_path), host=driver,
            topology=TREE, part_bytes=2**16,
        )  # fmt: skip
        spool = Spool(tmp_path / "state" / "spool")
        for number, trains in enumerate(came):
            if trains:
                path = IterationPath((number,))
                spool.put(mine.run, path, DEVICE.node, update(machine.head(), number))
        assert driver.run(performer.perform, {}) == 0
        return performer

    return run


def update(head: Head, number: int) -> bytes:
    return delta_update(
        DEVICE.node, head, start=INITIAL, end=INITIAL + 2.0**-number, weight=1, figures=Figures()
    )


def rows_of(tmp_path):
    text = (tmp_path / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def test_a_run_is_durable_before_its_first_round(tmp_path):
    mine = course(2)
    driver = Driver(
        federation=FederationId("farm"), machine=Rounds(mine, []), mailbox=Mailbox(), connections={}
    )
    places = Places(state_dir=tmp_path / "state", run_dir=tmp_path)
    Performer(
        federation=FederationId("farm"), course=mine, artefact=ARTEFACT, evaluator=None,
        places=places, host=driver, topology=TREE, part_bytes=2**16,
    ).begin()  # fmt: skip
    snapshot = Snapshots(places.state_dir).read()
    assert snapshot is not None
    assert (snapshot.run, snapshot.rounds_done, snapshot.finished) == (mine.run, 0, False)
    assert (snapshot.model, snapshot.blob) == (DIGEST, BLOB)


@pytest.mark.covers("H-8")
def test_an_empty_round_has_a_line_and_a_snapshot_like_any_other(run_cloud, tmp_path):
    run_cloud(True, False, True)
    rows = rows_of(tmp_path)
    assert [row["members"] for row in rows] == [1, 0, 1]
    assert [row["reasons"] for row in rows] == [
        [], [{"node": "d", "reason": "memory is full"}], []
    ]  # fmt: skip
    assert [row["links"][0]["abstained"] for row in rows] == [0, 1, 1]
    digests = [row["model_digest"] for row in rows]
    assert digests[0] == digests[1] != digests[2]
    snapshot = Snapshots(tmp_path / "state").read()
    assert (snapshot.rounds_done, snapshot.rounds_trained) == (3, 2)
    assert snapshot.model == digests[2]


@pytest.mark.parametrize(
    ("came", "code", "trained"), [((False, False), 65, 0), ((False, True), 0, 1)], ids=str
)
def test_a_finished_run_says_in_how_many_rounds_somebody_trained(
    run_cloud, tmp_path, caplog, came, code, trained
):
    performer = run_cloud(*came)
    assert performer.exit_code == code
    report = json.loads((tmp_path / "report.json").read_bytes())
    assert (report["rounds"], report["rounds_trained"]) == (2, trained)
    assert report["reasons"] == [{"node": "d", "reason": "memory is full"}]
    warnings = [record for record in caplog.records if record.message == "nobody trained"]
    assert len(warnings) == (0 if trained else 1)
    assert all(record.reasons == "d: memory is full" for record in warnings)
