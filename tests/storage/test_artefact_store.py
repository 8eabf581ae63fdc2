"""Parts of an artefact on its way are there after a restart, but for those that are not whole."""

from __future__ import annotations

import os

import pytest

from fedtier.errors import StorageError
from fedtier.ids import BootNonce, IterationPath, RunId
from fedtier.limits import PART_BYTES_MIN
from fedtier.storage.artefact_store import ArtefactStore
from fedtier.wire.parts import Outgoing

ADDRESS = {
    "run": RunId(1), "epoch": 0, "path": IterationPath((0,)), "nonce": BootNonce(2), "seq": 1,
}  # fmt: skip
BLOB = bytes(range(256)) * 80  # of 20 KiB, in six parts


def parts_of(blob=BLOB):
    out = Outgoing(blob, kind="artefact", part_bytes=PART_BYTES_MIN)
    return [out.part(index, **ADDRESS) for index in range(out.parts)]


@pytest.fixture
def store(tmp_path):
    return ArtefactStore(tmp_path)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "artefact.parts"


def save(store, parts):
    for number, part in enumerate(parts):
        store.save_part(part, afresh=number == 0)


def saved(store):
    return [part.part for part in store.saved_parts()]


def test_parts_come_back_as_they_were_saved(store):
    parts = parts_of()
    assert store.saved_parts() == []
    save(store, parts[2:5])
    assert store.saved_parts() == parts[2:5]
    store.save_part(parts[0], afresh=False)
    assert saved(store) == [2, 3, 4, 0]


def test_those_of_another_artefact_take_their_place(store):
    save(store, parts_of()[:3])
    save(store, parts_of(BLOB[::-1])[4:])
    assert saved(store) == [4, 5]


def test_they_make_room_for_the_whole(store, file):
    save(store, parts_of()[:3])
    store.put("ab" * 32, BLOB)
    assert not file.exists()
    assert store.get() == ("ab" * 32, BLOB)


def test_a_save_writes_the_part_and_its_length_and_nothing_else(store, file):
    """What an SD card must take: here 96 bytes of header and 4 of length for each part."""
    parts = parts_of()
    save(store, parts)
    assert file.stat().st_size == len(BLOB) + len(parts) * (96 + 4)


@pytest.mark.parametrize("lost", [1, 50, 4000, 4071])
def test_a_torn_end_is_cut_off_and_what_follows_is_read_again(store, file, lost):
    parts = parts_of()
    save(store, parts[:3])
    os.truncate(file, file.stat().st_size - lost)
    assert saved(store) == [0, 1]
    store.save_part(parts[3], afresh=False)
    assert saved(store) == [0, 1, 3]


@pytest.mark.parametrize("place", [0, 2, 40, 200])
def test_nothing_behind_a_damaged_part_is_believed(store, file, place):
    parts = parts_of()
    save(store, parts[:1])
    first = file.stat().st_size
    save(store, parts[:4])
    data = bytearray(file.read_bytes())
    data[first + place] ^= 0x80
    file.write_bytes(data)
    found = store.saved_parts()
    if place == 40:  # in the digest of the whole, which no CRC covers: the machine compares it
        assert [part.digest == parts[0].digest for part in found] == [True, False, True, True]
    else:
        assert found == parts[:1]
        assert file.stat().st_size == first


def test_zeros_of_a_power_cut_are_no_part(store, file):
    save(store, parts_of()[:2])
    with file.open("ab") as end:
        end.write(bytes(9000))
    assert saved(store) == [0, 1]


def test_a_full_disk_is_told_and_not_left_full(tmp_path):
    directory = tmp_path / "state"
    directory.mkdir()
    (directory / "artefact.parts").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"artefact\.parts cannot be written: No space left"):
        ArtefactStore(directory).save_part(parts_of()[0], afresh=True)
    assert os.listdir(directory) == []  # noqa: PTH208
