"""Step sizes along a run."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier.artefact.schedule import Schedule
from fedtier.errors import ConfigError


def test_the_cosine_begins_at_mu_is_half_way_in_the_middle_and_nears_the_floor():
    schedule = Schedule(kind="cosine", mu=0.2)
    assert schedule.mu_at(0, 1000) == np.float32(0.2)
    assert schedule.mu_at(500, 1000) == np.float32(0.2 * (0.05 + 0.95 / 2))
    assert float(schedule.mu_at(999, 1000)) == pytest.approx(0.2 * 0.05, rel=1e-4)


def test_a_constant_schedule_is_constant():
    schedule = Schedule(kind="constant", mu=0.3, p0=0.25, p1=0.5)
    assert {schedule.mu_at(step, 7) for step in range(7)} == {np.float32(0.3)}


def test_steps_fall_at_their_milestones_and_nowhere_else():
    sizes = [
        Schedule(
            kind="step", mu=0.8, factor=0.5, milestones=(0.3, 0.75), p0=r / 10, p1=(r + 1) / 10
        ).mu_at(step, 4)
        for r in range(10)
        for step in range(4)
    ]
    # 0.3 is the beginning of round 3 exactly; 0.75 is in the middle of round 7.
    expected = [0.8] * 12 + [0.4] * 18 + [0.2] * 10
    assert sizes == [np.float32(size) for size in expected]


@given(
    rounds=st.integers(1, 20),
    steps=st.integers(1, 50),
    floor=st.floats(0, 1),
    mu=st.floats(1e-6, 1e3),
)
def test_rounds_in_a_row_are_one_falling_curve(rounds, steps, floor, mu):
    sizes = [
        Schedule(kind="cosine", mu=mu, floor=floor, p0=r / rounds, p1=(r + 1) / rounds).mu_at(
            step, steps
        )
        for r in range(rounds)
        for step in range(steps)
    ]
    whole = Schedule(kind="cosine", mu=mu, floor=floor)
    # p is composed of two quotients here and of one there: the last float64 bits may differ.
    expected = [whole.mu_at(step, rounds * steps) for step in range(rounds * steps)]
    np.testing.assert_allclose(sizes, expected, rtol=1e-6)
    assert all(isinstance(size, np.float32) for size in sizes)
    assert all(a >= b for a, b in itertools.pairwise(expected))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"kind": "linear", "mu": 0.1}, "'linear' is unknown. Use one of constant, cosine, step"),
        ({"kind": "cosine", "mu": 0.0}, r"mu = 0.0 is outside \(0, 1e6\)"),
        ({"kind": "cosine", "mu": float("nan")}, "mu = nan"),
        ({"kind": "cosine", "mu": 0.1, "floor": 1.5}, r"floor = 1.5 is outside \[0, 1\]"),
        ({"kind": "step", "mu": 0.1, "factor": 0.0}, r"factor = 0.0 is outside \(0, 1\]"),
        ({"kind": "step", "mu": 0.1, "milestones": (0.5, 0.5)}, "not ascending within"),
        ({"kind": "step", "mu": 0.1, "milestones": (1.0,)}, r"milestones = \[1.0\] are not"),
        ({"kind": "cosine", "mu": 0.1, "p0": 0.6, "p1": 0.5}, "p0 = 0.6, p1 = 0.5"),
        ({"kind": "cosine", "mu": 0.1, "p1": 1.5}, "p1 = 1.5"),
    ],
)
def test_a_number_out_of_range_is_named(fields, message):
    with pytest.raises(ConfigError, match=message):
        Schedule(**fields)
