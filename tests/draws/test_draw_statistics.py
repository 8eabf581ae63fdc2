"""The draws look random where fedtier relies on it: uniform, and independent between addresses."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from fedtier.draws import DrawKey, draw_key, normal, permutation, uniform01, uniform16

KEY = draw_key(seed=1, path="r0.0", node="d00", purpose="test")


def key_of(*, seed=1, path="r0.0", node="d00", purpose="test"):
    return draw_key(seed=seed, path=path, node=node, purpose=purpose)


def chi_square(counts):
    expected = counts.sum() / counts.size
    return float(((counts - expected) ** 2).sum() / expected)


def chi_square_limit(cells):
    """Five standard deviations above the mean of the statistic with ``cells - 1`` freedoms."""
    return cells - 1 + 5 * math.sqrt(2 * (cells - 1))


@pytest.mark.parametrize("shift", [0, 4, 8])
def test_sixteen_bit_draws_are_uniform_in_every_byte(shift):
    counts = np.bincount(uniform16(KEY, 2**20) >> shift & 255, minlength=256)
    # From below too: a counter without a hash would be far too even.
    assert 255 - 5 * math.sqrt(2 * 255) < chi_square(counts) < chi_square_limit(256)


@pytest.mark.parametrize("lag", [1, 2, 7, 128, 1000])
def test_draws_of_one_stream_are_uncorrelated(lag):
    drawn = uniform16(KEY, 2**18).astype(float)
    # A sample correlation of n independent pairs has standard deviation 1 / sqrt(n).
    assert abs(np.corrcoef(drawn[:-lag], drawn[lag:])[0, 1]) < 5 / math.sqrt(drawn.size - lag)


SEQUENTIAL_KEYS = {
    "seeds": [key_of(seed=i) for i in range(64)],
    "rounds": [key_of(path=f"r{i}") for i in range(64)],
    "iterations": [key_of(path=f"r0.{i}") for i in range(64)],
    "nodes": [key_of(node=f"d{i:02}") for i in range(64)],
    "purposes": [key_of(purpose=f"batch {i}") for i in range(64)],
    "bare keys": [DrawKey(k0=i, k1=i + 1) for i in range(64)],
}


@pytest.mark.parametrize("keys", SEQUENTIAL_KEYS.values(), ids=SEQUENTIAL_KEYS.keys())
def test_streams_of_sequential_keys_are_independent(keys):
    count = 4096
    drawn = np.array([uniform16(key, count) for key in keys], dtype=float)
    correlations = np.corrcoef(drawn)[np.triu_indices(len(keys), k=1)]
    pairs = correlations.size
    # 2016 pairs, each of standard deviation 1 / sqrt(count): 5.5 of them is a chance of 1e-4.
    assert np.abs(correlations).max() < 5.5 / math.sqrt(count)
    # count * correlation**2 has mean 1 and variance 2; five standard errors of its mean.
    assert abs((correlations**2).mean() * count - 1) < 5 * math.sqrt(2 / pairs)


@pytest.mark.parametrize("name", ["nodes", "rounds"])
def test_coins_of_many_streams_average_like_independent_coins(name):
    streams, count = 400, 4096
    make = {"nodes": lambda i: key_of(node=f"d{i}"), "rounds": lambda i: key_of(path=f"r{i}")}[name]
    chance = np.linspace(0.02, 0.98, count)
    heads = sum(uniform16(make(i), count) + 0.5 < 65536 * chance for i in range(streams))
    squared = ((heads / streams - chance) ** 2).sum()
    ratio = streams * squared / (chance * (1 - chance)).sum()
    # The sum of `count` squared near-normal errors: relative standard deviation sqrt(2 / count),
    # a little more because the terms differ; five of them are 0.11, rounded up.
    assert abs(ratio - 1) < 0.13


def test_unit_draws_are_uniform_down_to_their_last_bits():
    drawn = uniform01(KEY, 2**18)
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts = np.bincount((drawn * 256).astype(int), minlength=256)
    assert chi_square(counts) < chi_square_limit(256)
    last_byte = (drawn * 2**53).astype(np.int64) & 255
    assert chi_square(np.bincount(last_byte, minlength=256)) < chi_square_limit(256)


def test_normal_draws_follow_the_normal_distribution():
    count = 2**18
    drawn = np.sort(normal(KEY, count))
    expected = np.array([0.5 * math.erfc(-z / math.sqrt(2)) for z in drawn[:: 2**6]])
    observed = np.arange(0, count, 2**6) / count
    # Kolmogorov: sqrt(n) times the largest gap exceeds 2.2 with probability 1.3e-4; looking at
    # every 64th draw leaves out less than 64 / n.
    assert np.abs(expected - observed).max() < 2.2 / math.sqrt(count) + 2**6 / count
    # Standard errors: of the mean 1, of the variance sqrt(2), of the 4th moment sqrt(96).
    assert abs(drawn.mean()) < 5 / math.sqrt(count)
    assert abs(drawn.var() - 1) < 5 * math.sqrt(2 / count)
    assert abs((drawn**4).mean() - 3) < 5 * math.sqrt(96 / count)


def test_the_two_normal_draws_of_a_pair_are_uncorrelated():
    drawn = normal(KEY, 2**18)
    assert abs(np.corrcoef(drawn[0::2], drawn[1::2])[0, 1]) < 5 / math.sqrt(drawn.size / 2)
    assert abs(np.corrcoef(drawn[0::2] ** 2, drawn[1::2] ** 2)[0, 1]) < 5 / math.sqrt(2**17)


def test_all_orders_of_four_come_up_equally_often():
    orders = {order: i for i, order in enumerate(itertools.permutations(range(4)))}
    drawn = [orders[tuple(permutation(key_of(node=f"n{i}"), 4).tolist())] for i in range(4800)]
    assert chi_square(np.bincount(drawn, minlength=24)) < chi_square_limit(24)


def test_every_place_of_a_long_order_takes_every_index():
    count, trials = 64, 3200
    table = np.zeros((count, count))
    for trial in range(trials):
        table[np.arange(count), permutation(key_of(path=f"r{trial}"), count)] += 1
    freedoms = (count - 1) ** 2  # rows and columns have fixed sums
    expected = trials / count
    statistic = ((table - expected) ** 2).sum() / expected
    # Variance of the statistic is 2 freedoms to leading order.
    assert abs(statistic - freedoms * count / (count - 1)) < 5 * math.sqrt(2 * freedoms)
