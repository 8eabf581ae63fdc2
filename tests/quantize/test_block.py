"""Blocks: what is written is that of ``Levels`` with another scale; tests of that are QSGD's."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rounding import sampled

from fedtier.draws import DrawKey, draw_key, uniform16
from fedtier.errors import UpdateError
from fedtier.quantize import Block, Codec, Qsgd, block_q_bound

KEY = draw_key(seed=7, path="r3.1", node="d04", tensor="delta", purpose="rounding")
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
ordinary = st.floats(-64, 64, width=32)
codecs = st.builds(
    lambda bits, bucket: Block(bits=bits, bucket=bucket), st.integers(2, 16), st.integers(1, 9)
)


def deltas(elements=ordinary, size_max=25):
    return hnp.arrays(np.float32, st.integers(1, size_max), elements=elements)


def scales_of(encoded, codec, size):
    return np.repeat(np.frombuffer(encoded.sections[0], "<f4"), codec.bucket)[:size]


@pytest.mark.covers("N-20")
@given(delta=deltas(finite), codec=codecs)
def test_the_scale_of_a_block_is_its_largest_magnitude(delta, codec):
    encoded = codec.encode(delta, KEY)
    blocks = [delta[i : i + codec.bucket] for i in range(0, delta.size, codec.bucket)]
    assert np.frombuffer(encoded.sections[0], "<f4").tolist() == [abs(b).max() for b in blocks]
    assert sum(len(section) for section in encoded.sections) == codec.payload_bytes(delta.size)


@pytest.mark.covers("N-20")
@given(delta=deltas(finite), codec=codecs)
def test_no_coordinate_moves_a_whole_step_and_the_largest_not_at_all(delta, codec):
    encoded = codec.encode(delta, KEY)
    decoded = codec.decode(encoded.sections, delta.size)
    scales = scales_of(encoded, codec, delta.size)
    # A step, and the roundings of four float32 operations on numbers of at most the scale.
    allowed = scales.astype(float) * (1 / codec.levels + 4 * 2.0**-24) + 4 * 2.0**-149
    assert (abs(decoded - delta.astype(float)) <= allowed).all()
    largest = abs(delta) == scales
    assert decoded[largest].tolist() == delta[largest].tolist()


@pytest.mark.covers("N-20")
@given(delta=deltas(), codec=codecs)
def test_q_is_within_its_bound(delta, codec):
    q = codec.encode(delta, KEY).q
    # u carries float32 roundings, worth 2**-22 s steps; a step is worth 1 / s**2 in q, d times.
    assert 0 <= q <= codec.q_bound(delta.size) + delta.size * 2.0**-20 / codec.levels


@pytest.mark.parametrize(("bits", "count"), [(2, 8), (2, 65), (4, 512)])
def test_the_bound_is_attained(bits, count):
    codec = Block(bits=bits, bucket=count)
    s = codec.levels
    u = s / (math.sqrt(s**2 + count - 1) + s)
    delta = np.full(count, u, np.float32)
    delta[count // 2] = -s
    assert codec.encode(delta, KEY).q == pytest.approx(block_q_bound(count, s), rel=1e-5)


@given(st.integers(1, 10**6), st.integers(1, 32767))
def test_the_bound_grows_with_the_block_and_falls_with_the_levels(count, levels):
    assert block_q_bound(1, levels) == 0
    assert block_q_bound(count, levels) <= block_q_bound(count + 1, levels)
    assert block_q_bound(count, levels + 1) <= block_q_bound(count, levels)
    assert block_q_bound(count, levels) <= min(count / (4 * levels**2), math.sqrt(count) / levels)


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_rounding_is_unbiased_and_its_exact_q_is_what_is_sampled(bits):
    rng = np.random.default_rng(1)
    delta = (rng.normal(size=4096) * np.exp(1.5 * rng.normal(size=4096))).astype(np.float32)
    codec, draws = Block(bits=bits, bucket=128), 400
    mean, error, encoded = sampled(codec, delta, draws=draws)
    # 400 draws of some hundreds of effective coordinates: a deviation below .7 %.
    assert error == pytest.approx(encoded.q, rel=0.02)
    # A coordinate's standard deviation is at most half a step; six of those of the mean.
    step = scales_of(encoded, codec, delta.size) / codec.levels
    assert (abs(mean - delta) <= 6 * step / 2 / math.sqrt(draws)).all()


@pytest.mark.covers("N-20")
def test_a_delta_has_its_golden_bytes():
    delta = np.array([3, -4, 0, 0.5, 1e-30, 0, 0, -2e-30, 0], np.float32)
    encoded = Block(bits=4, bucket=4).encode(delta, DrawKey(k0=3196202977, k1=4175038180))
    assert [section.hex() for section in encoded.sections] == GOLDEN
    source = DrawKey(k0=1, k1=2)
    long = (uniform16(source, 70_001).astype(np.float32) - 32768) / np.float32(2**20)
    sections = Block(bits=8).encode(long, source).sections
    assert [hashlib.sha256(section).hexdigest()[:16] for section in sections] == GOLDEN_LONG


GOLDEN = ["000080406042220e00000000", "0d877b0707"]
GOLDEN_LONG = ["50a42ce9bde43078", "7bd67cc2670927a9"]


def test_with_a_block_to_a_coordinate_it_is_float32():
    delta = np.random.default_rng(2).normal(size=100).astype(np.float32)
    codec = Block(bits=2, bucket=1)
    encoded = codec.encode(delta, KEY)
    assert encoded.q == 0
    assert codec.decode(encoded.sections, 100).tolist() == delta.tolist()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_refused(value):
    delta = np.array([1, value, 2], np.float32)
    with pytest.raises(UpdateError, match=r"block\(bits=8,bucket=512\): the delta holds NaN or"):
        Block(bits=8).encode(delta, KEY)


def test_the_largest_float32_is_no_norm_that_exceeds_it():
    delta = np.full(4, 3e38, np.float32)
    assert Block(bits=8).decode(Block(bits=8).encode(delta, KEY).sections, 4).tolist() == (
        delta.tolist()
    )
    with pytest.raises(UpdateError, match="exceeds float32"):
        Qsgd(levels=127).encode(delta, KEY)


def test_it_is_a_codec():
    codec: Codec = Block(bits=8)
    assert (codec.name, codec.text) == ("block", "block(bits=8,bucket=512)")
