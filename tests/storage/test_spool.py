"""The spool gives back what it was given, whole, or says that it has nothing."""

from __future__ import annotations

import hashlib
import os
import random
import struct
import threading
import tracemalloc
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier.core.intake import Held
from fedtier.errors import StorageError
from fedtier.ids import IterationPath, NodeId, RunId, hex64
from fedtier.limits import MIB
from fedtier.storage.spool import Spool
from fedtier.wire.blob import blob_digest
from fedtier.wire.manifest import UpdateManifest, encode_update

RUN, OTHER = RunId(1), RunId(2**64 - 1)
PATH = IterationPath((3, 0))
CHILD = NodeId("d1")
BLOB = bytes(range(256)) * 20


@pytest.fixture
def spool(tmp_path):
    return Spool(tmp_path / "spool")


def update_of(child, run=RUN, path=PATH, section=b"delta"):
    """An update's blob, and what a restart is to know of it."""
    manifest = UpdateManifest(
        run=run, path=path, node=child, task="train", base="ab" * 32, layout="cd" * 32, weight=3,
        codec="identity", q=0.5, figures={"s": [8, 1]},
    )  # fmt: skip
    blob = encode_update(manifest, (section,))
    return blob, Held(digest=blob_digest(blob), manifest=manifest)


def place_of(tmp_path, child="d1", path="r3.0", run=RUN):
    return tmp_path / "spool" / hex64(run) / path / child


@given(blob=st.binary(max_size=2000))
def test_an_update_comes_back(tmp_path_factory, blob):
    spool = Spool(tmp_path_factory.getbasetemp() / "spool")
    spool.put(RUN, PATH, CHILD, blob)
    assert spool.get(RUN, PATH, CHILD) == blob


def test_what_was_never_put_is_none(spool):
    assert spool.get(RUN, PATH, CHILD) is None
    assert spool.found() == {}
    spool.drop(RUN, PATH)
    spool.clear_but(RUN)


def test_a_second_answer_of_a_child_replaces_its_first(spool):
    spool.put(RUN, PATH, CHILD, BLOB)
    spool.put(RUN, PATH, CHILD, b"shorter")
    assert spool.get(RUN, PATH, CHILD) == b"shorter"


def test_a_torn_file_is_none_at_every_length(spool, tmp_path):
    spool.put(RUN, PATH, CHILD, BLOB)
    place = place_of(tmp_path)
    whole = place.read_bytes()
    for length in range(len(whole)):
        place.write_bytes(whole[:length])
        assert spool.get(RUN, PATH, CHILD) is None, length
    assert spool.found() == {}


def test_a_file_with_any_flipped_bit_is_none(spool, tmp_path):
    spool.put(RUN, PATH, CHILD, BLOB)
    place = place_of(tmp_path)
    whole = place.read_bytes()
    for index in range(len(whole)):
        damaged = bytearray(whole)
        damaged[index] ^= 1 << index % 8
        place.write_bytes(damaged)
        assert spool.get(RUN, PATH, CHILD) is None, index


def packed(blob_bytes, content):
    digest = hashlib.sha256(content).digest()
    return struct.pack("<4sI32s", b"FTS1", blob_bytes, digest) + content


@pytest.mark.parametrize("claimed", [0, 100, 2**32 - 1])
def test_a_bomb_takes_no_more_memory_than_it_admits_to(spool, tmp_path, claimed):
    place = place_of(tmp_path)
    place.parent.mkdir(parents=True)
    bomb = zlib.compress(bytes(64 * MIB), 9)
    damaged = bytearray(packed(claimed, bomb))
    if claimed == 2**32 - 1:  # it would have to be of our own making to be unpacked at all
        damaged[-1] ^= 1
    place.write_bytes(damaged)
    tracemalloc.start()
    try:
        assert spool.get(RUN, PATH, CHILD) is None
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2 * MIB


@pytest.mark.parametrize(
    "content",
    [
        b"", b"x", b"not ours", bytes(200), packed(3, b"not zlib"),
        packed(4, zlib.compress(b"abc")), packed(2, zlib.compress(b"abc")),
        packed(3, zlib.compress(b"abc")[:-1]),
    ],
)  # fmt: skip
def test_a_foreign_file_is_none(spool, tmp_path, content):
    place = place_of(tmp_path)
    place.parent.mkdir(parents=True)
    place.write_bytes(content)
    assert spool.get(RUN, PATH, CHILD) is None
    assert spool.found() == {}


def test_a_restart_finds_whole_updates_by_run_path_and_child(spool, tmp_path):
    later, second = IterationPath((3, 1)), NodeId("d2")
    known = {}
    for run, path, child in (
        (RUN, PATH, CHILD), (RUN, PATH, second), (RUN, later, CHILD), (OTHER, PATH, CHILD),
    ):  # fmt: skip
        blob, held = update_of(child, run, path)
        spool.put(run, path, child, blob)
        known.setdefault((run, path), {})[child] = held
    for foreign in ("r3.0/UPPER", "r3.0/a b", "nonsense/d1", "d1", "r3.0/d3/deeper", "r-1/d1"):
        place = tmp_path / "spool" / hex64(RUN) / foreign
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"?")
    (tmp_path / "spool" / "not a run" / "r3.0").mkdir(parents=True)
    (tmp_path / "spool" / "not a run" / "r3.0" / "d1").write_bytes(b"?")
    assert Spool(tmp_path / "spool").found() == known


