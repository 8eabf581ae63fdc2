"""The exact sum: the same bits in every order, no overflow, and the laws of a mean."""

from __future__ import annotations

import itertools
import json
import math
import tracemalloc
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedtier.errors import ConfigError, UpdateError
from fedtier.model import ExactSum, fixed_point_exponent, in_range

GOLDEN = json.loads((Path(__file__).parent / "golden" / "model.json").read_text())["sums"]
CHUNK = 2**15
WEIGHT_MAX = 2**26 - 1  # of a cell, at the default range of 2**6
LARGEST = np.nextafter(np.float32(64), np.float32(0))

coordinates = st.floats(-float(LARGEST), float(LARGEST), width=32)
deltas = hnp.arrays(np.float32, 5, elements=coordinates)
children = st.lists(st.tuples(deltas, st.integers(1, 1000)), min_size=1, max_size=6)


def mean_of(members, *, total_weight=None, range_bits=6):
    total = total_weight or sum(weight for _, weight in members)
    exact = ExactSum(members[0][0].size, total_weight=total, range_bits=range_bits)
    for vector, weight in members:
        exact.add(vector, weight)
    return exact.mean()


def same_bits(left, right):
    return left.dtype == right.dtype and left.tobytes() == right.tobytes()


@pytest.mark.parametrize("entry", GOLDEN, ids=lambda e: str(e["total_weight"]))
def test_a_mean_has_its_golden_bits(entry):
    exact = ExactSum(4, total_weight=entry["total_weight"], range_bits=entry["range_bits"])
    for child in entry["children"]:
        vector = np.array([float.fromhex(x) for x in child["vector"]], np.float32)
        exact.add(vector, child["weight"])
    assert exact.exponent == entry["exponent"]
    assert exact.mean().tolist() == [float.fromhex(x) for x in entry["mean"]]


@given(members=children, data=st.data())
def test_arrival_order_does_not_change_the_mean_by_a_single_bit(members, data):
    shuffled = data.draw(st.permutations(members))
    assert same_bits(mean_of(shuffled), mean_of(members))


@given(members=children, data=st.data())
def test_a_child_counts_the_same_at_once_and_in_portions_between_the_others(members, data):
    portions = []
    for vector, weight in members:
        cut = data.draw(st.integers(0, weight))
        portions += [(vector, part) for part in (cut, weight - cut) if part]
    assert same_bits(mean_of(data.draw(st.permutations(portions))), mean_of(members))


@pytest.mark.covers("N-18")
@pytest.mark.covers("N-19")
@given(members=children)
def test_the_mean_is_the_fraction_it_is_defined_as(members):
    exponent = fixed_point_exponent(sum(weight for _, weight in members))
    total = sum(weight for _, weight in members)
    for index, mean in enumerate(mean_of(members).tolist()):
        # round() of a Fraction rounds halves to even, as rint does
        counts = [w * round(Fraction(float(v[index])) * 2**exponent) for v, w in members]
        assert mean == np.float32(float(sum(counts)) / float(total) * 2.0**-exponent)


@given(members=children)
def test_the_mean_is_as_near_to_the_true_mean_as_its_roundings_allow(members):
    total = sum(weight for _, weight in members)
    exponent = fixed_point_exponent(total)
    for index, mean in enumerate(mean_of(members).tolist()):
        true = sum(w * Fraction(float(v[index])) for v, w in members) / total
        # half a unit of the fixed point, then float64 twice and float32 once, relative
        allowed = 2.0 ** -(exponent + 1) + float(abs(true)) * (2.0**-24 + 2.0**-51) + 2.0**-149
        assert abs(mean - true) <= allowed


