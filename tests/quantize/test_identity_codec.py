"""The codec that changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedtier.draws import DrawKey
from fedtier.errors import UpdateError, WireError
from fedtier.quantize import Codec, Identity

CODEC: Codec = Identity()
KEY = DrawKey(k0=1, k1=2)
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


@pytest.mark.covers("N-12")
@given(delta=hnp.arrays(np.float32, st.integers(1, 20), elements=finite))
def test_what_is_written_is_read_to_the_bit(delta):
    encoded = CODEC.encode(delta, KEY)
    assert CODEC.decode(encoded.sections, delta.size).tobytes() == delta.tobytes()
    assert encoded.q == 0 == CODEC.q_bound(delta.size)
    assert sum(len(section) for section in encoded.sections) == CODEC.payload_bytes(delta.size)
    assert encoded.norm == pytest.approx(float(np.linalg.norm(delta.astype(np.float64))), rel=1e-12)


def test_coordinates_are_little_endian_float32():
    encoded = CODEC.encode(np.array([1, -2], np.float32), KEY)
    assert [section.hex() for section in encoded.sections] == ["0000803f000000c0"]


def test_a_decoded_delta_can_be_written_to():
    CODEC.decode([bytes(8)], 2)[0] = 1


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_neither_sent_nor_taken(bad):
    delta = np.array([0, bad], np.float32)
    with pytest.raises(UpdateError, match="NaN or infinity"):
        CODEC.encode(delta, KEY)
    with pytest.raises(UpdateError, match="NaN or infinity"):
        CODEC.decode([delta.tobytes()], 2)


@pytest.mark.parametrize("delta", [np.zeros(2), np.zeros((1, 2), np.float32), np.zeros(0, "f4")])
def test_a_delta_of_another_type_or_shape_is_refused(delta):
    with pytest.raises(UpdateError, match="float32"):
        CODEC.encode(delta, KEY)


@pytest.mark.parametrize("sections", [[], [bytes(7)], [bytes(9)], [bytes(8), b""]])
def test_sections_of_another_number_or_length_are_refused(sections):
    with pytest.raises(WireError, match=r"expected \[8\]"):
        CODEC.decode(sections, 2)


def test_its_name_and_text():
    assert (CODEC.name, CODEC.text) == ("identity", "identity")
