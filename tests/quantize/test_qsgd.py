"""QSGD: what it writes, what it costs, and what it refuses."""

from __future__ import annotations

import hashlib
import json
import math
import struct
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedtier.draws import DrawKey, draw_key, uniform16
from fedtier.errors import UpdateError, WireError
from fedtier.quantize import Codec, Qsgd, classical_q_bound, tight_q_bound

GOLDEN = json.loads((Path(__file__).parent / "golden" / "qsgd.json").read_text())
KEY = draw_key(seed=7, path="r3.1", node="d04", tensor="delta", purpose="rounding")
CHUNK = 2**15

finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
ordinary = st.floats(-64, 64, width=32)
codecs = st.builds(
    lambda levels, bucket: Qsgd(levels=levels, bucket=bucket),
    st.sampled_from([1, 2, 3, 7, 100, 127, 32767]) | st.integers(1, 32767),
    st.none() | st.integers(1, 9),
)
keys = st.builds(lambda k0, k1: DrawKey(k0=k0, k1=k1), *[st.integers(0, 2**32 - 1)] * 2)


def deltas(elements=ordinary, size_max=25):
    return hnp.arrays(np.float32, st.integers(1, size_max), elements=elements)


def hex_floats(texts):
    return np.array([float.fromhex(text) for text in texts], np.float32)


def keys_of(count):
    return [draw_key(seed=1, path="r0", node=f"d{i}", purpose="rounding") for i in range(count)]


def error_of(decoded, delta):
    return float(((decoded.astype(np.float64) - delta) ** 2).sum())