@given(delta=deltas, weights=st.lists(st.integers(1, WEIGHT_MAX // 4), min_size=1, max_size=4))
def test_children_with_one_delta_give_that_delta(delta, weights):
    exponent = fixed_point_exponent(sum(weights))
    mean = mean_of([(delta, weight) for weight in weights])
    for ours, theirs in zip(mean.tolist(), delta.tolist(), strict=True):
        if (Fraction(theirs) * 2**exponent).denominator == 1:
            assert ours == theirs
        else:
            assert abs(Fraction(ours) - Fraction(theirs)) <= Fraction(1, 2 ** (exponent + 1))


@given(
    start=hnp.arrays(np.float32, 4, elements=st.floats(-32, 32, width=32)),
    end=hnp.arrays(np.float32, 4, elements=st.floats(-31, 31, width=32)),
    weights=st.lists(st.integers(1, 100), min_size=1, max_size=4),
)
def test_children_that_agree_on_a_model_give_it_to_one_unit_in_the_last_place(start, end, weights):
    delta = end - start
    aggregated = start + mean_of([(delta, weight) for weight in weights])
    # Against start + delta as float32 adds it, which is what the children mean by their model.
    theirs = start + delta
    # A parameter that is itself below the fixed point's unit can be off by half of that unit.
    allowed = np.spacing(np.abs(theirs)) + 2.0 ** -(fixed_point_exponent(sum(weights)) + 1)
    assert (np.abs(aggregated.astype(np.float64) - theirs) <= allowed).all()


def test_a_chain_of_idle_tiers_hands_a_delta_through():
    delta = np.random.default_rng(1).normal(0, 0.01, 1000).astype(np.float32)
    once = mean_of([(delta, 8)])
    assert same_bits(mean_of([(once, 8)]), once)
    assert same_bits(mean_of([(mean_of([(once, 3)]), 1)]), once)
    assert np.abs(once - delta).max() <= 2.0 ** -(fixed_point_exponent(8) + 1)


def test_members_who_do_not_come_change_the_divisor_and_nothing_else():
    delta = np.array([0.5, -0.25], np.float32)
    exact = ExactSum(2, total_weight=1000)
    exact.add(delta, 3)
    assert exact.weight == 3
    assert exact.mean().tolist() == [0.5, -0.25]


@pytest.mark.parametrize("range_bits", [0, 6, 20, 30])
def test_the_heaviest_cell_at_the_edge_of_the_range_does_not_overflow(range_bits):
    heaviest = 2 ** (62 - range_bits - 30) - 1
    edge = np.nextafter(np.float32(2.0**range_bits), np.float32(0))
    for sign in (1, -1):
        exact = ExactSum(3, total_weight=heaviest, range_bits=range_bits)
        vector = np.full(3, sign * edge, np.float32)
        exact.add(vector, heaviest - 1)
        exact.add(vector, 1)
        assert exact.exponent == 30
        assert exact.mean().tolist() == vector.tolist()


@pytest.mark.parametrize("size", [1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK + 77])
def test_every_coordinate_of_a_long_vector_is_counted_once(size):
    rng = np.random.default_rng(size)
    members = [(rng.integers(-1000, 1000, size).astype(np.float32) / 16, w) for w in (1, 2, 5)]
    expected = sum(w * v.astype(np.float64) for v, w in members) / 8
    assert np.array_equal(mean_of(members), expected.astype(np.float32))


def test_a_strided_vector_counts_like_its_copy():
    vector = np.arange(10, dtype=np.float32)[::-3]
    assert same_bits(mean_of([(vector, 2)]), mean_of([(vector.copy(), 2)]))


REFUSED = {
    "not a number": np.array([0, np.nan], np.float32),
    "infinity": np.array([np.inf, 0], np.float32),
    "minus infinity": np.array([0, -np.inf], np.float32),
    "the bound": np.array([64, 0], np.float32),
    "minus the bound": np.array([0, -64], np.float32),
    "another length": np.zeros(3, np.float32),
    "another type": np.zeros(2),
    "another shape": np.zeros((1, 2), np.float32),
}


@pytest.mark.covers("N-18")
@pytest.mark.parametrize("vector", REFUSED.values(), ids=REFUSED.keys())
def test_a_vector_that_cannot_enter_is_refused_and_leaves_the_sum_as_it_was(vector):
    exact = ExactSum(2, total_weight=9)
    exact.add(np.array([1, 2], np.float32), 2)
    with pytest.raises(UpdateError):
        exact.add(vector, 1)
    assert exact.weight == 2
    assert exact.mean().tolist() == [1, 2]


def test_a_bad_coordinate_in_the_last_chunk_leaves_the_first_as_it_was():
    exact = ExactSum(CHUNK + 1, total_weight=9)
    exact.add(np.ones(CHUNK + 1, np.float32), 1)
    bad = np.ones(CHUNK + 1, np.float32)
    bad[-1] = np.nan
    with pytest.raises(UpdateError):
        exact.add(bad, 1)
    assert (exact.mean() == 1).all()


@pytest.mark.parametrize("weight", [-1, 0, 8])
def test_a_weight_below_one_or_beyond_what_was_admitted_is_refused(weight):
    exact = ExactSum(1, total_weight=9)
    exact.add(np.ones(1, np.float32), 2)
    with pytest.raises(UpdateError, match=r"1\.\.7"):
        exact.add(np.ones(1, np.float32), weight)


@pytest.mark.covers("N-17")
def test_weights_that_leave_too_few_bits_are_refused_with_the_remedy():
    assert fixed_point_exponent(WEIGHT_MAX) == 30
    with pytest.raises(ConfigError, match=rf'at most {WEIGHT_MAX} is exact .* weights = "devices"'):
        ExactSum(1, total_weight=WEIGHT_MAX + 1)


def test_the_mean_of_nobody_is_a_bug():
    with pytest.raises(AssertionError):
        ExactSum(1, total_weight=1).mean()


@given(
    vector=hnp.arrays(np.float32, st.integers(1, 4), elements=st.floats(width=32)),
    range_bits=st.integers(0, 30),
)
def test_in_range_is_what_the_sum_will_accept(vector, range_bits):
    expected = all(math.isfinite(x) and abs(x) < 2**range_bits for x in vector.tolist())
    assert in_range(vector, range_bits) == expected


def test_three_children_in_all_orders_share_one_mean_where_float32_sums_do_not():
    members = [(np.array([x], np.float32), 1) for x in (1.0, 2.0**-24, 2.0**-24)]
    orders = list(itertools.permutations(members))
    assert len({mean_of(order).tobytes() for order in orders}) == 1
    assert len({(a[0] + b[0] + c[0]).tobytes() for (a, _), (b, _), (c, _) in orders}) == 2


def test_adding_a_child_needs_no_memory_that_grows_with_the_model():
    peaks = []
    for size in (2**17, 2**20):
        exact, vector = ExactSum(size, total_weight=2), np.ones(size, np.float32)
        tracemalloc.start()
        exact.add(vector, 2)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert max(peaks) < 2**20
    assert abs(peaks[1] - peaks[0]) < 2**14
