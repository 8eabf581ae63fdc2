"""The draws against their plain definition in Python integers, and against golden numbers."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier.draws import DrawKey, draw_key, normal, permutation, uniform01, uniform16, words

GOLDEN = json.loads((Path(__file__).parent / "golden" / "draws.json").read_text())
KEY = draw_key(seed=7, path="r3.1", node="d04", tensor="delta", purpose="rounding")
CHUNK = 2**15  # what the implementation works in; edges around it are worth a test

halves = st.integers(0, 2**32 - 1)
keys = st.builds(lambda k0, k1: DrawKey(k0=k0, k1=k1), halves, halves)


def plain_word(key, index):
    h = (index * 0x9E3779B9 + key.k0) % 2**32
    h = (h ^ h >> 16) * 0x7FEB352D % 2**32
    h = (h ^ h >> 15 ^ key.k1) * 0x846CA68B % 2**32
    return h ^ h >> 16


def plain_uniform01(key, index):
    a, b = plain_word(key, 2 * index) >> 5, plain_word(key, 2 * index + 1) >> 6
    return (a * 2**26 + b) / 2**53


def golden_key(entry):
    return DrawKey(k0=entry["k0"], k1=entry["k1"])


@pytest.mark.covers("N-3")
@pytest.mark.parametrize("entry", GOLDEN["keys"], ids=lambda e: e["path"] + " " + e["node"])
def test_an_address_has_its_golden_key(entry):
    address = {k: entry[k] for k in ("seed", "path", "node", "tensor", "purpose")}
    assert draw_key(**address) == golden_key(entry)


@pytest.mark.covers("N-4")
@pytest.mark.covers("N-5")
@pytest.mark.covers("N-6")
@pytest.mark.covers("N-7")
@pytest.mark.covers("N-8")
@pytest.mark.parametrize("entry", GOLDEN["streams"], ids=lambda e: f"{e['k0']:08x}")
def test_a_stream_has_its_golden_numbers(entry):
    key, start = golden_key(entry), entry["start"]
    assert words(key, len(entry["words"]), start).tolist() == entry["words"]
    assert uniform16(key, len(entry["uniform16"]), start).tolist() == entry["uniform16"]
    assert [u.hex() for u in uniform01(key, len(entry["uniform01"])).tolist()] == entry["uniform01"]
    assert [z.hex() for z in normal(key, len(entry["normal"])).tolist()] == entry["normal"]
    assert permutation(key, len(entry["permutation"])).tolist() == entry["permutation"]


def test_a_long_stream_has_its_golden_digest():
    entry = GOLDEN["long"]
    key, count = golden_key(entry), entry["count"]
    for draw, dtype in ((words, "<u4"), (uniform16, "<u2"), (permutation, "<i8")):
        digest = hashlib.sha256(draw(key, count).astype(dtype).tobytes()).hexdigest()
        assert digest == entry[draw.__name__], draw.__name__


def test_moving_a_character_between_two_parts_of_an_address_changes_the_key():
    addresses = itertools.product(("", "a", "ab", "abc"), repeat=4)
    drawn = {
        draw_key(seed=1, path=path, node=node, tensor=tensor, purpose=purpose)
        for path, node, tensor, purpose in addresses
    }
    assert len(drawn) == 4**4


@given(key=keys, start=st.integers(0, 2**32 - 40), count=st.integers(0, 40))
def test_words_follow_their_plain_definition_at_every_index(key, start, count):
    expected = [plain_word(key, index) for index in range(start, start + count)]
    assert words(key, count, start).tolist() == expected
    assert uniform16(key, count, start).tolist() == [word >> 16 for word in expected]


@pytest.mark.parametrize("index", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_a_draw_depends_on_its_index_and_not_on_where_one_began(index):
    count = 3 * CHUNK + 5
    assert words(KEY, count)[index] == plain_word(KEY, index) == words(KEY, 1, index)[0]
    assert uniform01(KEY, count)[index] == plain_uniform01(KEY, index)
    assert uniform01(KEY, 1, index)[0] == plain_uniform01(KEY, index)


def test_no_draws_are_an_empty_array_of_the_right_type():
    assert words(KEY, 0).dtype == np.uint32
    assert uniform16(KEY, 0).dtype == np.uint16
    assert uniform01(KEY, 0).dtype == np.float64
    assert normal(KEY, 0).dtype == np.float64
    assert permutation(KEY, 0).dtype == np.int64
    assert uniform01(KEY, 0).size == normal(KEY, 0).size == permutation(KEY, 0).size == 0


@given(key=keys, count=st.integers(0, 300))
def test_a_permutation_holds_every_index_once_in_the_order_of_its_words(key, count):
    order = permutation(key, count)
    assert sorted(order.tolist()) == list(range(count))
    assert order.tolist() == sorted(range(count), key=lambda index: plain_word(key, index))


@pytest.mark.parametrize("count", [1, 2, 7, CHUNK, CHUNK + 3])
def test_fewer_normal_draws_are_the_beginning_of_more(count):
    assert np.array_equal(normal(KEY, count), normal(KEY, 2 * CHUNK)[:count])


def test_normal_draws_are_the_method_of_box_and_muller():
    count = 1000
    uniform = [plain_uniform01(KEY, index) for index in range(count)]
    expected = []
    for u, v in zip(uniform[0::2], uniform[1::2], strict=True):
        radius = math.sqrt(-2 * math.log(1 - u))
        expected += [radius * math.cos(2 * math.pi * v), radius * math.sin(2 * math.pi * v)]
    # The platform's functions and ours each err by a few 2**-53, times a radius below 9.
    np.testing.assert_allclose(normal(KEY, count), expected, rtol=0, atol=1e-14)


def test_keys_and_indices_beyond_their_bits_are_bugs():
    with pytest.raises(AssertionError):
        DrawKey(k0=2**32, k1=0)
    with pytest.raises(AssertionError):
        draw_key(seed=2**64, path="r0", node="a", purpose="rounding")
    with pytest.raises(AssertionError):
        words(KEY, 2, 2**32 - 1)
