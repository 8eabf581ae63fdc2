"""The forecast's numbers, what its terms come to, and that a pilot gives back its coefficients."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier.errors import ConfigError
from fedtier.planner.bound import Problem
from fedtier.planner.chains import chains
from fedtier.planner.cost import Costs
from fedtier.planner.estimates import PilotRound
from fedtier.planner.forecast import DRIFT, Forecast
from fedtier.planner.round_time import Times
from fedtier.planner.search import Deadline, least
from fedtier.planner.tree_constants import TreeConstants

COSINE = tuple(0.05 + 0.475 * (1 + math.cos(math.pi * (j + 0.5) / 8)) for j in range(8))
COUNTS = st.integers(1, 40)


def forecast(**changes):
    problem = {
        "smoothness": 1.5,
        "smoothness_each": 2.0,
        "gap": 2.0,
        "gradient_variance": 0.5,
        "heterogeneity": (0.09, 0.16),
        "q": (0.4, 0.1),
    }
    given = {
        "tree": TreeConstants.balanced([4, 2]),
        "floor": 0.0,
        "scale": 2.0,
        "power": 0.5,
        "drift": 0.05,
    }
    problem = {key: changes.pop(key, value) for key, value in problem.items()}
    return Forecast(**{**given, "problem": Problem(**problem), **changes})


def test_the_worked_example():
    found = forecast().progress((10, 3), mu=0.2, rounds=5)
    # c = 0.05 * 2 * (3/5, 4/5); a cell: ln(1 + 0.06 * 2) / 0.06; the cloud: of three of these.
    cell = math.log(1.12) / 0.06
    cloud = math.log(1 + 0.08 * 3 * cell) / 0.08
    G2 = 0.5 * 2.0 / 2.0
    noise = 1.5 * 0.2 * 0.5 / 8 / (2 * G2)
    first = 0.1 * 1.5 / 2 * 0.4 / 8 * cell * (1 + 0.25 / G2)
    second = 0.1 * 1.5 / 2 * 0.1 / 2 * cloud * (1 + 0.16 / G2)
    assert found.steps == pytest.approx(5 * 30 * 0.2)
    assert found.reach == pytest.approx(5 * cloud / (1 + noise + first + second))
    assert forecast().loss(found.reach) == pytest.approx(2 / math.sqrt(1 + found.reach / 2))


@given(
    tau=st.tuples(COUNTS, COUNTS), mu=st.floats(1e-3, 3), shares=st.sampled_from([(1.0,), COSINE])
)
def test_what_the_terms_take_and_what_is_left_is_what_there_was(tau, mu, shares):
    one = forecast(shares=shares)
    found = one.progress(tau, mu=mu, rounds=7)
    taken = sum(found.drift) + found.noise + sum(found.quantization)
    assert found.steps == pytest.approx(taken + found.reach, rel=1e-9)
    assert found.reach == pytest.approx(float(one.reach(tau, mu=mu, rounds=7)), rel=1e-9)
    assert min(*found.drift, found.noise, *found.quantization) >= 0


def test_without_heterogeneity_noise_and_quantizers_every_step_counts():
    one = forecast(heterogeneity=(0.0, 0.0), gradient_variance=0.0, q=(0.0, 0.0))
    assert one.reach((7, 3), mu=0.1, rounds=4) == pytest.approx(4 * 21 * 0.1, rel=1e-12)


def test_what_children_share_is_not_curbed_on_their_link():
    one = forecast(heterogeneity=(0.0, 0.25), gradient_variance=0.0, q=(0.0, 0.0))
    assert one.reach((12, 1), mu=0.1, rounds=1) == pytest.approx(
        float(one.reach((1, 12), mu=0.1, rounds=1)), rel=1e-12
    )
    other = forecast(heterogeneity=(0.25, 0.0), gradient_variance=0.0, q=(0.0, 0.0))
    assert other.reach((1, 12), mu=0.1, rounds=1) > other.reach((12, 1), mu=0.1, rounds=1)


@given(tau=st.tuples(COUNTS, COUNTS), mu=st.floats(0.01, 1), rounds=st.integers(1, 50))
def test_more_rounds_and_more_steps_are_never_worse_without_noise(tau, mu, rounds):
    one = forecast(gradient_variance=0.0, q=(0.0, 0.0))
    now = one.value(tau, mu=mu, rounds=rounds)
    assert one.value(tau, mu=mu, rounds=rounds + 1) < now
    assert one.value((tau[0] + 1, tau[1]), mu=mu, rounds=rounds) < now


@pytest.mark.parametrize(("power", "scale"), [(0.35, 0.5), (0.5, 2.0), (0.9, 8.0)])
def test_a_pilot_gives_back_the_curve_that_it_followed(power, scale):
    true = forecast(power=power, scale=scale, drift=DRIFT[0])
    pilot, reach, loss = [], 0.0, 2.0
    for tau in [(4, 1), (4, 1), (8, 1), (16, 1), (16, 1), (32, 1)]:
        lost = true.progress(tau, mu=0.3, rounds=1)
        reach += lost.steps - sum(lost.drift)
        after = float(true.loss(reach))
        pilot.append(PilotRound(tau=tau, mu=0.3, loss_before=loss, loss_after=after))
        loss = after
    found = Forecast.calibrated(true.tree, true.problem, pilot)
    # A step of the grid is 9 % in power and 12 % in scale; what is compared is the curve, far out.
    assert found.loss(10 * reach) == pytest.approx(float(true.loss(10 * reach)), rel=0.12)
    assert found.loss(reach) == pytest.approx(loss, rel=0.03)


def test_a_pilot_of_long_stretches_tells_much_drift_from_little():
    def calibrated(drift):
        true = forecast(drift=drift)
        pilot, reach, loss = [], 0.0, 2.0
        for tau in [(1, 1)] * 3 + [(4, 1)] * 6 + [(16, 1)] * 4 + [(512, 1)] * 2:
            lost = true.progress(tau, mu=0.3, rounds=1)
            reach += lost.steps - sum(lost.drift)
            after = float(true.loss(reach))
            pilot.append(PilotRound(tau=tau, mu=0.3, loss_before=loss, loss_after=after))
            loss = after
        return Forecast.calibrated(true.tree, true.problem, pilot).drift

    little, much = DRIFT[0] / DRIFT[1] ** 1.5, DRIFT[0] * DRIFT[1] ** 1.5
    assert calibrated(little) < DRIFT[0] < calibrated(much)


def test_a_pilot_whose_loss_rose_is_refused():
    pilot = [PilotRound(tau=(1, 1), mu=0.3, loss_before=2.0, loss_after=2.1)]
    with pytest.raises(ConfigError, match=r"went from 2 to 2\.1 in|went from 2 to 2\.1, and"):
        Forecast.calibrated(forecast().tree, forecast().problem, pilot)


@pytest.mark.parametrize("seed", range(24))
def test_the_search_finds_what_trying_every_plan_finds(seed):
    rng = np.random.default_rng(seed)
    links = 1 + seed % 4
    fan_in = rng.integers(1, 4, links).tolist()
    one = forecast(
        tree=TreeConstants.balanced(fan_in),
        gradient_variance=float(rng.choice([0, 0.5])),
        heterogeneity=tuple(rng.choice([0, 0.05, 0.3], links).tolist()),
        q=tuple(rng.choice([0, 0.1, 5], links).tolist()),
        drift=float(rng.choice([0, 0.05, 1.0])),
        shares=COSINE if seed % 2 else (1.0,),
    )
    asked = Deadline(
        costs=Costs(
            times=Times.alike(
                step_s=float(rng.uniform(0.5, 2)),
                message_s=rng.uniform(0, 10, links).tolist(),
            )
        ),
        deadline_s=float(rng.uniform(60, 150)),
    )
    mus = (0.5, 0.1)
    tried = []
    for mu in mus:
        taus = [np.asarray(c, float) for c in chains(links, steps_max=int(asked.most())).T]
        rounds = asked.rounds(taus)
        value = np.where(rounds >= 1, one.value(taus, mu=mu, rounds=rounds), np.inf)
        rows = zip(value, asked.costs.round_s(taus), *taus, strict=True)
        tried += [(float(v), float(s), tuple(map(int, tau)), mu) for v, s, *tau in rows]
    found = least(one, asked, mus=mus)
    assert (found.value, found.round_s, found.tau, found.mu) == min(tried)
