"""The durable points of every role: outbox, cell state, snapshots."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from fedtier.core.aggregator import Resume
from fedtier.core.effects import Job
from fedtier.core.figures import Figures
from fedtier.core.roster import digest_of_members
from fedtier.errors import StorageError
from fedtier.ids import IterationPath, NodeId, RunId
from fedtier.storage.cell_state import CellState
from fedtier.storage.outbox import Carried, Outbox, Start
from fedtier.storage.snapshots import Snapshot, Snapshots
from fedtier.wire.head import Member

FIGURES = Figures(trained_steps=3, trained_loss_units=5)
JOB = Job(run=RunId(2**63 + 1), path=IterationPath((3, 1)), task="train", base="ab" * 32)
SNAPSHOT = Snapshot(
    run=RunId(2**63 + 1), epoch=2, rounds_done=5, rounds_trained=4, finished=False,
    plan='{"seed":"7"}', artefact="cd" * 32, model="ef" * 32, blob=b"model of round 5",
    rms=0.125,
)  # fmt: skip
NEXT = replace(SNAPSHOT, rounds_done=6, rounds_trained=5, blob=b"model of round 6")


def flip(place: Path, index=-1):
    data = bytearray(place.read_bytes())
    data[index] ^= 1
    place.write_bytes(data)


# The outbox


@pytest.mark.covers("S-1")
def test_an_update_made_by_an_earlier_boot_is_found_by_its_job(tmp_path):
    Outbox(tmp_path).put(JOB, b"blob")
    assert Outbox(tmp_path).get(JOB) == b"blob"


@pytest.mark.parametrize(
    "other",
    [
        replace(JOB, run=RunId(1)), replace(JOB, path=IterationPath((3, 2))),
        replace(JOB, task="evaluate"), replace(JOB, base="ac" * 32),
    ],
    ids=["run", "path", "task", "base"],
)  # fmt: skip
def test_another_job_does_not_get_it(tmp_path, other):
    outbox = Outbox(tmp_path)
    outbox.put(JOB, b"blob")
    assert outbox.get(other) is None
    outbox.put(other, b"later")
    assert outbox.get(other) == b"later"
    assert outbox.get(JOB) is None


def test_what_an_optimiser_keeps_stands_beside_the_update_and_is_for_one_place(tmp_path):
    start = Start(run=JOB.run, round=3, step=8)
    Outbox(tmp_path).put(JOB, b"blob", carried=Carried(start=start, vector=b"velocity"))
    outbox = Outbox(tmp_path)  # of a later boot
    assert outbox.get(JOB) == b"blob"
    assert outbox.carried(start) == b"velocity"
    for other in (replace(start, run=RunId(1)), replace(start, round=4), replace(start, step=4)):
        assert outbox.carried(other) is None
    outbox.put(replace(JOB, path=IterationPath((3, 2))), b"later")
    assert outbox.carried(start) is None, "it goes with the update that it came with"


def test_an_outbox_that_is_missing_torn_or_flipped_has_nothing(tmp_path):
    outbox = Outbox(tmp_path)
    assert outbox.get(JOB) is None
    outbox.put(JOB, b"blob")
    place = tmp_path / "outbox.record"
    flip(place)
    assert outbox.get(JOB) is None
    place.write_bytes(place.read_bytes()[:20])
    assert outbox.get(JOB) is None
    outbox.put(JOB, b"again")
    assert outbox.get(JOB) == b"again"


@pytest.mark.covers("S-3")
def test_a_device_with_a_full_disk_stops_with_the_file_and_what_to_do(tmp_path):
    (tmp_path / "outbox.record.new").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"outbox\.record cannot be written: No space.*Free"):
        Outbox(tmp_path).put(JOB, b"blob")


def test_an_outbox_in_memory_is_of_one_boot_and_writes_nothing(tmp_path):
    outbox = Outbox(tmp_path, journal="ram")
    assert outbox.get(JOB) is None
    outbox.put(JOB, b"blob")
    outbox.put(JOB, b"again")
    assert outbox.get(JOB) == b"again"
    assert outbox.get(replace(JOB, task="evaluate")) is None
    assert Outbox(tmp_path, journal="ram").get(JOB) is None
    assert outbox.bytes_written == 0
    assert list(tmp_path.iterdir()) == []


def test_what_is_carried_goes_to_the_disk_with_its_update_all_the_same(tmp_path):
    outbox = Outbox(tmp_path, journal="ram")
    start = Start(run=JOB.run, round=3, step=8)
    outbox.put(JOB, b"blob", carried=Carried(start=start, vector=b"velocity"))
    again = Outbox(tmp_path, journal="ram")
    assert again.get(JOB) == b"blob"
    assert again.carried(start) == b"velocity"
    assert outbox.bytes_written > 0


def test_an_outbox_on_disk_counts_what_it_writes(tmp_path):
    outbox = Outbox(tmp_path)
    sizes = []
    for blob in (b"blob", b"x" * 1000):
        outbox.put(JOB, blob)
        sizes.append((tmp_path / "outbox.record").stat().st_size)
    assert outbox.bytes_written == sum(sizes)


# A gateway's state


@pytest.mark.covers("S-2")
def test_a_gateway_goes_on_from_its_last_closed_iteration(tmp_path):
    state = CellState(tmp_path)
    assert state.resume() is None
    state.close(above=JOB, done=1, trained=0, model="11" * 32, blob=b"one", figures=FIGURES)
    state.close(
        above=JOB, done=2, trained=1, model="22" * 32, blob=b"two", figures=FIGURES, rms=0.5
    )
    assert CellState(tmp_path).resume() == Resume(
        above=JOB, done=2, trained=1, model="22" * 32, blob=b"two", figures=FIGURES, rms=0.5
    )


def test_a_damaged_iteration_is_begun_anew(tmp_path):
    state = CellState(tmp_path)
    state.close(above=JOB, done=1, trained=0, model="11" * 32, blob=b"one", figures=FIGURES)
    flip(tmp_path / "iteration.record", 40)
    assert state.resume() is None


def members(*weights):
    return tuple(
        Member(node=NodeId(f"d{n}"), weight=w, beneath="0123456789abcdef" if n else "")
        for n, w in enumerate(weights)
    )


@pytest.mark.covers("M-3")
def test_what_was_announced_is_known_after_a_restart(tmp_path):
    state = CellState(tmp_path)
    assert state.announced() == {}
    announced = {digest_of_members(members(w, 2)): members(w, 2) for w in range(1, 4)}
    for digest, its_members in announced.items():
        state.remember(digest, its_members)
    again = CellState(tmp_path).announced()
    assert again == announced
    assert all(digest_of_members(value) == key for key, value in again.items())


def test_only_the_latest_announcements_are_kept_and_a_repeat_is_the_latest(tmp_path):
    state = CellState(tmp_path)
    state.remember("first", members(1))
    for number in range(15):
        state.remember(f"{number}", members(1))
    state.remember("first", members(2))
    state.remember("new", members(3))
    known = state.announced()
    assert len(known) == 16
    assert known["first"] == members(2)
    assert "0" not in known
    assert list(known)[-1] == "new"


@pytest.mark.parametrize("index", [4, 30, 90, -1])
def test_damaged_announcements_are_as_good_as_none_and_are_made_anew(tmp_path, index):
    state = CellState(tmp_path)
    state.remember("x", members(1, 2))
    flip(tmp_path / "announced.record", index)
    assert state.announced() == {}
    state.remember("y", members(3))
    assert CellState(tmp_path).announced() == {"y": members(3)}


@pytest.mark.covers("S-3")
@pytest.mark.parametrize("name", ["iteration", "announced"])
def test_a_gateway_with_a_full_disk_stops_with_the_file_and_what_to_do(tmp_path, name):
    (tmp_path / f"{name}.record.new").symlink_to("/dev/full")
    state = CellState(tmp_path)
    write = {
        "iteration": lambda: state.close(
            above=JOB, done=1, trained=0, model="11" * 32, blob=b"one", figures=FIGURES
        ),
        "announced": lambda: state.remember("x", members(1)),
    }[name]
    with pytest.raises(StorageError, match=rf"{name}\.record cannot be written: No space.*Free"):
        write()


# The cloud's snapshots


def test_a_cloud_without_a_snapshot_begins(tmp_path):
    assert Snapshots(tmp_path).read() is None


@pytest.mark.covers("S-2")
def test_the_newest_snapshot_is_read_under_its_own_epoch(tmp_path):
    snapshots = Snapshots(tmp_path)
    snapshots.write(SNAPSHOT)
    assert snapshots.read() == SNAPSHOT
    snapshots.write(NEXT)
    assert Snapshots(tmp_path).read() == NEXT


@pytest.mark.covers("H-4")
@pytest.mark.parametrize("damage", ["flipped", "torn", "missing"])
def test_without_the_newest_the_one_before_is_read_under_the_next_epoch(tmp_path, damage):
    snapshots = Snapshots(tmp_path)
    snapshots.write(SNAPSHOT)
    snapshots.write(NEXT)
    newest = tmp_path / "snapshot.record"
    match damage:
        case "flipped":
            flip(newest, 50)
        case "torn":
            newest.write_bytes(newest.read_bytes()[:-5])
        case "missing":
            newest.unlink()
    assert Snapshots(tmp_path).read() == replace(SNAPSHOT, epoch=SNAPSHOT.epoch + 1)


def test_a_damaged_snapshot_never_takes_the_place_of_the_good_one_before_it(tmp_path):
    snapshots = Snapshots(tmp_path)
    snapshots.write(SNAPSHOT)
    snapshots.write(NEXT)
    flip(tmp_path / "snapshot.record")
    resumed = Snapshots(tmp_path)
    taken_up = resumed.read()
    resumed.write(replace(taken_up, rounds_done=6))
    flip(tmp_path / "snapshot.record")
    again = Snapshots(tmp_path).read()
    assert again == replace(SNAPSHOT, epoch=SNAPSHOT.epoch + 1)


def test_where_neither_verifies_the_cloud_stops_and_names_both(tmp_path):
    snapshots = Snapshots(tmp_path)
    snapshots.write(SNAPSHOT)
    snapshots.write(NEXT)
    for name in ("snapshot.record", "snapshot.before.record"):
        flip(tmp_path / name)
    with pytest.raises(
        StorageError, match=r"neither .*snapshot\.record nor .*before\.record verifies\. Restore"
    ):
        Snapshots(tmp_path).read()
    (tmp_path / "snapshot.before.record").unlink()
    with pytest.raises(StorageError, match="neither"):
        Snapshots(tmp_path).read()


@pytest.mark.covers("S-3")
def test_a_cloud_with_a_full_disk_keeps_both_snapshots(tmp_path):
    snapshots = Snapshots(tmp_path)
    snapshots.write(SNAPSHOT)
    snapshots.write(NEXT)
    (tmp_path / "snapshot.record.new").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"snapshot\.record cannot be written: No space"):
        snapshots.write(replace(NEXT, rounds_done=7))
    assert Snapshots(tmp_path).read() == NEXT
    (tmp_path / "snapshot.record").unlink()
    assert Snapshots(tmp_path).read().rounds_done == SNAPSHOT.rounds_done


class PowerCut(BaseException):
    """Nothing after it is done."""


@pytest.mark.covers("S-2")
def test_a_power_cut_within_a_snapshot_loses_at_most_the_round_it_was_of(tmp_path):
    rounds_seen = set()
    for step in range(1, 20):
        directory = tmp_path / str(step)
        Snapshots(directory).write(replace(SNAPSHOT, rounds_done=4))
        Snapshots(directory).write(SNAPSHOT)
        calls = 0

        def counted(original, stop_at=step):
            def call(*args, **kwargs):
                nonlocal calls
                calls += 1
                if calls >= stop_at:
                    raise PowerCut
                return original(*args, **kwargs)

            return call

        with pytest.MonkeyPatch.context() as patched:
            for owner, name in ((os, "fsync"), (Path, "replace"), (Path, "open"), (os, "open")):
                patched.setattr(owner, name, counted(getattr(owner, name)))
            try:
                Snapshots(directory).write(NEXT)
                finished = True
            except PowerCut:
                finished = False
        read = Snapshots(directory).read()
        rounds_seen.add((read.rounds_done, read.epoch))
        if finished:
            break
    assert finished
    # between the two renames the newest is missing: its predecessor counts, under a new epoch
    assert rounds_seen == {(5, 2), (5, 3), (6, 2)}
