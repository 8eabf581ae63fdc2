"""The search finds what trying every plan finds, and the numbers of the worked example."""

from __future__ import annotations

import numpy as np
import pytest

from fedtier.errors import ConfigError
from fedtier.planner.bound import Problem, Split
from fedtier.planner.chains import chains
from fedtier.planner.cost import Costs
from fedtier.planner.least_bound import LeastBound
from fedtier.planner.round_time import Times
from fedtier.planner.search import Deadline, chains_within, least
from fedtier.planner.tree_constants import TreeConstants

ONES = Split(alpha=1, beta=1, theta=1)
PROBLEM = {
    "smoothness": 1.0,
    "gap": 2.0,
    "gradient_variance": 0.5,
    "heterogeneity": (0.04, 0.02, 0.01),
    "q": (100 / 15**2, 100 / 31**2, 100 / 63**2),
}
MESSAGES_S = (0.542, 0.366, 1.664)


def objective(**changes):
    given = {
        "tree": TreeConstants.balanced([3, 2, 2]),
        "problem": Problem(**PROBLEM),
        "split": ONES,
    }
    return LeastBound(**{**given, **changes})


def asked(times=None, deadline_s=1000):
    times = times or Times.alike(step_s=0.02, message_s=MESSAGES_S)
    return Deadline(costs=Costs(times=times), deadline_s=deadline_s)


def steps_max(question, what, mu):
    return int(min(question.most(), what.steps_max(mu=mu)))


@pytest.mark.parametrize(
    ("tau", "seconds", "rounds"),
    [
        ((4, 3, 2), 6.128, 163),
        ((1, 1, 1), 2.592, 385),
        ((10, 2, 1), 3.514, 284),
        ((1, 1, 10), 10.944, 91),
        ((36, 1, 2), 4.92, 203),
    ],
)
def test_a_round_takes_the_seconds_of_the_example(tau, seconds, rounds):
    times = Times.alike(step_s=0.02, message_s=MESSAGES_S)
    assert times.round_s(tau) == pytest.approx(seconds, rel=1e-12)
    assert Costs(times=times).rounds(tau, deadline_s=1000) == rounds


def test_a_parent_waits_for_its_slowest_child_and_slow_links_may_hide_behind_slow_boards():
    times = Times(
        parents=[[0, 0, 1], [0, 0]], step_s=[1, 2, 5], message_s=[[4, 1, 1], [10, 20]]
    )  # fmt: skip
    # tier 1: max(3+4, 6+1) = 7 and 15+1 = 16; cloud: max(2*7+10, 2*16+20)
    assert times.round_s((3, 2)) == 52
    assert times.round_s((np.array([3, 1]), 2)).tolist() == [52, max(2 * 5 + 10, 2 * 6 + 20)]


def test_a_deadline_that_is_a_multiple_of_the_round_holds_that_many():
    times = Times.alike(step_s=0.1, message_s=(0.2,))
    assert Costs(times=times).rounds((1,), deadline_s=0.3 * 7) == 7


def test_the_example_has_the_optimum_it_should():
    found = least(objective(), asked(), mus=[0.005])
    assert (found.tau, found.rounds) == ((36, 1, 2), 203)
    assert found.round_s == pytest.approx(4.92, rel=1e-12)
    assert found.value == pytest.approx(0.0741459592586, rel=1e-11)
    assert len(chains(3, steps_max=steps_max(asked(), objective(), 0.005))) == 2312


def test_with_its_step_size_chosen_too():
    found = least(objective(), asked(), mus=[0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2])
    assert (found.mu, found.tau, found.rounds) == (0.02, (9, 1, 2), 260)
    assert found.value == pytest.approx(0.0640263287180596, rel=1e-12)


def test_with_more_heterogeneity_devices_go_less_far():
    problem = Problem(**{**PROBLEM, "heterogeneity": (0.4, 0.4, 0.4)})
    found = least(objective(problem=problem), asked(), mus=[0.02])
    assert (found.tau, found.rounds) == ((4, 1, 2), 274)
    assert found.value == pytest.approx(0.148823968496, rel=1e-11)


