"""The laws every version must keep, on regular and irregular trees of one to five tiers."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

import numpy as np
import pytest
from core_reference import fedavg, hierfavg, run_round
from hypothesis import given
from hypothesis import strategies as st
from world import World
from world_shapes import (
    Shape,
    TrainFunction,
    irregular,
    make_plan,
    quadratic,
    random_centres,
    regular,
)

from fedtier.wire.plan import CodecSpec, Plan

TREES = [
    *(regular(*fan_outs) for fan_outs in [(3,), (2, 2), (2, 1, 2), (1, 2, 1, 2), (2, 1, 2, 1, 2)]),
    *(irregular(seed, height) for seed, height in [(1, 2), (2, 3), (3, 4), (4, 5), (5, 5)]),
]
NAMES = [f"{shape.height} tiers, {len(shape.devices)} devices" for shape in TREES]
every_tree = pytest.mark.parametrize("shape", TREES, ids=NAMES)

# A float32 step rounds by at most 2^-24 of a value of order 1; a few hundred steps stay below.
ROUNDING = 3e-5


def trained(shape: Shape, plan: Plan, train: TrainFunction, start, **options) -> World:
    with tempfile.TemporaryDirectory() as disk:
        world = World(shape, plan, train, disk=Path(disk), start=start, **options)
        world.run()
        return world


def gradient_of(centres):
    return lambda device, x: x - np.asarray(centres[device], np.float64)


# Worked trajectories


@pytest.mark.parametrize(
    ("weights", "cloud"), [((1, 1, 1, 1), 0.6878), ((1, 3, 2, 4), 0.92853)], ids=str
)
def test_two_edges_with_two_devices_each_follow_the_worked_trajectory(weights, cloud):
    names = ["d0", "d1", "d2", "d3"]
    shape = regular(2, 2, weights=dict(zip(names, weights, strict=True)))
    centres = dict(zip(names, [0.0, 1.0, 2.0, 5.0], strict=True))
    world = trained(shape, make_plan((2, 2)), quadratic(centres), np.zeros(1))
    assert abs(float(world.model[0]) - cloud) < 1e-5  # the numbers are given to five digits


# Laws


@every_tree
@pytest.mark.covers("X-2")
def test_children_with_one_and_the_same_delta_give_that_delta_to_the_bit(shape):
    delta = np.array([0.5, -0.375, 2**-20, 3.0, 0.0], np.float32)  # multiples of 2^-E for any E
    plan = make_plan((1,) * shape.height)
    world = trained(shape, plan, lambda node, task, model: model + delta, np.zeros(5))
    np.testing.assert_array_equal(world.model, delta)


@every_tree
def test_children_with_one_model_return_that_model_to_one_ulp(shape):
    start = np.random.default_rng(1).normal(size=50).astype(np.float32)
    target = np.random.default_rng(2).normal(size=50).astype(np.float32)
    plan = make_plan((1,) * shape.height)
    world = trained(shape, plan, lambda node, task, model: target.copy(), start)
    # delta, mean and sum round once each on every tier; all of order 1
    np.testing.assert_allclose(world.model, target, atol=shape.height * 4 * 2**-24)


@pytest.mark.parametrize("tier", [1, 2])
@pytest.mark.covers("X-2")
def test_an_idle_tier_changes_no_bit(tier):
    """One child, identity, tau = 1; deltas are multiples of 2^-E, as the law asks."""
    plain, idle = regular(2, 2), regular(2, 1, 2) if tier == 2 else regular(2, 2, 1)
    deltas = {
        f"d{i}": np.float32(i + 1) * np.array([2**-10, -(2**-12)], np.float32) for i in range(4)
    }

    def train(node, task, model):
        return model + np.float32(task.steps) * deltas[node]

    tau = (1, 1, 3) if tier == 2 else (1, 2, 3)
    short = (1, 3) if tier == 2 else (2, 3)
    with_idle = trained(idle, make_plan(tau), train, np.zeros(2))
    without = trained(plain, make_plan(short), train, np.zeros(2))
    np.testing.assert_array_equal(with_idle.model, without.model)


@every_tree
@pytest.mark.covers("X-2")
def test_single_steps_weighted_by_examples_are_gradient_descent_on_the_union(shape):
    draws = np.random.default_rng(3)
    data = {
        device: (
            draws.normal(size=(shape.weight(device), 4)),
            draws.normal(size=shape.weight(device)),
        )
        for device in shape.devices
    }

    def gradient(features, targets, w):
        return features.T @ (features @ w - targets) / len(targets)

    def train(node, task, model):
        return (model - 0.1 * gradient(*data[node], model.astype(np.float64))).astype(np.float32)

    rounds = 4
    world = trained(shape, make_plan((1,) * shape.height, rounds=rounds), train, np.zeros(4))
    union = [np.concatenate(columns) for columns in zip(*data.values(), strict=True)]
    w = np.zeros(4)
    for _ in range(rounds):
        w = w - 0.1 * gradient(*union, w)
    np.testing.assert_allclose(world.model, w, atol=ROUNDING)


def test_one_tier_is_fedavg():
    shape = regular(4, weights={"d0": 1, "d1": 5, "d2": 2, "d3": 4})
    centres = random_centres(shape, seed=4, dimension=6)
    world = trained(shape, make_plan((5,), rounds=3), quadratic(centres), np.zeros(6))

    def local(client):
        def update(x):
            for _ in range(5):
                x = x - 0.1 * (x - centres[client])
            return x

        return update

    x = np.zeros(6)
    for _ in range(3):
        x = fedavg({c: local(c) for c in shape.devices}, shape.weights, x)
    np.testing.assert_allclose(world.model, x, atol=ROUNDING)


def test_two_tiers_are_hierfavg():
    shape = regular(3, 2, weights={f"d{i}": i + 1 for i in range(6)})
    centres = random_centres(shape, seed=5, dimension=6)
    world = trained(shape, make_plan((4, 3), rounds=2), quadratic(centres), np.zeros(6))
    edges = {gateway: shape.children(gateway) for gateway in shape.gateways}
    x = np.zeros(6)
    for _ in range(2):
        x = hierfavg(
            edges, lambda c, w: w - 0.1 * (w - centres[c]), shape.weights, x, kappa_1=4, kappa_2=3
        )
    np.testing.assert_allclose(world.model, x, atol=ROUNDING)


@given(
    seed=st.integers(0, 10_000), height=st.integers(1, 5),
    tau=st.lists(st.integers(1, 3), min_size=5, max_size=5), rounds=st.integers(1, 2),
)  # fmt: skip
def test_any_tree_follows_the_recursion(seed, height, tau, rounds):
    shape = irregular(seed, height)
    centres = random_centres(shape, seed=seed, dimension=3)
    plan = make_plan(tuple(tau[:height]), rounds=rounds)
    world = trained(shape, plan, quadratic(centres), np.zeros(3))
    x = np.zeros(3)
    for _ in range(rounds):
        x = run_round(shape, tau[:height], 0.1, gradient_of(centres), x)
    np.testing.assert_allclose(world.model, x, atol=ROUNDING)


@given(seed=st.integers(0, 10_000), height=st.integers(2, 4), drop=st.integers(1, 3))
@pytest.mark.covers("H-11")
def test_a_child_below_a_higher_tier_equals_one_below_a_chain_of_idle_gateways(seed, height, drop):
    """The missing tiers are virtual: one child, identity, but the tau of their tier."""
    parent_tier = height
    child_tier = max(0, parent_tier - 1 - drop)
    tau = tuple(random.Random(seed).choices([1, 2, 3], k=height))
    below = {"a": 2, "b": 3} if child_tier else {}
    parents = {"x": "cloud", "y": "cloud"} | dict.fromkeys(below, "x")
    tiers = {"cloud": height} | ({"x": child_tier} if child_tier else {})
    direct = Shape(parents=parents, tiers=tiers, weights=below | {"y": 1})
    chain, links, lower = dict(parents), dict(tiers), "x"
    for tier in range(child_tier + 1, parent_tier):
        chain[lower], links[f"v{tier}"], lower = f"v{tier}", tier, f"v{tier}"
    chain[lower] = "cloud"
    chained = Shape(parents=chain, tiers=links, weights=direct.weights)
    centres = random_centres(direct, seed=seed, dimension=4)
    one = trained(direct, make_plan(tau), quadratic(centres), np.zeros(4))
    other = trained(chained, make_plan(tau), quadratic(centres), np.zeros(4))
    np.testing.assert_allclose(one.model, other.model, atol=ROUNDING)


# Quantized


QSGD = CodecSpec(name="qsgd", parameters=(("bucket", 16), ("levels", 2)))


def quantized(seed: int, **options) -> World:
    shape = regular(2, 2)
    centres = random_centres(shape, seed=9, dimension=200)
    plan = make_plan((2, 1), seed=seed, codecs=(QSGD, QSGD))
    return trained(shape, plan, quadratic(centres), np.zeros(200), **options)


def test_quantized_training_is_a_function_of_the_seed_alone():
    assert quantized(1).digest == quantized(1, run=99, interleaving=5).digest
    assert quantized(1).digest != quantized(2).digest


def test_quantized_training_is_unbiased_over_the_seeds():
    """Steps of a quadratic are affine, so unbiased rounding leaves the mean model exact."""
    shape = regular(2, 2)
    centres = random_centres(shape, seed=9, dimension=200)
    exact = run_round(shape, (2, 1), 0.1, gradient_of(centres), np.zeros(200))
    models = np.array([quantized(seed).model for seed in range(40)], np.float64)
    error = models.mean(axis=0) - exact
    # five standard errors of each coordinate's mean
    assert (np.abs(error) <= 5 * models.std(axis=0) / np.sqrt(40) + 1e-7).all()


# Order


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.covers("X-1")
def test_neither_starting_order_nor_arrival_order_changes_a_bit(seed):
    shape = irregular(11, 3)
    centres = random_centres(shape, seed=11, dimension=3000)  # three parts
    plan = make_plan((2, 1, 2), rounds=2, codecs=(QSGD, QSGD, QSGD))
    plain = trained(shape, plan, quadratic(centres), np.zeros(3000))
    order = [*shape.tiers, *shape.devices]
    random.Random(seed).shuffle(order)
    shuffled = trained(
        shape, plan, quadratic(centres), np.zeros(3000), starting_order=order, interleaving=seed,
        work_s=lambda node: random.Random(f"{seed} {node}").uniform(0, 30),
    )  # fmt: skip
    assert shuffled.digest == plain.digest


@pytest.mark.covers("T-7")
def test_small_parts_end_in_the_same_digest_as_large_ones():
    shape = regular(2, 2)
    centres = random_centres(shape, seed=12, dimension=40_000)  # 160 kB: 41 small parts, 3 large
    digests = {
        trained(
            shape, make_plan((1, 2)), quadratic(centres), np.zeros(40_000), part_bytes=part_bytes
        ).digest
        for part_bytes in (4096, 65_536)
    }
    assert len(digests) == 1
