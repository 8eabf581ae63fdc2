"""Packed codes: every width, against the definition by one large integer."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier.errors import WireError
from fedtier.quantize.bitpack import pack, packed_bytes, unpack

CHUNK = 2**15


def plain_pack(codes, width):
    stream = sum(code << index * width for index, code in enumerate(codes))
    return stream.to_bytes(-(-len(codes) * width // 8), "little")


def codes_of(width, **sizes):
    return st.lists(st.integers(0, 2**width - 1), **sizes)


widths = pytest.mark.parametrize("width", range(1, 17))


@pytest.mark.covers("N-11")
@widths
@given(data=st.data())
def test_packing_is_its_definition_and_unpacking_undoes_it(width, data):
    codes = data.draw(codes_of(width, max_size=40))
    packed = pack(np.array(codes, np.uint16), width)
    assert packed == plain_pack(codes, width)
    assert len(packed) == packed_bytes(width, len(codes))
    assert unpack(packed, width, len(codes)).tolist() == codes
    assert unpack(memoryview(packed), width, len(codes)).dtype == np.uint16


@widths
@pytest.mark.parametrize("count", [CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 9])
def test_long_codes_come_back_across_the_edges_of_chunks(width, count):
    codes = np.random.default_rng(count).integers(0, 2**width, count).astype(np.uint16)
    packed = pack(codes, width)
    assert np.array_equal(unpack(packed, width, count), codes)
    # No gap at the edge of a chunk: eight codes less are `width` bytes less.
    assert pack(codes[8:], width) == packed[width:]


def test_the_examples_of_the_protocol():
    assert pack(np.array([1, 2, 3], np.uint16), 4).hex() == "2103"
    assert pack(np.array([5, 6, 1], np.uint16), 3).hex() == "7500"
    assert pack(np.array([0x1234], np.uint16), 16).hex() == "3412"


@widths
@given(data=st.data())
def test_any_other_length_is_refused(width, data):
    count = data.draw(st.integers(0, 20))
    length = data.draw(st.integers(0, 50).filter(lambda n: n != packed_bytes(width, count)))
    with pytest.raises(WireError, match=f"expected {packed_bytes(width, count)}"):
        unpack(bytes(length), width, count)


@widths
@given(data=st.data())
def test_arbitrary_bytes_are_either_the_packing_of_their_codes_or_refused(width, data):
    count = data.draw(st.integers(0, 20))
    length = packed_bytes(width, count)
    raw = data.draw(st.binary(min_size=length, max_size=length))
    try:
        codes = unpack(raw, width, count)
    except WireError:
        assert int.from_bytes(raw, "little") >> count * width
    else:
        assert pack(codes, width) == raw


def test_a_code_wider_than_its_field_is_a_bug():
    with pytest.raises(AssertionError):
        pack(np.array([8], np.uint16), 3)
