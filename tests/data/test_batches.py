import itertools

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fedtier.data.batches import batch_indices
from fedtier.ids import IterationPath, NodeId

PATH = IterationPath((3, 1))
NODE = NodeId("d7")


def batches(count, number, *, batch=4, seed=1, path=PATH, node=NODE):
    stream = batch_indices(count, batch=batch, seed=seed, path=path, node=node)
    return list(itertools.islice(stream, number))


@given(count=st.integers(1, 60), batch=st.integers(1, 40), passes=st.integers(1, 3))
def test_a_pass_gives_every_example_at_most_once_and_leaves_less_than_a_batch(count, batch, passes):
    per_pass = max(1, count // batch)
    drawn = batches(count, per_pass * passes, batch=batch)
    assert all(indices.shape == (batch,) for indices in drawn)
    for number in range(passes):
        seen = np.concatenate(drawn[number * per_pass : (number + 1) * per_pass])
        assert seen.min() >= 0
        assert seen.max() < count
        if count >= batch:
            assert len(set(seen.tolist())) == len(seen) > count - batch
        else:
            assert set(seen.tolist()) == set(range(count))


def test_with_fewer_examples_than_a_batch_it_wraps_around():
    (indices,) = batches(3, 1, batch=8)
    assert indices.tolist() == [*indices[:3], *indices[:3], *indices[:2]]


def test_the_same_address_draws_the_same_batches_and_any_other_address_others():
    first = np.concatenate(batches(100, 10))
    assert np.array_equal(first, np.concatenate(batches(100, 10)))
    others = [{"seed": 2}, {"path": IterationPath((3, 2))}, {"node": NodeId("d8")}]
    for other in others:
        assert not np.array_equal(first, np.concatenate(batches(100, 10, **other)))


def test_successive_passes_are_shuffled_anew():
    first, second = batches(20, 2, batch=20)
    assert sorted(first) == sorted(second)
    assert not np.array_equal(first, second)


def test_the_golden_batches():
    assert [b.tolist() for b in batches(10, 3)] == GOLDEN


GOLDEN: list[list[int]] = [[5, 8, 2, 7], [3, 1, 4, 9], [8, 9, 7, 0]]
