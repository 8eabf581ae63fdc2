"""The layout: tensors to one vector and back, and digests that name both."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtier.errors import ConfigError, UpdateError, WireError
from fedtier.limits import DIMENSION_MAX
from fedtier.model import ParameterLayout, TensorSpec, model_digest

GOLDEN = json.loads((Path(__file__).parent / "golden" / "model.json").read_text())["layouts"]


def layout_of(**shapes):
    return ParameterLayout(tensors=tuple(TensorSpec(name=n, shape=s) for n, s in shapes.items()))


layouts = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1, max_size=9),
    st.lists(st.integers(1, 4), max_size=3).map(tuple),
    min_size=1,
    max_size=5,
).map(lambda shapes: layout_of(**shapes))


@pytest.mark.covers("N-1")
@pytest.mark.covers("N-2")
@pytest.mark.parametrize("entry", GOLDEN, ids=lambda e: f"d={e['dimension']}")
def test_layout_and_model_have_their_golden_digests(entry):
    layout = ParameterLayout.from_json(entry["layout"])
    vector = ((np.arange(layout.dimension) - 4) / 8).astype(np.float32)
    assert layout.dimension == entry["dimension"]
    assert layout.digest == entry["layout_digest"]
    assert model_digest(layout.digest, vector) == entry["model_digest"]


@given(layout=layouts)
def test_flattening_and_unflattening_undo_each_other(layout):
    vector = np.arange(layout.dimension, dtype=np.float32)
    arrays = layout.unflatten(vector)
    assert {name: array.shape for name, array in arrays.items()} == {
        tensor.name: tensor.shape for tensor in layout.tensors
    }
    assert np.array_equal(layout.flatten(arrays), vector)


@given(layout=layouts)
def test_a_layout_survives_json(layout):
    again = ParameterLayout.from_json(json.loads(json.dumps(layout.to_json())))
    assert again == layout
    assert again.digest == layout.digest


def test_tensors_lie_one_after_the_other_in_c_order():
    layout = layout_of(w=(2, 3), b=(), c=(2,))
    arrays = {
        "c": np.array([8, 9], np.float32),
        "w": np.asfortranarray(np.arange(1, 7, dtype=np.float32).reshape(2, 3)),
        "b": np.array(7, np.float32),
    }
    assert layout.offsets == (0, 6, 7)
    assert layout.flatten(arrays).tolist() == [1, 2, 3, 4, 5, 6, 7, 8, 9]


def test_unflattened_tensors_are_views_of_the_vector():
    vector = np.zeros(6, dtype=np.float32)
    layout_of(w=(2, 3)).unflatten(vector)["w"][1, 2] = 5
    assert vector[5] == 5


@given(first=layouts, second=layouts)
def test_layouts_have_one_digest_exactly_when_they_are_equal(first, second):
    assert (first.digest == second.digest) == (first == second)


def test_names_shapes_and_their_order_all_enter_the_digest():
    shapes = [
        {"a": (2, 3), "b": (3,)},
        {"b": (3,), "a": (2, 3)},
        {"a": (3, 2), "b": (3,)},
        {"a": (6,), "b": (3,)},
        {"a": (2, 3), "bb": (3,)},
        {"ab": (2, 3), "b": (3,)},
        {"a": (2, 3), "b": (3, 1)},
    ]
    assert len({layout_of(**shape).digest for shape in shapes}) == len(shapes)


def test_a_models_digest_sees_every_bit_and_the_layout():
    layout, other = layout_of(w=(2, 2)), layout_of(w=(4,))
    vector = np.zeros(4, dtype=np.float32)
    negative = vector.copy()
    negative[3] = -0.0
    digests = {
        model_digest(layout.digest, vector),
        model_digest(layout.digest, negative),
        model_digest(other.digest, vector),
    }
    assert len(digests) == 3


def test_a_models_digest_is_that_of_its_numbers_however_they_lie_in_memory():
    digest = layout_of(w=(4,)).digest
    vector = np.arange(8, dtype=np.float32)[::2]
    swapped = vector.astype(">f4")
    assert (
        model_digest(digest, vector)
        == model_digest(digest, vector.copy())
        == model_digest(digest, swapped)
    )


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"w": np.zeros((2, 3), np.float32)}, "missing \\['b'\\]"),
        (
            {
                "w": np.zeros((2, 3), np.float32),
                "b": np.zeros(3, np.float32),
                "x": np.zeros(1, np.float32),
            },
            "not in it \\['x'\\]",
        ),
        ({"w": np.zeros((3, 2), np.float32), "b": np.zeros(3, np.float32)}, "'w'.*\\(3, 2\\)"),
        ({"w": np.zeros((2, 3), np.float32), "b": np.zeros(3)}, "'b'.*float64"),
    ],
)
def test_tensors_that_do_not_match_the_layout_are_refused(arrays, message):
    with pytest.raises(UpdateError, match=message):
        layout_of(w=(2, 3), b=(3,)).flatten(arrays)


@pytest.mark.parametrize(
    "vector", [np.zeros(5, np.float32), np.zeros(6), np.zeros((2, 3), np.float32)]
)
def test_a_vector_of_another_shape_or_type_is_refused(vector):
    with pytest.raises(UpdateError, match=r"the model's is float32 \(6,\)"):
        layout_of(w=(2, 3)).unflatten(vector)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("", (1,)),
        ("x" * 256, (1,)),
        ("a\nb", (1,)),
        ("\ud800", (1,)),
        ("w", (2, 0)),
        ("w", (-1,)),
        ("w", (1,) * 33),
    ],
)
def test_a_tensor_that_cannot_be_is_refused(name, shape):
    with pytest.raises(ConfigError, match="layout"):
        TensorSpec(name=name, shape=shape)


def test_a_layout_that_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="no tensor"):
        ParameterLayout(tensors=())
    same = TensorSpec(name="w", shape=(1,))
    with pytest.raises(ConfigError, match="two tensors are named 'w'"):
        ParameterLayout(tensors=(same, TensorSpec(name="v", shape=()), same))
    with pytest.raises(ConfigError, match=str(DIMENSION_MAX)):
        layout_of(w=(DIMENSION_MAX,), b=(1,))


@pytest.mark.parametrize(
    "data",
    [
        None,
        {"name": "w"},
        [],
        ["w"],
        [{"name": "w"}],
        [{"name": "w", "shape": 3}],
        [{"name": 1, "shape": [3]}],
        [{"name": "w", "shape": [3], "dtype": "float32"}],
        [{"name": "w", "shape": [True]}],
        [{"name": "w", "shape": [2.0]}],
        [{"name": "w", "shape": [0]}],
        [{"name": "\ud800", "shape": [1]}],
        [{"name": "w", "shape": [10**30]}],
        [{"name": "w", "shape": [1]}, {"name": "w", "shape": [1]}],
    ],
)
def test_json_that_is_no_layout_is_refused(data):
    with pytest.raises(WireError):
        ParameterLayout.from_json(data)
