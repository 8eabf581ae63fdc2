"""What was written comes back, in little more than its entropy; anything else is refused."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fedtier.errors import WireError
from fedtier.quantize.rans import VALUE_MAX, decode_integers, encode_integers

GOLDEN = (120, "aaea96ba5ecb9d71")
small = st.integers(-3, 3)
any_value = st.integers(-VALUE_MAX, VALUE_MAX)
values = st.lists(st.one_of(small, any_value), min_size=1, max_size=300)


def entropy_bits(some):
    """The order-0 entropy of all of them together."""
    _, counts = np.unique(some, return_counts=True)
    return float(counts @ -np.log2(counts / counts.sum()))


def rounded(x, step, *, seed=0):
    """Whole numbers of steps, rounded at random."""
    z = x / step
    down = np.floor(z)
    return (down + (np.random.default_rng(seed).random(z.size) < z - down)).astype(np.int64)


def heavy_tailed(rng, count):
    x = rng.normal(size=count) * np.exp(1.5 * rng.normal(size=count))
    return x / x.std()


def with_zeros(rng, count):
    return rng.normal(size=count) * (rng.random(count) < 0.4)


DRAWN = {"normal": lambda rng, count: rng.normal(size=count), "heavy": heavy_tailed,
         "zeros": with_zeros}  # fmt: skip


@pytest.mark.covers("N-23")
@given(values)
@example([0])
@example([VALUE_MAX, -VALUE_MAX])
@example([7] * 300)
@example([0] * 299 + [VALUE_MAX])
@example(list(range(-150, 150)))
def test_what_was_written_comes_back(some):
    written = encode_integers(np.array(some, np.int64))
    read = decode_integers(memoryview(written), len(some))
    assert read.dtype == np.int64
    assert read.tolist() == some


@pytest.mark.parametrize("kind", DRAWN)
@pytest.mark.parametrize("step", [8, 2, 0.5])
@pytest.mark.parametrize("count", [24_807, 100_003])
def test_the_length_is_within_3_percent_of_the_order_0_entropy_and_its_table(kind, step, count):
    some = rounded(DRAWN[kind](np.random.default_rng(count), count), step)
    written = encode_integers(some)
    assert np.array_equal(decode_integers(written, count), some)
    # The entropy knows how often each value occurs; the message must say it, in a byte or so for
    # each value that occurs more than a few times.
    table_bits = 8 * np.count_nonzero(np.unique(some, return_counts=True)[1] > 3)
    assert entropy_bits(some) <= 8 * len(written) <= 1.03 * entropy_bits(some) + table_bits


def test_equal_values_take_a_few_bytes_however_many_they_are():
    assert len(encode_integers(np.zeros(10**6, np.int8))) < 20


def test_a_type_of_any_width_is_taken():
    some = [-3, 0, 2, 2, 0]
    for dtype in (np.int8, np.int16, np.int32, np.int64):
        assert decode_integers(encode_integers(np.array(some, dtype)), 5).tolist() == some


def message(count=400):
    rng = np.random.default_rng(3)
    some = rounded(heavy_tailed(rng, count), 0.5)
    some[7] = 10**6
    return some, encode_integers(some)


@pytest.mark.covers("N-23")
def test_the_bytes_are_these():
    """Golden: other implementations must write the same."""
    _, written = message()
    assert (len(written), hashlib.sha256(written).hexdigest()[:16]) == GOLDEN


@pytest.mark.covers("N-23")
@given(data=st.data())
def test_a_message_that_was_cut_or_lengthened_is_refused(data):
    some, written = message()
    cut = data.draw(st.integers(0, len(written) - 1))
    with pytest.raises(WireError, match="rans"):
        decode_integers(written[:cut], some.size)
    more = data.draw(st.binary(min_size=1, max_size=9))
    with pytest.raises(WireError, match="rans"):
        decode_integers(written + more, some.size)


@given(data=st.data())
def test_changed_bytes_raise_no_other_error_and_give_no_other_count(data):
    some, written = message()
    changed = bytearray(written)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        read = decode_integers(bytes(changed), some.size)
    except WireError:
        return
    assert read.size == some.size
    assert abs(read).max() <= VALUE_MAX


@given(st.binary(max_size=200), st.integers(1, 1000))
def test_any_bytes_at_all_raise_no_other_error(data, count):
    try:
        read = decode_integers(data, count)
    except WireError:
        return
    assert read.size == count


@pytest.mark.parametrize(
    ("bytes_", "why"),
    [
        (b"", "end in the number of lanes"),
        (b"\x0d", "number of lanes is 13, at most 12"),
        (b"\x00\x00\x00\x00", "0 symbols from 0 on"),
        (b"\x00\x00\x01\x00\x80\x80\x01\x01", "frequencies of 16385/16384"),
        (b"\x00\x00\x01\x05", "number of escapes is 5, at most 4"),
        (b"\x00\xff\xff\xff\xff\xff\x01", "lowest value has more than 5 bytes"),
        (b"\x00\xfe\xff\xff\xff\x0f\x02\x00", "2 symbols from 2147483647 on"),
        (b"\x00\x00\x01\x00\x80\x80\x01\x00", "0 bytes for 1 states"),
        (b"\x00\x00\x01\x00\x80\x80\x01\x00" + bytes(4), "a state below"),
        (b"\x00\x00\x01\x00\x80\x80\x01\x00" + b"\0\0\1\0\0\0", "0 of 1 words"),
    ],
)
def test_a_refusal_says_what_is_wrong(bytes_, why):
    with pytest.raises(WireError, match=why):
        decode_integers(bytes_, 4)
