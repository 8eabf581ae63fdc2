"""A lattice: what it writes, what it costs, which spacings it takes, and what it refuses."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from rounding import sampled

from fedtier.draws import DrawKey, draw_key, uniform16
from fedtier.errors import UpdateError, WireError
from fedtier.quantize.codec import Codec
from fedtier.quantize.lattice import Lattice
from fedtier.quantize.rans import decode_integers, encode_integers

KEY = draw_key(seed=7, path="r3.1", node="d04", tensor="delta", purpose="rounding")
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)
ordinary = st.floats(-64, 64, width=32)
spacings = st.sampled_from([1 / 256, 0.25, 1.0, 2.0, 64.0]) | st.floats(1 / 256, 64)
announcements = st.none() | st.sampled_from([1.0, 0.03, 2.0**-40]).map(
    lambda x: float(np.float32(x))
)
codecs = st.builds(
    lambda spacing, announced: Lattice(spacing=spacing, announced=announced),
    spacings,
    announcements,
)


def deltas(elements=ordinary, size_max=25):
    return hnp.arrays(np.float32, st.integers(1, size_max), elements=elements)


def spacing_of(encoded):
    return float(np.frombuffer(encoded.sections[0], "<f4")[0])


def rms_of(delta):
    return math.sqrt(float((delta.astype(float) ** 2).mean()))


# What it writes


@pytest.mark.covers("N-21")
@given(delta=deltas(), codec=codecs)
def test_encoding_is_its_plain_definition(delta, codec):
    encoded = codec.encode(delta, KEY)
    spacing = np.float32(spacing_of(encoded))
    codes = decode_integers(encoded.sections[1], delta.size)
    error = 0.0
    for x, code, draw in zip(delta, codes.tolist(), uniform16(KEY, delta.size), strict=True):
        z = np.float32(x / spacing) if spacing > 0 else np.float32(0)
        fraction = float(np.float32(z - np.floor(z)))
        assert code == math.floor(z) + (int(draw) + 0.5 < 65536 * fraction)
        error += float(spacing) ** 2 * fraction * (1 - fraction)
    decoded = codec.decode(encoded.sections, delta.size)
    assert decoded.tolist() == (codes.astype(np.float32) * spacing).tolist()
    assert encoded.norm == pytest.approx(rms_of(delta) * math.sqrt(delta.size), rel=1e-12)
    if encoded.norm > 0:
        assert encoded.q == pytest.approx(error / encoded.norm**2, rel=1e-6, abs=1e-12)


@pytest.mark.covers("N-21")
@given(delta=deltas(finite), codec=codecs)
def test_no_coordinate_moves_a_whole_spacing(delta, codec):
    assume(rms_of(delta) < 1e6)  # 2^64 times an announced spacing of 2^-40, and no more
    encoded = codec.encode(delta, KEY)
    decoded = codec.decode(encoded.sections, delta.size).astype(float)
    # A spacing, and the roundings of a division and a product in float32.
    allowed = spacing_of(encoded) + 4 * 2.0**-24 * abs(delta.astype(float)) + 2.0**-148
    assert (abs(decoded - delta.astype(float)) <= allowed).all()
    assert (decoded[delta == 0] == 0).all()
    assert codec.encode(delta.copy(), KEY) == encoded


@given(delta=deltas(), codec=codecs)
def test_a_message_is_no_longer_than_it_may_be(delta, codec):
    length = sum(len(section) for section in codec.encode(delta, KEY).sections)
    assert length <= codec.payload_bytes_max(delta.size)


@pytest.mark.parametrize("spacing", [4, 2, 1, 0.25])
@pytest.mark.parametrize("kind", ["normal", "heavy", "uniform", "two values"])
def test_the_usual_length_is_one_that_no_distribution_exceeds(spacing, kind):
    rng, count = np.random.default_rng(1), 24_807
    delta = {
        "normal": rng.normal(size=count),
        "heavy": rng.normal(size=count) * np.exp(1.5 * rng.normal(size=count)),
        "uniform": rng.uniform(-1, 1, size=count),
        "two values": rng.choice([-1.0, 1.0], size=count),
    }[kind].astype(np.float32)
    codec = Lattice(spacing=spacing)
    length = sum(len(section) for section in codec.encode(delta, KEY).sections)
    assert length <= codec.payload_bytes(count)
    if kind == "normal" and spacing <= 1:  # what comes the closest, where rounding adds little
        assert length >= 0.8 * codec.payload_bytes(count)


def test_a_delta_has_its_golden_bytes():
    source = DrawKey(k0=1, k1=2)
    delta = (uniform16(source, 70_001).astype(np.float32) - 32768) / np.float32(2**20)
    for announced, golden in GOLDEN.items():
        sections = Lattice(spacing=0.5, announced=announced).encode(delta, source).sections
        assert sections[0].hex() == golden[0]
        assert hashlib.sha256(sections[1]).hexdigest()[:16] == golden[1]


GOLDEN = {None: ["46db133c", "e55dc486a145c004"], 2.0**-9: ["0000003c", "7f4b39e396589d12"]}


# Its spacing


@pytest.mark.covers("N-22")
@given(delta=deltas(), spacing=spacings)
def test_without_an_announcement_the_spacing_is_that_of_the_delta_itself(delta, spacing):
    assume(rms_of(delta) > 1e-30)
    found = spacing_of(Lattice(spacing=spacing).encode(delta, KEY))
    assert found == pytest.approx(spacing * rms_of(delta), rel=1e-6)


@pytest.mark.covers("N-22")
def test_an_announced_spacing_is_brought_within_a_factor_of_2_of_the_deltas_own():
    codec = Lattice(spacing=2.0, announced=0.125)
    kept = ((0.032, 0.125), (0.05, 0.125), (0.124, 0.125), (0.126, 0.25), (1, 1), (0.031, 0.0625))
    for scale, expected in (*kept, (2.0**-30, 2.0**-28), (0, 0.125)):
        delta = np.full(8, scale, np.float32)
        assert spacing_of(codec.encode(delta, KEY)) == expected


@given(delta=deltas(), announced=st.sampled_from([1.0, 2.0**-9, 0.1]))
def test_what_is_sent_is_whole_multiples_of_the_announced_spacing(delta, announced):
    announced = float(np.float32(announced))
    codec = Lattice(spacing=1.0, announced=announced)
    spacing, codes = codec.read(codec.encode(delta, KEY).sections, delta.size)
    times = float(spacing) / announced
    assert math.log2(times) % 1 == 0
    own = rms_of(delta)
    assert own == 0 or own < 2.0**-125 or own / 2.01 <= float(spacing) <= 2.01 * own
    finest = min(times, 1.0)  # what all are whole multiples of
    assert (codes * (times / finest) * (finest * announced) == codes * float(spacing)).all()


def test_the_zero_vector_is_sent_as_zeros_with_no_error():
    for announced in (None, 0.5):
        codec = Lattice(spacing=2.0, announced=announced)
        encoded = codec.encode(np.zeros(5, np.float32), KEY)
        assert (encoded.q, encoded.norm) == (0, 0)
        assert spacing_of(encoded) == (announced or 0)
        assert codec.decode(encoded.sections, 5).tolist() == [0] * 5


# What it costs


@pytest.mark.parametrize("spacing", [0.5, 2.0])
@pytest.mark.parametrize("announced", [None, 0.5])
def test_rounding_is_unbiased_and_its_exact_q_is_what_is_sampled(spacing, announced):
    rng = np.random.default_rng(1)
    delta = (rng.normal(size=4096) * np.exp(rng.normal(size=4096))).astype(np.float32)
    codec, draws = Lattice(spacing=spacing, announced=announced), 400
    mean, error, encoded = sampled(codec, delta, draws=draws)
    # 400 draws of 4096 independent errors: a deviation below .3 %.
    assert error == pytest.approx(encoded.q, rel=0.02)
    # A coordinate's standard deviation is at most half a spacing; six of those of the mean.
    assert (abs(mean - delta) <= 6 * spacing_of(encoded) / 2 / math.sqrt(draws)).all()


@given(delta=deltas(), spacing=spacings, announced=announcements)
def test_q_is_within_its_bound_whatever_was_announced(delta, spacing, announced):
    assume(rms_of(delta) > 1e-30)
    codec = Lattice(spacing=spacing, announced=announced)
    q = codec.encode(delta, KEY).q
    # z carries float32 roundings: 2**-22 of the largest, sqrt(d) / spacing, in each coordinate.
    slack = spacing**2 * 2.0**-18 * (1 + math.sqrt(delta.size) / spacing)
    assert 0 <= q <= codec.q_bound(delta.size) * (1 + 1e-6) + slack


def test_bits_and_q_of_a_normal_delta():
    """At a spacing of twice its spread some 1.4 bits and a q of .66; at half of it 3.1 and .08."""
    delta = np.random.default_rng(3).normal(size=100_000).astype(np.float32)
    for spacing, bits, q in ((2.0, 1.43, 0.665), (0.5, 3.11, 0.0417)):
        encoded = Lattice(spacing=spacing).encode(delta, KEY)
        assert 8 * len(encoded.sections[1]) / delta.size == pytest.approx(bits, rel=0.02)
        assert encoded.q == pytest.approx(q, rel=0.05)


# What it refuses


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_no_number_is_not_sent(value):
    with pytest.raises(UpdateError, match=r"lattice\(spacing=2\): the delta holds NaN or infinity"):
        Lattice(spacing=2.0).encode(np.array([1, value], np.float32), KEY)


def section(spacing):
    return np.float32(spacing).astype("<f4").tobytes()


@pytest.mark.covers("N-21")
@pytest.mark.parametrize(
    ("sections", "announced", "error", "why"),
    [
        ([], None, WireError, r"sections of \[\] bytes"),
        ([b"", b""], None, WireError, r"sections of \[0, 0\] bytes"),
        ([section(1), b""], None, WireError, "rans: the bytes end"),
        ([section(-1), encode_integers(np.zeros(3, int))], None, UpdateError, "negative"),
        ([section(np.nan), encode_integers(np.zeros(3, int))], None, UpdateError, "not a number"),
        ([section(1), encode_integers(np.array([0, 1, 2**24 + 1]))], None, UpdateError, "of range"),
        ([section(3e38), encode_integers(np.array([0, 1, 2]))], None, UpdateError, "out of range"),
        ([section(1), encode_integers(np.zeros(2, int)) + b"x"], None, WireError, "rans"),
    ],
)
def test_what_cannot_be_is_not_taken(sections, announced, error, why):
    with pytest.raises(error, match=why):
        Lattice(spacing=2.0, announced=announced).decode(sections, 3)


def test_it_is_a_codec():
    codec: Codec = Lattice(spacing=0.25)
    assert (codec.name, codec.text) == ("lattice", "lattice(spacing=0.25)")