def plain_rounding(delta, norms, codec, draws):
    """One coordinate at a time: decoded values, and the error they have on average."""
    one = np.float32
    decoded, error = [], 0.0
    for j, x in enumerate(delta):
        norm = norms[j // codec.bucket if codec.bucket else 0]
        z = one(one(x / norm) * one(codec.levels)) if norm > 0 else one(0)
        low = math.floor(z)
        fraction = float(one(z - one(low)))
        code = low + (int(draws[j]) + 0.5 < 65536 * fraction)
        decoded.append(one(one(code / codec.levels) * norm))
        error += float(norm) ** 2 * fraction * (1 - fraction) / codec.levels**2
    return decoded, error


# What it writes


@pytest.mark.covers("N-13")
@pytest.mark.parametrize("entry", GOLDEN["cases"], ids=lambda e: e["name"])
def test_a_delta_has_its_golden_bytes(entry):
    codec = Qsgd(levels=entry["levels"], bucket=entry["bucket"])
    delta = hex_floats(entry["delta"])
    encoded = codec.encode(delta, DrawKey(k0=entry["k0"], k1=entry["k1"]))
    assert [section.hex() for section in encoded.sections] == [entry["norms"], entry["codes"]]
    decoded = codec.decode(encoded.sections, delta.size)
    assert decoded.tolist() == hex_floats(entry["decoded"]).tolist()
    # f (1 - f) is formed in float32: two roundings of 2**-24 a coordinate, and float64 sums.
    assert encoded.q == pytest.approx(entry["q"], rel=2e-7)


@pytest.mark.parametrize("entry", GOLDEN["long"], ids=lambda e: str(e["bucket"]))
def test_a_long_delta_has_its_golden_digests(entry):
    codec = Qsgd(levels=entry["levels"], bucket=entry["bucket"])
    source = DrawKey(k0=entry["delta_k0"], k1=entry["delta_k1"])
    delta = (uniform16(source, entry["dimension"]).astype(np.float32) - 32768) / np.float32(2**20)
    encoded = codec.encode(delta, DrawKey(k0=entry["k0"], k1=entry["k1"]))
    decoded = codec.decode(encoded.sections, delta.size).astype("<f4").tobytes()
    digests = [hashlib.sha256(part).hexdigest() for part in (*encoded.sections, decoded)]
    assert digests == [entry["norms"], entry["codes"], entry["decoded"]]
    assert encoded.q == pytest.approx(entry["q"], rel=2e-7)


@pytest.mark.covers("N-14")
@given(delta=deltas(), codec=codecs, key=keys)
def test_encoding_is_its_plain_definition(delta, codec, key):
    encoded = codec.encode(delta, key)
    norms = np.frombuffer(encoded.sections[0], "<f4")
    decoded, error = plain_rounding(delta, norms, codec, uniform16(key, delta.size))
    assert codec.decode(encoded.sections, delta.size).tolist() == decoded
    assert encoded.norm == pytest.approx(float(np.linalg.norm(delta.astype(np.float64))), rel=1e-12)
    if encoded.norm > 0:
        assert encoded.q == pytest.approx(error / encoded.norm**2, rel=1e-6, abs=1e-12)


@given(delta=deltas(), codec=codecs)
def test_sections_are_as_long_as_announced_and_the_same_for_the_same_key(delta, codec):
    encoded = codec.encode(delta, KEY)
    assert sum(len(section) for section in encoded.sections) == codec.payload_bytes(delta.size)
    assert codec.encode(delta.copy(), KEY) == encoded


@given(delta=deltas(finite), codec=codecs, key=keys)
def test_no_code_leaves_its_range_and_no_coordinate_moves_a_whole_step(delta, codec, key):
    assume(np.linalg.norm(delta.astype(np.float64)) < 3e38)
    encoded = codec.encode(delta, key)  # asserts its codes
    decoded = codec.decode(encoded.sections, delta.size)
    norms = np.frombuffer(encoded.sections[0], "<f4").astype(np.float64)
    norms = np.repeat(norms, codec.bucket or delta.size)[: delta.size]
    # A step, and the roundings of four float32 operations on numbers of at most the norm.
    allowed = norms * (1 / codec.levels + 4 * 2.0**-24) + 4 * 2.0**-149
    assert (np.abs(decoded - delta.astype(np.float64)) <= allowed).all()
    assert (np.abs(decoded) <= norms).all()


@given(delta=deltas(st.sampled_from([0.0, 0.25, -3.0])), codec=codecs)
def test_zeros_stay_zeros(delta, codec):
    decoded = codec.decode(codec.encode(delta, KEY).sections, delta.size)
    assert (decoded[delta == 0] == 0).all()


@pytest.mark.parametrize("bucket", [1, 8, 128, CHUNK - 5, CHUNK, CHUNK + 8, None])
def test_chunks_leave_no_trace(bucket):
    """Coordinates of whole buckets are written alike with and without the ones behind them."""
    size = 2 * CHUNK + 129
    delta = np.random.default_rng(3).normal(0, 0.01, size).astype(np.float32)
    codec = Qsgd(levels=7, bucket=bucket)
    decoded = codec.decode(codec.encode(delta, KEY).sections, size)
    if bucket is None:
        norm = np.frombuffer(codec.encode(delta, KEY).sections[0], "<f4")
        some = slice(CHUNK - 20, CHUNK + 20)
        draws = uniform16(KEY, 40, some.start)
        expected, _ = plain_rounding(delta[some], norm, codec, draws)
        assert decoded[some].tolist() == expected
    else:
        whole = size // 3 // bucket * bucket or bucket
        shorter = codec.decode(codec.encode(delta[:whole], KEY).sections, whole)
        assert np.array_equal(decoded[:whole], shorter)


# The vectors on which quantizers break


@pytest.mark.parametrize("codec", [Qsgd(levels=7), Qsgd(levels=7, bucket=2)])
def test_the_zero_vector_is_sent_as_zeros_with_no_error(codec):
    encoded = codec.encode(np.zeros(5, np.float32), KEY)
    assert (encoded.q, encoded.norm) == (0, 0)
    assert codec.decode(encoded.sections, 5).tolist() == [0] * 5


@pytest.mark.parametrize("levels", [1, 3, 7, 127, 32767])
@pytest.mark.parametrize("value", [0.1, -0.1, 1e-45, -3e38])
def test_a_single_coordinate_is_sent_as_it_is(levels, value):
    delta = np.array([value], np.float32)
    encoded = Qsgd(levels=levels).encode(delta, KEY)
    assert Qsgd(levels=levels).decode(encoded.sections, 1).tolist() == delta.tolist()
    assert encoded.q == 0


@pytest.mark.parametrize("levels", [1, 2, 7, 127, 32767])
def test_the_largest_coordinate_never_gets_a_code_beyond_the_levels(levels):
    width = Qsgd(levels=levels).width
    for sign in (1, -1):
        for exponent in range(-30, 30, 3):
            # One coordinate that is nearly all of the norm, where a rounded norm could fall below.
            large = np.float32(sign * 1.2345678 * 2.0**exponent)
            delta = np.array([large, *[large * np.float32(2.0**-13)] * 3], np.float32)
            encoded = Qsgd(levels=levels).encode(delta, KEY)
            first = int.from_bytes(encoded.sections[1], "little") % 2**width
            assert 0 <= first - levels * (sign > 0) <= levels
            assert np.frombuffer(encoded.sections[0], "<f4")[0] >= abs(large)


@pytest.mark.parametrize("levels", [2, 4])
def test_a_constant_vector_meets_the_tight_bound(levels):
    # u = s / sqrt(d) in every coordinate: 1/4 and 1/2
    encoded = Qsgd(levels=levels).encode(np.full(64, -0.125, np.float32), KEY)
    assert encoded.q == pytest.approx(tight_q_bound(64, levels), rel=1e-6)


def test_the_check_of_the_specification():
    delta = np.array([3, -4, 0, 0], np.float32)
    encoded = Qsgd(levels=4).encode(delta, KEY)
    assert encoded.norm == 5
    # u = (2.4, 3.2, 0, 0): (5/4)**2 (.4 * .6 + .2 * .8) = 0.625; u in float32 errs by 2e-7
    assert encoded.q * 25 == pytest.approx(0.625, abs=1e-6)
    assert classical_q_bound(4, 4) * 25 == 6.25


# What it costs


VECTORS = {
    "gauss": np.random.default_rng(1).normal(0, 0.01, 4096),
    "heavy": np.random.default_rng(2).lognormal(0, 1.5, 4096)
    * np.random.default_rng(3).choice([-1, 1], 4096),
    "half zeros": np.random.default_rng(4).normal(0, 1, 4096) * (np.arange(4096) % 2),
}
CODECS = [
    Qsgd(levels=1),
    Qsgd(levels=7),
    Qsgd(levels=7, bucket=128),
    Qsgd(levels=127, bucket=500),
]


@pytest.mark.covers("N-16")
@pytest.mark.parametrize("codec", CODECS, ids=lambda codec: codec.text)
@pytest.mark.parametrize("vector", VECTORS.values(), ids=VECTORS.keys())
def test_rounding_is_unbiased_and_its_exact_q_is_what_is_sampled(codec, vector):
    delta = vector.astype(np.float32)
    draws = 400
    squares = float((delta.astype(np.float64) ** 2).sum())
    total, sampled = np.zeros(delta.size), 0.0
    for key in keys_of(draws):
        encoded = codec.encode(delta, key)
        decoded = codec.decode(encoded.sections, delta.size)
        total += decoded
        sampled += error_of(decoded, delta) / squares / draws
    # 400 draws of 4096 independent errors: the sampled q's own deviation is below 0.6 %.
    assert sampled == pytest.approx(encoded.q, rel=0.02)
    # Unbiased errors fall as 1 / draws when averaged; a sum of squares over the effective
    # coordinates, some hundreds for the heavy vector, so five deviations are below 20 %.
    assert draws * error_of(total / draws, delta) / squares == pytest.approx(encoded.q, rel=0.2)
    # A coordinate's standard deviation is at most half a step; six of those of the mean.
    norms = np.repeat(np.frombuffer(encoded.sections[0], "<f4"), codec.bucket or delta.size)
    step = norms[: delta.size] / codec.levels
    assert (np.abs(total / draws - delta) <= 6 * step / 2 / math.sqrt(draws)).all()


def test_the_average_of_many_messages_errs_by_the_q_of_one_over_their_number():
    delta = np.random.default_rng(5).normal(0, 0.01, 2**15).astype(np.float32)
    codec, draws = Qsgd(levels=7, bucket=128), 400
    total = np.zeros(delta.size)
    for key in keys_of(draws):
        encoded = codec.encode(delta, key)
        total += codec.decode(encoded.sections, delta.size)
    ratio = draws * error_of(total / draws, delta) / encoded.norm**2 / encoded.q
    # Relative deviation about sqrt(2 / 2**15) = 0.8 %; between 3 and 4 of them.
    assert 0.97 < ratio < 1.03


def bucket_norms(delta, bucket):
    starts = range(0, delta.size, bucket)
    squares = [np.square(delta[first : first + bucket], dtype=np.float64).sum() for first in starts]
    return np.sqrt(squares)


@pytest.mark.covers("N-16")
@given(delta=deltas(), codec=codecs)
def test_q_is_within_both_bounds(delta, codec):
    bucket = min(codec.bucket or delta.size, delta.size)
    norms = bucket_norms(delta, bucket)
    assume(((norms == 0) | (norms >= 2.0**-126)).all())
    q = codec.encode(delta, KEY).q
    assert codec.q_bound(delta.size) == tight_q_bound(bucket, codec.levels)
    # u carries float32 roundings, worth 2**-22 s steps; a step is worth 1 / s**2 in q, d times
    slack = delta.size * 2.0**-20 / codec.levels
    assert 0 <= q <= codec.q_bound(delta.size) + slack
    assert tight_q_bound(bucket, codec.levels) <= classical_q_bound(bucket, codec.levels) + 1e-12


@given(
    units=st.lists(st.integers(-(2**20), 2**20) | st.integers(-3, 3), min_size=1, max_size=25),
    levels=st.sampled_from([1, 2, 3, 7, 127]),
)
def test_a_norm_that_float32_rounds_coarsely_bounds_q_by_as_many_levels_less(units, levels):
    delta = (np.array(units, np.float64) * 2.0**-149).astype(np.float32)
    assume(delta.any())
    encoded = Qsgd(levels=levels).encode(delta, KEY)
    sent = float(np.frombuffer(encoded.sections[0], "<f4")[0])
    assert (sent / encoded.norm) ** 2 <= 4 / 3 + 1e-12
    slack = delta.size * 2.0**-20 / levels  # as above
    assert encoded.q <= tight_q_bound(delta.size, levels * encoded.norm / sent) + slack


def test_the_smallest_of_all_vectors_exceeds_the_bound_of_the_others_and_stays_unbiased():
    delta = np.full(3, 1e-45, np.float32)
    codec, draws = Qsgd(levels=1), 1000
    total = np.zeros(3)
    for key in keys_of(draws):
        encoded = codec.encode(delta, key)
        total += codec.decode(encoded.sections, 3)
    sent = float(np.frombuffer(encoded.sections[0], "<f4")[0])
    assert sent == 2 * 2.0**-149
    assert (sent / encoded.norm) ** 2 == pytest.approx(4 / 3)
    # Each coordinate is sent as 0 or as twice itself: it errs by itself.
    assert encoded.q == pytest.approx(1)
    assert encoded.q > codec.q_bound(3)
    assert encoded.q == pytest.approx(tight_q_bound(3, encoded.norm / sent))
    # The mean's standard deviation is 1 / sqrt(1000) of a coordinate; five of those.
    assert total / draws == pytest.approx(delta, rel=5 / math.sqrt(draws))


@given(dimension=st.integers(1, 10**6), levels=st.integers(1, 32767))
def test_the_tight_bound_is_below_the_classical_one_and_grows_with_the_dimension(dimension, levels):
    tight = tight_q_bound(dimension, levels)
    assert 0 < tight <= classical_q_bound(dimension, levels)
    assert tight <= tight_q_bound(dimension + 1, levels)


def test_fields_are_as_wide_as_the_codes_need():
    widths = {1: 2, 2: 3, 3: 3, 4: 4, 7: 4, 8: 5, 15: 5, 127: 8, 128: 9, 32767: 16}
    assert {levels: Qsgd(levels=levels).width for levels in widths} == widths
    assert all(Qsgd(levels=s).width == math.ceil(math.log2(2 * s + 1)) for s in range(1, 2000))
    assert Qsgd(levels=7, bucket=128).payload_bytes(1000) == 4 * 8 + 500
    assert Qsgd(levels=7, bucket=2000).payload_bytes(1000) == 4 + 500


@pytest.mark.parametrize("bucket", [None, 128])
def test_encoding_needs_little_memory_beyond_what_it_returns(bucket):
    codec = Qsgd(levels=7, bucket=bucket)
    delta = np.ones(2**20, np.float32)
    tracemalloc.start()
    codec.encode(delta, KEY)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    # The payload, once in pieces and once joined, and some MiB of temporaries of one chunk.
    assert peak_bytes < 2 * codec.payload_bytes(delta.size) + 3 * 2**20


def test_its_name_and_text():
    codec: Codec = Qsgd(levels=7, bucket=128)
    assert (codec.name, codec.text) == ("qsgd", "qsgd(levels=7,bucket=128)")
    assert Qsgd(levels=7).text == "qsgd(levels=7)"


# What it refuses


@pytest.mark.parametrize("codec", [Qsgd(levels=7), Qsgd(levels=7, bucket=4)])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_delta_that_is_not_finite_is_not_sent(codec, bad):
    delta = np.ones(10, np.float32)
    delta[9] = bad
    with pytest.raises(UpdateError, match="NaN or infinity"):
        codec.encode(delta, KEY)


def test_a_norm_beyond_float32_is_not_sent():
    with pytest.raises(UpdateError, match="exceeds float32"):
        Qsgd(levels=7).encode(np.full(4, 3e38, np.float32), KEY)
    Qsgd(levels=7, bucket=1).encode(np.full(4, 3e38, np.float32), KEY)


@pytest.mark.parametrize("delta", [np.zeros(2), np.zeros((1, 2), np.float32), np.zeros(0, "f4")])
def test_a_delta_of_another_type_or_shape_is_not_sent(delta):
    with pytest.raises(UpdateError, match="float32"):
        Qsgd(levels=7).encode(delta, KEY)


@pytest.mark.parametrize("levels", [0, 32768])
def test_levels_out_of_range_are_a_bug_here(levels):
    with pytest.raises(AssertionError):
        Qsgd(levels=levels)


@pytest.mark.parametrize("norm", [-1.0, math.nan, math.inf, -math.inf])
def test_a_norm_that_cannot_be_is_not_taken(norm):
    with pytest.raises(UpdateError, match="scale"):
        Qsgd(levels=7, bucket=2).decode([struct.pack("<2f", 1, norm), b"\x77\x77"], 4)


def test_a_code_above_twice_the_levels_is_not_taken():
    norm = struct.pack("<f", 1)
    assert Qsgd(levels=7).decode([norm, b"\xee\xee"], 4).tolist() == [1] * 4
    with pytest.raises(UpdateError, match="code 15 is above 14"):
        Qsgd(levels=7).decode([norm, b"\xee\xfe"], 4)


def test_padding_that_is_not_zero_is_not_taken():
    norm = struct.pack("<f", 1)
    assert Qsgd(levels=7).decode([norm, b"\x77\x07"], 3).tolist() == [0] * 3
    with pytest.raises(WireError, match="not zero"):
        Qsgd(levels=7).decode([norm, b"\x77\x17"], 3)


@pytest.mark.covers("N-15")
@given(delta=deltas(), codec=codecs, data=st.data())
def test_truncated_or_mutated_sections_only_ever_raise_the_declared_errors(delta, codec, data):
    sections = [bytearray(section) for section in codec.encode(delta, KEY).sections]
    for _ in range(data.draw(st.integers(1, 3))):
        section = data.draw(st.sampled_from(sections))
        match data.draw(st.sampled_from(["set", "cut", "grow", "drop", "add"])):
            case "set" if section:
                section[data.draw(st.integers(0, len(section) - 1))] = data.draw(
                    st.integers(0, 255)
                )
            case "cut":
                del section[data.draw(st.integers(0, len(section))) :]
            case "grow":
                section += data.draw(st.binary(max_size=5))
            case "drop" if len(sections) > 1:
                sections.pop()
            case "add":
                sections.append(bytearray(data.draw(st.binary(max_size=5))))
    try:
        decoded = codec.decode([bytes(section) for section in sections], delta.size)
    except (WireError, UpdateError):
        return
    assert np.isfinite(decoded).all()
    assert decoded.shape == delta.shape
