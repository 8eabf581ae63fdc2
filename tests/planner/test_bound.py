"""The bound's numbers, and the identities by which it changes nothing or only what it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier.errors import ConfigError
from fedtier.planner.bound import Problem, Split, bound
from fedtier.planner.tree_constants import TreeConstants

ONES = Split(alpha=1, beta=1, theta=1)
PLAN = {"tau": (4, 3, 2), "mu": 0.005, "rounds": 163}


def qsgd(dimension, levels):
    """The classical worst case of stochastic rounding to that many levels."""
    return min(dimension / levels**2, dimension**0.5 / levels)


def example(**changes):
    given = {
        "smoothness": 1.0,
        "gap": 2.0,
        "gradient_variance": 0.5,
        "heterogeneity": (0.04, 0.02, 0.01),
        "q": tuple(qsgd(100, levels) for levels in (15, 31, 63)),
    }
    return Problem(**{**given, **changes})


@pytest.fixture
def tree():
    return TreeConstants.balanced([3, 2, 2])


def close(number):
    """Equal to the digits that are printed, of which there are at least five."""
    return pytest.approx(number, rel=1e-11)


def test_the_constants_of_a_balanced_tree(tree):
    assert tree.s == close((1, 1 / 3, 1 / 6, 1 / 12))
    shares = {(1, 2): 1 / 3, (1, 3): 1 / 6, (1, 4): 1 / 12, (2, 3): 1 / 2, (2, 4): 1 / 4}
    for place, share in {**shares, (3, 4): 1 / 2, (1, 1): 1, (4, 4): 1}.items():
        assert tree.r[place] == close(share)
    for place, share in {(1, 2): 1 / 6, (1, 3): 1 / 12, (2, 3): 1 / 4}.items():
        assert tree.rt[place] == close(share)


def test_every_quantity_of_the_worked_example(tree):
    found = bound(tree, example(), **PLAN, split=ONES)
    assert found.holds
    details = {
        "A_1": 0.0004,
        "A_2": 0.00131851851852,
        "A_3": 0.00259646201873,
        "C_1": 5.3e-05,
        "C_2": 6.0037037037e-05,
        "C_3": 4.22658688866e-05,
        "H_A": 0.00188988322349,
        "H_C": 0.000178817435542,
        "V0": 0.000350375,
        "kappa": 0.0276,
        "J_A": 8.18247767755e-05,
        "J_C": 4.05725040238e-06,
        "Psi": 1.01636495536,
        "D": 0.0062587534539,
    }
    for name, value in details.items():
        assert found.details[name] == close(value), name
    assert found.omega == close(0.970510116777)
    assert found.gamma == close(0.981655867875)
    summands = {
        "optimisation": 0.204498977505,
        "noise": 0.000208333333333,
        "quantization": 0.000811450080475,
        "drift": 0.000554195816021,
    }
    for name, value in summands.items():
        assert getattr(found, name) * found.gamma == close(value), name
    assert found.value == close(0.209923827156)
    assert found.value == close(sum(getattr(found, name) for name in summands))
    assert found.dispersion == close(0.000954059044507)
    assert found.increments == close((1.3735115448e-4, 3.38083435139e-4, 5.89802290998e-4))
    assert found.cloud_at(1, smoothness=1) == close(0.432365161221)
    ratios = np.geomspace(1e-3, 1e3, 4001)
    least = min(found.cloud_at(ratio, smoothness=1) for ratio in ratios)
    assert found.cloud <= least <= found.cloud * (1 + 1e-5)  # the grid is fine, not exact


VARIANTS = [
    ({}, {}, Split(theta=0.5), 0.139867955528),
    ({}, {}, None, 0.111830644512),
    ({"smoothness_mean": 0.2, "smoothness_each": 0.6}, {}, ONES, 0.208981600772),
    ({}, {"tau": (1, 1, 1), "rounds": 385}, ONES, 2.0821258523),
    ({}, {"tau": (10, 2, 1), "rounds": 284}, ONES, 0.147330883181),
    ({}, {"tau": (1, 1, 10), "rounds": 91}, ONES, 0.883449821371),
    ({}, {"tau": (36, 1, 2), "rounds": 203}, ONES, 0.0741459592586),
    ({}, {"tau": (9, 1, 2), "rounds": 260, "mu": 0.02}, ONES, 0.0640263287180596),
    (
        {"heterogeneity": (0.4, 0.4, 0.4)},
        {"tau": (4, 1, 2), "rounds": 274, "mu": 0.02},
        ONES,
        0.148823968496,
    ),
]


@pytest.mark.parametrize(("problem", "plan", "split", "value"), VARIANTS)
def test_the_variants_of_the_example(tree, problem, plan, split, value):
    found = bound(tree, example(**problem), **{**PLAN, **plan}, split=split)
    assert found.value == close(value)


def test_without_heterogeneity_noise_grows_by_every_link_to_a_product(tree):
    problem = example(heterogeneity=(0.0, 0.0, 0.0))
    found = bound(tree, problem, tau=(1, 1, 1), mu=0.005, rounds=385, split=ONES)
    product = 0.005 * 0.5 / 12 * np.prod([1 + 2 * q for q in problem.q])
    assert (found.noise + found.quantization) * found.gamma == close(product)
    assert product == close(0.000499372707421)


ONE_LINK = {"smoothness": 1.0, "gap": 1.0, "gradient_variance": 1.0, "heterogeneity": (0.1,)}


@pytest.mark.parametrize(
    ("q", "tau", "rounds", "value"),
    [(0.0, 5, 200, 0.201842369478), (0.5, 5, 200, 0.206936480098), (0.0, 1, 1000, 0.20125)],
)
def test_one_link_is_federated_averaging(q, tau, rounds, value):
    problem = Problem(**ONE_LINK, q=(q,))
    tree = TreeConstants.balanced([8])
    found = bound(tree, problem, tau=(tau,), mu=0.01, rounds=rounds, split=ONES)
    assert found.value == close(value)


def test_one_link_with_homogeneous_devices_is_the_bound_of_local_sgd():
    L, mu, sigma2, tau, M, rounds, gap = 1.3, 0.02, 0.7, 6, 8, 50, 1.5
    problem = Problem(
        smoothness=L, gap=gap, gradient_variance=sigma2, heterogeneity=(0.0,), q=(0.0,)
    )
    found = bound(
        TreeConstants.balanced([M]), problem, tau=(tau,), mu=mu, rounds=rounds, split=ONES
    )
    drift = L**2 * mu**2 * sigma2 * (tau - 1) * (1 - 1 / M)
    drift /= 1 - 2 * mu**2 * L**2 * tau * (tau - 1)
    assert found.value == close(2 * gap / (mu * rounds * tau) + L * mu * sigma2 / M + drift)


def test_one_step_on_one_link_is_the_bound_of_mini_batch_sgd():
    weights = (0.1, 0.2, 0.7)
    problem = Problem(**{**ONE_LINK, "heterogeneity": (0.0,)}, q=(0.0,))
    tree = TreeConstants.of([[0, 0, 0]], weights)
    found = bound(tree, problem, tau=(1,), mu=0.05, rounds=90, split=ONES)
    assert found.value == close(2 / (0.05 * 90) + 0.05 * sum(p**2 for p in weights))


@pytest.mark.parametrize("padding", [0, 1, 2])
def test_an_idle_tier_leaves_the_bound_as_it_is(padding):
    idle = ((1,) * padding, (0.0,) * padding)
    problem = Problem(
        smoothness=1.0, gap=1.0, gradient_variance=1.0,
        heterogeneity=(0.1, 0.05, *idle[1]), q=(0.0, 0.0, *idle[1]),
    )  # fmt: skip
    tree = TreeConstants.balanced([4, 3, *idle[0]])
    found = bound(tree, problem, tau=(5, 4, *idle[0]), mu=0.005, rounds=100, split=ONES)
    assert found.value == close(0.201264441047)


def test_two_links_without_quantizers_pay_for_divergence_over_each_tiers_own_steps():
    problem = Problem(
        smoothness=1.0, gap=1.0, gradient_variance=0.0, heterogeneity=(0.3, 0.2), q=(0.0, 0.0)
    )
    mu, (t1, t2) = 0.004, (3, 5)
    tree = TreeConstants.balanced([4, 3])
    found = bound(tree, problem, tau=(t1, t2), mu=mu, rounds=10, split=ONES)
    first, both = (s * (2 * s - 1) - (2 * s - 1) for s in (t1, t1 * t2))  # (S-1)(2S-1)
    assert found.details["V0"] == close(4 * mu**2 * (0.3 * first + 0.2 * both) / 6)


def test_a_child_of_one_merges_with_its_parent():
    """A tier of single children without a quantizer is not there, but for its repetitions."""
    merged = Problem(
        smoothness=1.0, gap=1.0, gradient_variance=0.4, heterogeneity=(0.1, 0.2), q=(0.3, 0.1)
    )
    apart = Problem(
        smoothness=1.0, gap=1.0, gradient_variance=0.4, heterogeneity=(0.1, 0.0, 0.2),
        q=(0.3, 0.0, 0.1),
    )  # fmt: skip
    weights = (1, 2, 3, 4, 5)
    two = TreeConstants.of([[0, 0, 1, 1, 1], [0, 0]], weights)
    three = TreeConstants.of([[0, 0, 1, 1, 1], [0, 1], [0, 0]], weights)
    plan = {"mu": 0.01, "rounds": 40, "split": ONES}
    whole = bound(two, merged, tau=(4, 6), **plan)
    parts = bound(three, apart, tau=(4, 1, 6), **plan)
    assert parts.value == close(whole.value)
    assert parts.cloud == close(whole.cloud)


@given(
    floor=st.tuples(*[st.floats(0, 1e-4)] * 3),
    taller=st.floats(1.01, 10),
)
def test_an_absolute_floor_only_adds_and_more_of_it_adds_more(floor, taller):
    tree = TreeConstants.of([[0, 0, 1, 1, 1], [0, 0], [0]], (1, 2, 3, 4, 5))
    none = bound(tree, example(), **PLAN, split=ONES)
    some = bound(tree, example(floor=floor), **PLAN, split=ONES)
    more = bound(tree, example(floor=tuple(f * taller for f in floor)), **PLAN, split=ONES)
    assert none.value <= some.value <= more.value
    assert none.cloud <= some.cloud <= more.cloud


def test_a_floor_on_the_only_link_is_noise_once_a_round():
    floor, mu, tau, rounds = 0.02, 0.05, 4, 60
    tree = TreeConstants.of([[0, 0, 0]], (1, 1, 2))
    plain = Problem(**ONE_LINK, q=(0.0,))
    rough = Problem(**ONE_LINK, q=(0.0,), floor=(floor,))
    plan = {"tau": (tau,), "mu": mu, "rounds": rounds, "split": ONES}
    extra = bound(tree, rough, **plan).quantization * bound(tree, rough, **plan).gamma
    assert bound(tree, plain, **plan).quantization == 0
    assert extra == close(1 / mu * floor * (0.25**2 * 2 + 0.5**2) / tau)


def test_a_step_that_is_too_large_is_not_guaranteed(tree):
    for plan in ({"mu": 1.01}, {"mu": 0.9, "tau": (8, 8, 8)}):
        found = bound(tree, example(), **{**PLAN, **plan})
        assert not found.holds
        assert found.value == found.cloud == np.inf


def test_many_plans_at_once_give_what_each_gives_alone(tree):
    taus = np.array([(1, 1, 1), (4, 3, 2), (36, 1, 2), (9, 1, 2)]).T
    mus = np.array([0.001, 0.005, 0.02])[:, None]
    together = bound(tree, example(), tau=list(taus), mu=mus, rounds=np.array([385, 163, 203, 260]))
    assert together.value.shape == together.cloud.shape == (3, 4)
    for row, mu in enumerate(mus[:, 0]):
        for column, rounds in enumerate((385, 163, 203, 260)):
            alone = bound(tree, example(), tau=taus[:, column], mu=mu, rounds=rounds)
            assert together.value[row, column] == alone.value
            assert together.increments[1][row, column] == alone.increments[1]


@pytest.mark.parametrize(
    ("parents", "weights", "match"),
    [
        ([], None, "a link and a device"),
        ([[0, 0], [0, 0]], None, "every one of 0 to 1 must occur"),
        ([[0, 2], [0, 0]], None, "every one of 0 to 1 must occur"),
        ([[0, 1]], None, "every one of 0 to 0 must occur"),
        ([[0, 0]], (1, 0), "numbers > 0"),
        ([[0, 0]], (1,), "2 numbers"),
    ],
)
def test_what_is_no_tree_is_refused(parents, weights, match):
    with pytest.raises(ConfigError, match=match):
        TreeConstants.of(parents, weights)
