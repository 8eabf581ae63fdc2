"""Sums by folding halves, against the padded definition."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fedtier.quantize.norm import bucket_sums_of_squares, fold, sum_of_squares

BLOCK = 2**15
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


def plain_fold(values):
    size = 1 << max(values.size - 1, 0).bit_length()
    padded = np.zeros(size)
    padded[: values.size] = values
    while size > 1:
        size //= 2
        padded = padded[:size] + padded[size:]
    return float(padded[0])


def heavy_tailed(size):
    return np.random.default_rng(size).standard_cauchy(size).astype(np.float32)


@pytest.mark.covers("N-9")
@pytest.mark.parametrize(
    "size",
    [1, 2, 3, 5, 8, 1000, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK - 7, 7 * BLOCK + 5],
)
def test_sums_in_blocks_are_the_padded_fold_to_the_bit(size):
    vector = heavy_tailed(size)
    squares = vector.astype(np.float64) ** 2
    assert sum_of_squares(vector) == plain_fold(squares)
    assert fold(squares) == plain_fold(squares)


def test_folding_leaves_its_argument_as_it_was():
    values = np.arange(5.0)
    fold(values)
    assert values.tolist() == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("bucket", [1, 2, 3, 128, 1000, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK])
@pytest.mark.parametrize("size", [1, 127, 128, 129, 2 * BLOCK + 3, 4 * BLOCK])
def test_each_bucket_has_the_sum_it_would_have_alone(bucket, size):
    vector = heavy_tailed(size)
    sums = bucket_sums_of_squares(vector, bucket)
    starts = range(0, size, bucket)
    assert sums.size == len(starts)
    some = [*starts[:: max(1, len(starts) // 50)], starts[-1]]
    for first in some:
        assert sums[first // bucket] == sum_of_squares(vector[first : first + bucket])


@pytest.mark.covers("N-10")
@given(vector=hnp.arrays(np.float32, st.integers(1, 20), elements=finite))
def test_a_float32_norm_is_never_below_a_coordinate(vector):
    norm = np.float32(math.sqrt(min(sum_of_squares(vector), 1e77)))
    assert norm >= min(float(np.abs(vector).max()), 3e38)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, BLOCK, 2 * BLOCK + 2])
def test_one_number_that_is_not_finite_shows_in_the_sum(bad, place):
    vector = np.ones(2 * BLOCK + 3, np.float32)
    vector[place] = bad
    assert not math.isfinite(sum_of_squares(vector))
    assert not np.isfinite(bucket_sums_of_squares(vector, 100)).all()


def test_squares_of_the_largest_and_smallest_float32_neither_overflow_nor_vanish():
    largest = np.finfo(np.float32).max
    assert sum_of_squares(np.full(4, largest)) == 4 * float(largest) ** 2
    assert sum_of_squares(np.array([1e-45], np.float32)) == (2.0**-149) ** 2
