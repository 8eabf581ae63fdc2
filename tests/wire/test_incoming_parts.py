"""A blob comes together from its parts in any order, with repeats, in slices of any one length."""

from __future__ import annotations

import dataclasses
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_examples import PATH

from fedtier.errors import WireError
from fedtier.limits import PART_BYTES_MAX, PART_BYTES_MIN
from fedtier.wire.blob import blob_digest
from fedtier.wire.parts import (
    HEADER_BYTES_MAX,
    Incoming,
    Outgoing,
    Part,
    count_parts,
    slice_bytes,
)

WHERE = {"run": 1, "epoch": 0, "path": PATH, "nonce": 2, "seq": 3}
BLOB = Random(1).randbytes(20_000)


def cut(blob, part_bytes=PART_BYTES_MIN):
    outgoing = Outgoing(blob, kind="update", part_bytes=part_bytes)
    return [outgoing.part(index, **WHERE) for index in range(outgoing.parts)]


def slot_for(parts, bytes_max=10**6):
    first = parts[0]
    return Incoming(digest=first.digest, total=first.total, parts=first.parts, bytes_max=bytes_max)


@pytest.mark.covers("T-8")
@given(
    length=st.integers(1, 40_000),
    part_bytes=st.integers(PART_BYTES_MIN, 3 * PART_BYTES_MIN),
    data=st.data(),
)
def test_any_order_with_repeats_gives_the_blob(length, part_bytes, data):
    blob = Random(length).randbytes(length)
    parts = cut(blob, part_bytes)
    slot = slot_for(parts)
    order = data.draw(st.permutations([*parts, *parts[:3]]))
    new = [slot.add(part) for part in order]
    assert sum(new) == len(parts)
    assert slot.complete
    assert slot.take() == blob


def test_what_is_missing_is_known_at_every_moment():
    parts = cut(BLOB)
    assert len(parts) == 6
    slot = slot_for(parts)
    for index in (4, 0, 2):
        assert slot.add(parts[index])
        assert not slot.add(parts[index])
    assert slot.missing(16) == (1, 3, 5)
    assert slot.missing(2) == (1, 3)
    assert not slot.complete


def test_the_last_part_may_come_first_and_tells_the_length_of_the_others():
    parts = cut(BLOB)
    slot = slot_for(parts)
    for part in reversed(parts):
        assert slot.add(part)
    assert slot.take() == BLOB


@pytest.mark.parametrize("field", ["digest", "total", "parts"])
def test_a_part_of_another_blob_is_refused(field):
    parts = cut(BLOB)
    slot = slot_for(parts)
    other = {"digest": "00" * 32, "total": 20_001, "parts": 7}[field]
    with pytest.raises(WireError, match="belongs to another blob"):
        slot.add(dataclasses.replace(parts[0], **{field: other}))


def wrong(part, **changes):
    return dataclasses.replace(part, **changes)


WRONG = {
    "shorter": lambda p: wrong(p[1], payload=p[1].payload[:-1]),
    "longer": lambda p: wrong(p[1], payload=bytes(p[1].payload) + b"x"),
    "elsewhere": lambda p: wrong(p[1], offset=p[1].offset + 1),
    "at the start": lambda p: wrong(p[1], offset=0),
    "last too short": lambda p: wrong(p[5], payload=p[5].payload[:-1]),
    "last elsewhere": lambda p: wrong(p[5], offset=p[5].offset + 1),
    "last at the start": lambda p: wrong(p[5], offset=0),
    "one byte each": lambda p: wrong(p[1], payload=b"x", offset=1),
    "all in one": lambda p: wrong(p[0], payload=BLOB),
}


@pytest.mark.covers("T-8")
@pytest.mark.parametrize("damage", WRONG.values(), ids=WRONG)
def test_a_part_that_does_not_fit_is_refused_and_spoils_nothing(damage):
    parts = cut(BLOB)
    slot = slot_for(parts)
    bad = damage(parts)
    with pytest.raises(WireError):
        slot.add(bad)
    for part in parts[:3]:
        slot.add(part)
    if bad.part in slot.missing(100):
        with pytest.raises(WireError):
            slot.add(bad)
    for part in parts:
        slot.add(part)
    assert slot.take() == BLOB


def test_slices_of_two_lengths_do_not_mix_though_their_number_is_the_same():
    # 10,000 bytes are three parts of 4,000 as well as of 4,500
    blob = BLOB[:10_000]
    small, large = cut(blob, 4000 + HEADER_BYTES_MAX), cut(blob, 4500 + HEADER_BYTES_MAX)
    assert len(small) == len(large) == 3
    slot = slot_for(small)
    slot.add(small[0])
    for part in large[1:]:
        with pytest.raises(WireError):
            slot.add(part)
    slot.add(small[2])
    slot.add(small[1])
    assert slot.take() == blob


@pytest.mark.covers("T-10")
def test_a_whole_blob_that_is_not_the_announced_one_is_refused():
    parts = cut(BLOB)
    slot = slot_for(parts)
    for part in parts[:-1]:
        slot.add(part)
    slot.add(dataclasses.replace(parts[-1], payload=bytes(len(parts[-1].payload))))
    with pytest.raises(WireError, match="does not have the announced digest"):
        slot.take()


@pytest.mark.covers("T-9")
@pytest.mark.parametrize("total", [1, 3972, 3973, 10**6, 2**30])
def test_no_more_parts_are_expected_than_the_smallest_part_size_makes(total):
    most = count_parts(total, PART_BYTES_MIN)
    with pytest.raises(WireError, match=f"1 to {most} parts"):
        Incoming(digest="00" * 32, total=total, parts=most + 1, bytes_max=total)
    if total <= 10**6:
        Incoming(digest="00" * 32, total=total, parts=most, bytes_max=total)


@pytest.mark.covers("T-7")
@given(length=st.integers(1, 3 * 10**6), part_bytes=st.sampled_from([4096, 65_536, PART_BYTES_MAX]))
def test_no_part_is_larger_on_the_wire_than_was_configured(length, part_bytes):
    outgoing = Outgoing(bytes(length), kind="model", part_bytes=part_bytes)
    assert outgoing.parts == count_parts(length, part_bytes)
    last = outgoing.parts - 1
    sizes = [len(outgoing.part(index, **WHERE).encode()) for index in {0, last}]
    assert max(sizes) <= part_bytes
    assert last * slice_bytes(part_bytes) < length <= outgoing.parts * slice_bytes(part_bytes)
    assert outgoing.digest == blob_digest(bytes(length))


def test_a_part_comes_back_from_its_bytes_without_a_copy_of_its_payload():
    part = cut(BLOB)[3]
    decoded = Part.decode(part.encode(), kind="update")
    assert decoded == part
    assert isinstance(decoded.payload, memoryview)
