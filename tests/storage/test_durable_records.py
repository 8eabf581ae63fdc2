"""A record is there whole or not at all, whatever happened to the disk or the process."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from fedtier.errors import EXIT_STORAGE, StorageError
from fedtier.storage import durable
from fedtier.storage.durable import encode_record, read_record, write_durably, write_record

DOCUMENT = {"run": "0123456789abcdef", "done": 3}
ARRAYS = {"blob": bytes(range(256)) * 4, "empty": b"", "other": b"x"}


def test_a_record_comes_back(tmp_path):
    place = tmp_path / "not" / "there yet" / "a.record"
    write_record(place, DOCUMENT, ARRAYS)
    assert read_record(place) == (DOCUMENT, ARRAYS)
    assert [p.name for p in place.parent.iterdir()] == ["a.record"]


def test_where_there_is_no_record_there_is_none(tmp_path):
    assert read_record(tmp_path / "a.record") is None


def test_a_torn_record_is_none_at_every_length(tmp_path):
    place = tmp_path / "a.record"
    whole = encode_record(DOCUMENT, {"blob": b"12345"})
    for length in range(len(whole)):
        place.write_bytes(whole[:length])
        assert read_record(place) is None, length
    place.write_bytes(whole + b"\0")
    assert read_record(place) is None


def test_a_record_with_any_flipped_bit_is_none_and_is_spoken_of(tmp_path, caplog):
    place = tmp_path / "a.record"
    whole = encode_record(DOCUMENT, {"blob": b"12345"})
    for index in range(len(whole)):
        damaged = bytearray(whole)
        damaged[index] ^= 1 << index % 8
        place.write_bytes(damaged)
        assert read_record(place) is None, index
    assert {r.message for r in caplog.records} == {"damaged file passed over"}
    assert caplog.records[0].file == str(place)


def test_a_file_of_another_make_is_none(tmp_path):
    place = tmp_path / "a.record"
    body = b"FTR9" + encode_record(DOCUMENT, ARRAYS)[4:-32]
    place.write_bytes(body + hashlib.sha256(body).digest())
    assert read_record(place) is None


def test_a_new_file_left_by_a_crash_is_ignored_and_replaced(tmp_path):
    place = tmp_path / "a.record"
    write_record(place, DOCUMENT, ARRAYS)
    (tmp_path / "a.record.new").write_bytes(b"half of")
    assert read_record(place) == (DOCUMENT, ARRAYS)
    write_record(place, {"done": 4}, {})
    assert read_record(place) == ({"done": 4}, {})
    assert [p.name for p in tmp_path.iterdir()] == ["a.record"]


class PowerCut(BaseException):
    """Nothing after it is done: not an error that any code may handle."""


SYSCALLS = [(os, "open"), (os, "fsync"), (os, "close"), (Path, "replace"), (Path, "open")]


def cut_power_before(step, monkeypatch):
    """Let the process end right before its step-th call to the system."""
    done = [0]

    def hooked(original):
        def call(*args, **kwargs):
            done[0] += 1
            if done[0] >= step:
                raise PowerCut
            return original(*args, **kwargs)

        return call

    for owner, name in SYSCALLS:
        monkeypatch.setattr(owner, name, hooked(getattr(owner, name)))
    return done


@pytest.mark.covers("S-1")
@pytest.mark.parametrize("before", [False, True])
def test_a_power_cut_between_any_two_calls_leaves_the_old_file_or_the_new(tmp_path, before):
    kept = tmp_path / "before"
    seen = set()
    for step in range(1, 20):
        place = tmp_path / "a"
        place.write_bytes(b"old")
        kept.unlink(missing_ok=True)
        with pytest.MonkeyPatch.context() as patched:
            done = cut_power_before(step, patched)
            try:
                write_durably(place, b"new", before=kept if before else None)
                finished = True
            except PowerCut:
                finished = False
        # What a file holds after its fsync is on the disk; what was renamed before it is.
        found = place.read_bytes() if place.exists() else None
        assert found in ((b"old", b"new", None) if before else (b"old", b"new"))
        if found is None:
            assert kept.read_bytes() == b"old"
        seen.add(found)
        if finished:
            assert done[0] == step - 1
            break
    assert finished
    assert found == b"new"
    assert seen == ({b"old", b"new", None} if before else {b"old", b"new"})


def test_bytes_reach_the_disk_before_the_name_and_the_name_before_the_return(tmp_path, monkeypatch):
    order = []
    replace, fsync = Path.replace, os.fsync

    def spy_replace(self, target):
        order.append(f"rename to {Path(target).name}")
        return replace(self, target)

    def spy_fsync(descriptor):
        order.append("sync " + Path(f"/proc/self/fd/{descriptor}").readlink().name)
        fsync(descriptor)

    monkeypatch.setattr(Path, "replace", spy_replace)
    monkeypatch.setattr(os, "fsync", spy_fsync)
    write_durably(tmp_path / "a", b"data")
    assert order == ["sync a.new", "rename to a", f"sync {tmp_path.name}"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
def test_a_disk_that_fails_is_named_with_what_to_do_and_the_old_file_stays(
    tmp_path, monkeypatch, failing
):
    place = tmp_path / "a.record"
    write_record(place, DOCUMENT, ARRAYS)

    def fail(*args):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Path if failing == "replace" else os, failing, fail)
    with pytest.raises(StorageError, match=r"a\.record cannot be written: Input/output error"):
        write_record(place, {"done": 4}, {})
    assert read_record(place) == (DOCUMENT, ARRAYS)
    assert [p.name for p in tmp_path.iterdir()] == ["a.record"]


@pytest.mark.covers("S-3")
def test_a_full_disk_is_a_storage_error_that_says_what_to_do(tmp_path):
    # /dev/full takes every open and fails every write, as a full disk does
    (tmp_path / "a.record.new").symlink_to("/dev/full")
    with pytest.raises(StorageError) as caught:
        write_record(tmp_path / "a.record", DOCUMENT, ARRAYS)
    message = str(caught.value)
    assert str(tmp_path / "a.record") in message
    assert "No space left on device" in message
    assert "Free space" in message
    assert caught.value.exit_code == EXIT_STORAGE
    assert list(tmp_path.iterdir()) == []  # nothing half written is left to fill it


def test_a_directory_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot be written"):
        write_record(tmp_path / "file" / "a.record", DOCUMENT, ARRAYS)


def test_a_record_that_cannot_be_read_is_a_storage_error_and_not_an_absent_one(tmp_path):
    (tmp_path / "a.record").mkdir()
    with pytest.raises(StorageError, match=r"a\.record cannot be read: Is a directory"):
        read_record(tmp_path / "a.record")


def test_the_error_of_the_disk_is_told_even_without_its_words():
    error = durable.storage_error(Path("/x"), "read", OSError("odd"))
    assert "odd" in str(error)