@pytest.mark.parametrize("seed", range(24))
def test_it_finds_what_trying_every_plan_finds(seed):
    rng = np.random.default_rng(seed)
    links = 1 + seed % 4
    fan_in = rng.integers(1, 4, links).tolist()
    mus = np.geomspace(0.02, 0.5, 4).tolist()
    what = objective(
        tree=TreeConstants.balanced(fan_in),
        problem=Problem(
            smoothness=1.0,
            gap=float(rng.uniform(0.5, 4)),
            gradient_variance=float(rng.choice([0, 0.1, 1])),
            heterogeneity=tuple(rng.uniform(0, 0.3, links).tolist()),
            q=tuple(rng.choice([0, 0.05, 0.5, 2], links).tolist()),
        ),
        split=None if seed % 2 else ONES,
    )
    question = asked(
        times=Times.alike(
            step_s=float(rng.uniform(0.01, 1)), message_s=rng.uniform(0.1, 20, links).tolist()
        ),
        deadline_s=float(rng.uniform(200, 3000)),
    )
    found = least(what, question, mus=mus)
    assert (found.value, found.round_s, found.tau, found.mu) == best_of_all(what, question, mus)


def best_of_all(what, question, mus):
    """The same by trying every plan."""
    tried = []
    for mu in mus:
        taus = list(chains(question.costs.links, steps_max=steps_max(question, what, mu)).T)
        rounds = question.rounds(taus)
        value = what.value(taus, mu=mu, rounds=np.maximum(rounds, 1))
        round_s = question.costs.round_s(taus)
        rows = zip(np.where(rounds >= 1, value, np.inf), round_s, *taus, strict=True)
        tried += [(float(v), float(s), tuple(map(int, tau)), mu) for v, s, *tau in rows]
    return min(tried)


def test_a_deadline_too_short_for_a_round_names_the_shortest_that_is_not():
    with pytest.raises(ConfigError, match=r"takes 2\.592 s, so the smallest deadline"):
        least(objective(), asked(deadline_s=2.5), mus=[0.005])


def test_no_plan_is_found_where_the_theorem_holds_for_none():
    assert least(objective(), asked(), mus=[1.5]) is None


def test_counts_of_few_bits_are_those_whose_binary_digits_are_few():
    def significant(count):
        return len(f"{count:b}".rstrip("0"))

    for bits in (1, 2, 4):
        wanted = [
            tau for tau in chains(2, steps_max=90).tolist() if max(map(significant, tau)) <= bits
        ]
        assert chains(2, steps_max=90, bits=bits).tolist() == wanted


def test_with_counts_of_few_bits_the_best_of_those_is_found():
    what, question = objective(), asked()
    found = least(what, question, mus=[0.02, 0.005], bits=2)
    tried = []
    for mu in (0.02, 0.005):
        taus = list(chains(3, steps_max=steps_max(question, what, mu), bits=2).T)
        rounds = question.rounds(taus)
        value = np.where(rounds >= 1, what.value(taus, mu=mu, rounds=rounds), np.inf)
        tried += zip(value, question.costs.round_s(taus), *taus, strict=True)
    value, _, *tau = min(tried)
    assert (found.value, found.tau) == (value, tuple(tau))


def test_where_bounds_rule_nothing_out_the_best_prefixes_alone_go_on():
    flat = objective(problem=Problem(**{**PROBLEM, "smoothness_mean": 1e-15}))
    known = least(flat, asked(), mus=[0.005], bits=1)
    every = chains_within(flat, asked(), 0.005, known, bits=5)
    some = chains_within(flat, asked(), 0.005, known, bits=5, kept_max=7)
    assert len(every) > 100
    assert len(some) == 7
    assert {*map(tuple, some.tolist())} <= {*map(tuple, every.tolist())}
    found = least(flat, asked(), mus=[0.005], bits=5, kept_max=7)
    assert found.value <= known.value
