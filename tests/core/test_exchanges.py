"""A rate and a latency out of sums over updates of several sizes."""

from __future__ import annotations

import random

import pytest

from fedtier.core.exchanges import Exchanges


def over(sizes, *, rate, latency_s, noise_s=0.0):
    dice = random.Random(5)
    micros = [
        round(1e6 * (latency_s + size / rate + dice.uniform(-noise_s, noise_s))) for size in sizes
    ]
    each = [Exchanges.of(size=s, micros=m) for s, m in zip(sizes, micros, strict=True)]
    return sum(each, start=Exchanges())


def test_updates_of_two_sizes_tell_a_rate_and_a_latency_apart():
    rate, latency_s = over([12_000, 200_000, 100_000], rate=1e5, latency_s=0.25).rate_and_latency()
    # Times are whole microseconds, of some tenths of a second.
    assert rate == pytest.approx(1e5, rel=1e-5)
    assert latency_s == pytest.approx(0.25, rel=1e-5)


def test_noise_averages_out():
    sizes = [10_000, 100_000] * 200
    rate, latency_s = over(sizes, rate=1e5, latency_s=0.25, noise_s=0.2).rate_and_latency()
    # 400 uniform errors of up to 0.2 s: a standard error of 0.2 / sqrt(3 * 400) = 6 ms of a mean.
    assert 1e5 / rate == pytest.approx(1, abs=5 * 0.006 * 2 / 0.9)
    assert latency_s == pytest.approx(0.25, abs=5 * 0.02)


def test_updates_of_one_size_show_no_rate():
    assert over([500] * 3, rate=1e4, latency_s=0.2).rate_and_latency() == (None, 0.25)


def test_where_larger_updates_take_no_longer_there_is_no_limit_that_shows():
    quick = Exchanges.of(size=9000, micros=1000) + Exchanges.of(size=10, micros=3000)
    assert quick.rate_and_latency() == (None, 0.002)


def test_a_latency_is_never_below_zero():
    """1000 bytes in 1 ms and 2000 in 3 ms: the line through zero is 5 bytes in 7 microseconds."""
    steep = Exchanges.of(size=1000, micros=1000) + Exchanges.of(size=2000, micros=3000)
    rate, latency_s = steep.rate_and_latency()
    assert latency_s == 0.0
    assert rate == pytest.approx(1e6 * 5 / 7)


def test_nothing_sent_is_nothing_known():
    assert Exchanges().rate_and_latency() == (None, 0.0)