def test_a_whole_file_that_holds_no_update_is_passed_over_by_name(spool, tmp_path, caplog):
    """Of another version, say: the child offers what it has, and that takes its place."""
    spool.put(RUN, PATH, CHILD, b"no update")
    assert spool.found() == {}
    (record,) = caplog.records
    assert record.file == str(place_of(tmp_path))


def test_memory_of_a_restart_does_not_grow_with_the_number_of_updates(tmp_path):
    payload_bytes = MIB

    def peak_bytes(children):
        spool = Spool(tmp_path / str(children))
        for number in range(children):
            child = NodeId(f"d{number}")
            blob, _ = update_of(child, section=random.Random(number).randbytes(payload_bytes))
            spool.put(RUN, PATH, child, blob)
        del blob
        tracemalloc.start()
        try:
            assert len(spool.found()[RUN, PATH]) == children
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    one, many = peak_bytes(1), peak_bytes(24)
    assert many < one + payload_bytes // 2  # one update more would be twice that
    assert many < 4 * payload_bytes  # the file, the blob, and the blob as zlib grows it


def test_a_closed_iteration_is_forgotten_with_those_begun_before_it(spool):
    preempted, closed, later = (IterationPath((3, n)) for n in (5, 0, 1))
    for path in (preempted, closed, later):
        spool.put(RUN, path, CHILD, BLOB)
    spool.drop(RUN, closed)
    assert spool.get(RUN, preempted, CHILD) is None
    assert spool.get(RUN, closed, CHILD) is None
    assert spool.get(RUN, later, CHILD) == BLOB


def test_an_iteration_of_an_earlier_boot_is_forgotten_too(spool, tmp_path):
    spool.put(RUN, PATH, CHILD, BLOB)
    Spool(tmp_path / "spool").drop(RUN, PATH)
    assert spool.get(RUN, PATH, CHILD) is None


def test_other_runs_are_forgotten_but_for_one_that_has_begun_meanwhile(spool, tmp_path):
    """A sum may still be under way when a new run's first update comes in."""
    Spool(tmp_path / "spool").put(RunId(7), PATH, CHILD, BLOB)  # of an earlier boot
    spool.put(RUN, PATH, CHILD, BLOB)
    spool.put(OTHER, PATH, CHILD, BLOB)
    spool.drop(RUN, PATH)
    spool.clear_but(RUN)
    assert spool.get(RunId(7), PATH, CHILD) is None
    assert spool.get(OTHER, PATH, CHILD) == BLOB


def test_an_iteration_that_is_taken_up_again_outlives_one_that_began_between(spool):
    """The sum of the one between may still run, and forgets it, when updates come in anew."""
    again, between = IterationPath((5, 0)), IterationPath((4, 0))
    spool.put(RUN, again, CHILD, b"before its preemption")
    spool.put(RUN, between, CHILD, BLOB)
    spool.put(RUN, again, CHILD, b"taken up again")
    spool.drop(RUN, between)
    assert spool.get(RUN, between, CHILD) is None
    assert spool.get(RUN, again, CHILD) == b"taken up again"


def test_updates_that_come_in_while_others_are_forgotten_are_all_kept(spool):
    """One thread forgets the same closed iteration and other runs; the other puts new ones."""
    ended, errors = threading.Event(), []

    def forget():
        try:
            while not ended.is_set():
                spool.drop(RUN, PATH)
                spool.clear_but(RUN)
        except OSError as error:
            errors.append(error)

    thread = threading.Thread(target=forget)
    thread.start()
    try:
        for number in range(300):
            spool.put(RunId(100 + number), PATH, CHILD, BLOB)
    finally:
        ended.set()
        thread.join()
    assert errors == []
    for number in range(300):
        assert spool.get(RunId(100 + number), PATH, CHILD) == BLOB


@pytest.mark.covers("S-4")
@pytest.mark.parametrize(
    "name", ["../d1", "..", ".", "a/b", "/etc/passwd", "", "A", "d1\0", "d1\n", "all"]
)
def test_no_name_leads_out_of_the_spool(spool, tmp_path, name):
    with pytest.raises(AssertionError):
        spool.put(RUN, PATH, NodeId(name), BLOB)
    with pytest.raises(AssertionError):
        spool.get(RUN, PATH, NodeId(name))
    assert list(tmp_path.rglob("*")) == []


@given(
    run=st.integers(0, 2**64 - 1),
    indices=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=8),
)
def test_no_run_or_path_leads_out_of_the_spool(run, indices):
    spool = Spool(Path("/spool"))
    place = spool._place(RunId(run), IterationPath(tuple(indices)), CHILD)
    assert len(place.parts) == 5
    assert ".." not in place.parts
    assert str(place).startswith("/spool/")


@pytest.mark.covers("S-3")
def test_a_full_disk_is_a_storage_error(spool, tmp_path):
    place = place_of(tmp_path)
    place.parent.mkdir(parents=True)
    place.symlink_to("/dev/full")
    with pytest.raises(StorageError, match="d1 cannot be written: No space left on device"):
        spool.put(RUN, PATH, CHILD, BLOB)
    assert not os.path.lexists(place), "what was written of it is gone"


def test_a_disk_that_does_not_read_is_a_storage_error(spool, tmp_path):
    place_of(tmp_path).mkdir(parents=True)
    with pytest.raises(StorageError, match="cannot be read: Is a directory"):
        spool.get(RUN, PATH, CHILD)


def test_what_compresses_takes_less_room(spool, tmp_path):
    spool.put(RUN, PATH, CHILD, bytes(100_000))
    assert place_of(tmp_path).stat().st_size < 1000
