"""A head that passes can be worked on: nothing the worker makes of it raises."""

from __future__ import annotations

from dataclasses import replace

import pytest
from core_messages import HEAD
from world_shapes import make_plan

from fedtier.artefact.schedule import Schedule
from fedtier.core.refusal import refusal

PLAN = make_plan((4, 3, 2))


def head(*, mu=0.1, **changes):
    return replace(HEAD, plan=replace(PLAN, mu=mu), **changes)


@pytest.mark.parametrize("mu", [0.0, -0.1, 1e6, float("nan")])
def test_a_step_size_that_is_none_is_refused(mu):
    assert "mu" in refusal(head(mu=mu), tier=0)


@pytest.mark.parametrize(("p0", "p1"), [(0.5, 0.4), (-0.1, 0.5), (0.5, 1.1)])
def test_progress_that_goes_backwards_or_beyond_the_run_is_refused(p0, p1):
    assert "p0 <= p1" in refusal(head(p0=p0, p1=p1), tier=0)


@pytest.mark.parametrize(("tier", "first_step"), [(1, 21), (2, 13), (3, 1)])
def test_steps_beyond_the_round_are_refused_and_the_last_ones_are_not(tier, first_step):
    assert "beyond the 24 of the round" in refusal(head(tier=tier, first_step=first_step), tier=0)
    assert refusal(head(tier=tier, first_step=first_step - 1), tier=0) is None


@pytest.mark.parametrize("mu", [5e-324, 999_999.0])
@pytest.mark.parametrize(("p0", "p1"), [(0.0, 0.0), (1.0, 1.0), (0.0, 1.0)])
def test_what_passes_makes_a_schedule(mu, p0, p1):
    assert refusal(head(mu=mu, p0=p0, p1=p1), tier=0) is None
    Schedule(kind="cosine", mu=mu, floor=0.05, p0=p0, p1=p1)


def test_an_evaluation_needs_no_steps():
    assert refusal(head(task="evaluate", first_step=24), tier=0) is None
