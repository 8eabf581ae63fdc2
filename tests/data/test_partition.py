import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fedtier.data.dirichlet_draws import dirichlet_shares
from fedtier.data.fields import Fields
from fedtier.data.partition import (
    Partition,
    by_key,
    classes_per_device,
    dirichlet,
    quantity_skew,
)
from fedtier.errors import ConfigError

LABELS = np.random.default_rng(2).integers(0, 10, size=6000)


def each_example_at_most_once(shares, labels):
    given_out = np.concatenate(shares)
    assert len(np.unique(given_out)) == len(given_out)
    assert given_out.size == 0 or (given_out.min() >= 0 and given_out.max() < len(labels))
    assert all((np.diff(share) > 0).all() for share in shares)
    return len(given_out)


@settings(max_examples=40, deadline=None)
@given(
    labels=st.lists(st.integers(0, 4), min_size=40, max_size=200),
    devices=st.integers(1, 8),
    seed=st.integers(0, 2**64 - 1),
    kind=st.sampled_from(["dirichlet", "classes", "quantity"]),
)
def test_every_partition_gives_each_example_once_at_most_and_no_device_none(
    labels, devices, seed, kind
):
    y = np.array(labels, dtype=np.int64)
    try:
        if kind == "dirichlet":
            shares = dirichlet(y, alpha=1.0, devices=devices, seed=seed)
        elif kind == "classes":
            shares = classes_per_device(y, classes=1, devices=devices, seed=seed)
        else:
            shares = quantity_skew(y, alpha=0.3, devices=devices, seed=seed)
    except ConfigError:
        return  # a class of one example cannot feed two devices: refused, never an empty device
    assert len(shares) == devices
    assert min(len(share) for share in shares) >= 1
    count = each_example_at_most_once(shares, y)
    if kind != "classes":
        assert count == len(y)


@pytest.mark.parametrize(
    "divide",
    [
        lambda seed: dirichlet(LABELS, alpha=0.3, devices=16, seed=seed),
        lambda seed: classes_per_device(LABELS, classes=2, devices=16, seed=seed),
        lambda seed: quantity_skew(LABELS, alpha=1.0, devices=16, seed=seed),
    ],
)
def test_a_partition_is_a_function_of_its_seed(divide):
    first, again, other = divide(1), divide(1), divide(2)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert any(not np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_a_small_alpha_concentrates_classes_and_a_large_one_spreads_them():
    def largest_class_share(alpha):
        shares = dirichlet(LABELS, alpha=alpha, devices=8, seed=4)
        counts = np.array([np.bincount(LABELS[s], minlength=10) for s in shares])
        return (counts.max(axis=1) / counts.sum(axis=1)).mean()

    assert largest_class_share(0.1) > 0.4
    assert largest_class_share(1000.0) < 0.15


def test_dirichlet_proportions_have_the_variance_of_the_distribution():
    count = 2000
    for alpha in (0.1, 1.0, 10.0):
        shares = dirichlet_shares(alpha, count, seed=3, address="test")
        assert abs(shares.sum() - 1) < 1e-12
        # Gamma(alpha) / count alpha: relative variance 1 / alpha; its estimate from 2,000 draws
        # has a relative standard error of at most sqrt((2 + 6 / alpha) / count) = 0.18.
        assert (shares * count).var() * alpha == pytest.approx(1.0, rel=0.55)


def test_classes_per_device_gives_each_device_its_number_of_classes_evenly():
    shares = classes_per_device(LABELS, classes=3, devices=20, seed=9)
    held = [set(LABELS[share].tolist()) for share in shares]
    assert all(len(classes) == 3 for classes in held)
    holders = [sum(name in classes for classes in held) for name in range(10)]
    assert max(holders) - min(holders) <= 1
    assert each_example_at_most_once(shares, LABELS) == len(LABELS)
    assert len({tuple(sorted(classes)) for classes in held}) > 5


def test_quantity_skew_honours_the_minimum_and_is_uneven():
    shares = quantity_skew(LABELS, alpha=0.2, devices=30, seed=5, minimum=20)
    sizes = [len(share) for share in shares]
    assert min(sizes) >= 20
    assert max(sizes) > 10 * min(sizes)
    assert each_example_at_most_once(shares, LABELS) == len(LABELS)


def test_by_key_gives_one_device_for_each_key():
    shares = by_key(np.array([7, 3, 7, 9, 3]))
    assert [share.tolist() for share in shares] == [[1, 4], [0, 2], [3]]


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"partition": "dirichlett", "alpha": 1}, "Did you mean 'dirichlet'"),
        ({"partition": "dirichlet"}, "alpha is missing"),
        ({"partition": "dirichlet", "alpha": 0.001, "devices": 60}, "Raise alpha, or lower"),
        ({"partition": "dirichlet", "alpha": 1, "devices": 700}, "6000 examples cannot give 700"),
        ({"partition": "classes", "classes": 11}, "classes = 11, but the labels have 10"),
        ({"partition": "classes", "classes": 1, "devices": 599}, "Lower devices, classes or"),
        ({"partition": "quantity", "alpha": 0}, "from 0.001"),
    ],
)
def test_a_partition_that_cannot_be_made_is_an_error_that_says_what_to_change(table, message):
    fields = Fields({"devices": 4, "seed": 1, **table}, where="agent.toml [data]")
    with pytest.raises(ConfigError, match=message) as caught:
        Partition.from_fields(fields).of(LABELS, where=fields.where)
    assert str(caught.value).count("agent.toml [data]") == 1


def test_the_golden_partition():
    y = np.array(list(itertools.islice(itertools.cycle([0, 1, 2]), 24)))
    shares = dirichlet(y, alpha=1.0, devices=3, seed=1)
    assert [share.tolist() for share in shares] == GOLDEN


GOLDEN: list[list[int]] = [
    [7, 11],
    [1, 8, 9, 10, 12, 13, 14, 23],
    [0, 2, 3, 4, 5, 6, 15, 16, 17, 18, 19, 20, 21, 22],
]
