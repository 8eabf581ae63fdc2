"""Bytes from strangers: whatever they are, they are read or refused, in bounded memory."""

from __future__ import annotations

import struct
import tracemalloc
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_golden_messages import READ
from wire_examples import EXAMPLES, MODEL_BLOB, MODEL_PART, UPDATE_BLOB, UPDATE_PART

from fedtier.errors import WireError
from fedtier.limits import BLOB_BYTES_MAX, KIB, MIB
from fedtier.wire.blob import decode_blob
from fedtier.wire.manifest import decode_model, decode_update, peek_update
from fedtier.wire.parts import Incoming, Part

MUTATIONS = 400  # per example and seed


def read_or_refuse(name, data):
    try:
        return READ[name][0](data)
    except WireError:
        return None


@pytest.mark.parametrize("name", EXAMPLES)
def test_every_beginning_of_a_message_is_refused(name):
    data = EXAMPLES[name]
    for length in range(len(data)):
        if name.endswith("part.hex") and length > 104:
            continue  # a shorter payload fails by its CRC: see below
        with pytest.raises(WireError):
            READ[name][0](data[:length])


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", EXAMPLES)
def test_random_damage_is_refused_or_read_as_something_of_the_kind(name, seed):
    random = Random(f"{name} {seed}")
    original = EXAMPLES[name]
    for _ in range(MUTATIONS):
        data = bytearray(original)
        for _ in range(random.choice((1, 1, 2, 8))):
            place = random.randrange(len(data))
            match random.randrange(5):
                case 0:
                    data[place] ^= 1 << random.randrange(8)
                case 1:
                    data[place] = random.choice(b'\x00\xff"{}[],:0919eE-+\\u')
                case 2:
                    del data[place : place + random.randrange(1, 9)]
                case 3:
                    data[place:place] = data[: random.randrange(1, 40)]
                case 4:
                    data += random.randbytes(random.randrange(1, 9))
            if not data:
                break
        read_or_refuse(name, bytes(data))


@given(data=st.binary(max_size=300))
def test_any_bytes_are_refused_or_read(data):
    for name in EXAMPLES:
        read_or_refuse(name, data)


@pytest.mark.covers("W-9")
@pytest.mark.parametrize("kind", ["update", "model"])
def test_any_flipped_bit_of_a_parts_payload_is_refused(kind):
    part = UPDATE_PART if kind == "update" else MODEL_PART
    data = part.encode()
    for place in range(len(data) - len(part.payload), len(data)):
        damaged = bytearray(data)
        damaged[place] ^= 1 << place % 8
        with pytest.raises(WireError, match="wrong CRC"):
            Part.decode(bytes(damaged), kind=kind)


@pytest.mark.covers("W-8")
@pytest.mark.parametrize(
    ("where", "fmt", "value"),
    [
        (0, "<I", 0), (4, "<B", 2), (4, "<B", 0), (5, "<B", 0), (5, "<B", 9), (5, "<B", 255),
        (6, "<H", 1), (64, "<I", 3), (64, "<I", 2**32 - 1), (68, "<I", 0), (68, "<I", 2),
        (72, "<Q", 2**64 - 1), (72, "<Q", 7945), (80, "<Q", 2**32), (80, "<Q", 2**64 - 1),
        (80, "<Q", 0),
    ],
)  # fmt: skip
def test_a_part_whose_numbers_contradict_each_other_is_refused(where, fmt, value):
    data = bytearray(UPDATE_PART.encode())
    struct.pack_into(fmt, data, where, value)
    with pytest.raises(WireError):
        Part.decode(bytes(data), kind="update")


def test_a_part_is_of_the_kind_its_topic_says():
    with pytest.raises(WireError, match="no part of the kind 'model'"):
        Part.decode(UPDATE_PART.encode(), kind="model")
    with pytest.raises(WireError, match="no part of the kind 'update'"):
        Part.decode(MODEL_PART.encode(), kind="update")


def test_a_part_without_payload_or_with_too_much_is_refused():
    for payload in (b"", bytes(MIB + 1)):
        part = Part(
            kind="update", run=1, epoch=0, path=UPDATE_PART.path, nonce=1, seq=1, digest="00" * 32,
            part=0, parts=1, offset=0, total=2 * MIB, payload=payload,
        )  # fmt: skip
        with pytest.raises(WireError, match="bytes of payload"):
            Part.decode(part.encode(), kind="update")


@pytest.mark.covers("W-5")
@pytest.mark.parametrize(
    ("where", "fmt", "value"),
    [
        (0, "<B", 0), (4, "<B", 2), (4, "<B", 9), (5, "<B", 1), (6, "<H", 65), (6, "<H", 65535),
        (6, "<H", 1), (6, "<H", 3), (8, "<I", 3073), (8, "<I", 2**32 - 1), (8, "<I", 0),
        (12, "<Q", 2**32 - 1), (12, "<Q", 2**64 - 1), (12, "<Q", 0), (12, "<Q", 516),
        (20, "<Q", 0), (20, "<Q", 2**64 - 1), (20, "<Q", 0x1B0), (28, "<Q", 65), (28, "<Q", 3),
        (28, "<Q", 2**64 - 1), (36, "<Q", 0x1C0), (44, "<Q", 4), (44, "<Q", 2), (0x1B0, "<B", 1),
        (0x1FF, "<B", 7),
    ],
)  # fmt: skip
def test_a_blob_whose_numbers_contradict_each_other_is_refused(where, fmt, value):
    data = bytearray(UPDATE_BLOB)
    struct.pack_into(fmt, data, where, value)
    with pytest.raises(WireError):
        decode_update(bytes(data))


def test_a_blob_of_the_other_kind_is_refused():
    with pytest.raises(WireError, match="where a update belongs"):
        decode_blob(MODEL_BLOB, kind="update")
    with pytest.raises(WireError, match="where a model belongs"):
        decode_model(UPDATE_BLOB)


def test_a_first_part_that_ends_within_the_manifest_is_refused():
    with pytest.raises(WireError, match="before the manifest does"):
        peek_update(UPDATE_BLOB[:0x1AA])


@pytest.mark.covers("T-9")
def test_no_memory_is_taken_on_the_word_of_a_stranger():
    # 64 KiB of objects are allowed for; what is claimed ranges up to 4 GiB.
    claims = bytearray(UPDATE_BLOB)
    struct.pack_into("<Q", claims, 12, BLOB_BYTES_MAX)
    struct.pack_into("<I", claims, 8, 2**32 - 1)
    tracemalloc.start()
    try:
        for total, parts, bytes_max in [
            (BLOB_BYTES_MAX, 1, 10_000), (BLOB_BYTES_MAX, 2**32 - 1, 10_000),
            (MIB, MIB, MIB), (MIB, 2**32 - 1, MIB), (8 * MIB, 2200, 8 * MIB), (0, 1, MIB),
            (1, 0, MIB), (1, 2, MIB),
        ]:  # fmt: skip
            with pytest.raises(WireError):
                Incoming(digest="00" * 32, total=total, parts=parts, bytes_max=bytes_max)
        for decode in (decode_update, peek_update):
            with pytest.raises(WireError):
                decode(bytes(claims))
        part = Part(
            kind="update", run=1, epoch=0, path=UPDATE_PART.path, nonce=1, seq=1, digest="00" * 32,
            part=0, parts=2**32 - 1, offset=0, total=BLOB_BYTES_MAX, payload=b"x",
        )  # fmt: skip
        assert Part.decode(part.encode(), kind="update") == part  # believed, and nothing more
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 64 * KIB
