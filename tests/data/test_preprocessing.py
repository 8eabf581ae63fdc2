import json

import numpy as np
import pytest

from fedtier.data.preprocessing import Pipeline
from fedtier.data.recording import Recording
from fedtier.errors import ConfigError

MIRROR = {"name": "mirror", "trait": "side", "equals": 1, "signs": [-1, 1]}
STANDARDISE = {"name": "standardise"}
WINDOW = {"name": "window", "length": 4, "stride": 2}


def recording(samples, *, side=0, label=0, key="a"):
    rows = np.asarray(samples, dtype=np.float32)
    return Recording(
        key=key,
        samples=rows,
        labels=np.full(len(rows), label, dtype=np.int64),
        traits={"side": side},
    )


def pipeline(*transforms):
    return Pipeline.from_json(transforms, where="artefact")


def examples(transforms, recordings, *, fit_to=None):
    fitted = pipeline(*transforms).fit(fit_to or recordings, where="test")
    return fitted.examples(recordings, where="test")


def test_mirror_flips_the_signs_of_the_one_side_only():
    left, right = recording([[1, 2], [3, 4]]), recording([[1, 2], [3, 4]], side=1, key="b")
    found = examples([MIRROR], [left, right])
    assert found.x.tolist() == [[1, 2], [3, 4], [-1, 2], [-3, 4]]
    assert right.samples.tolist() == [[1, 2], [3, 4]]


def test_standardise_gives_mean_zero_and_deviation_one_over_what_it_was_fitted_to():
    rng = np.random.default_rng(5)
    rows = rng.normal(3.0, [[2.0, 0.01]], size=(500, 2))
    x = examples([STANDARDISE], [recording(rows[:200]), recording(rows[200:], key="b")]).x
    # float32 values of size 1: their mean over 500 is exact to about 1e-7.
    assert np.abs(x.mean(axis=0, dtype=np.float64)).max() < 1e-6
    assert np.abs(x.std(axis=0, dtype=np.float64) - 1).max() < 1e-6


def test_standardise_never_sees_the_hold_out():
    training, other = recording([[0, 0], [2, 4]]), recording([[100, 100]], key="b")
    fitted = pipeline(STANDARDISE).fit([training], where="test")
    assert fitted.to_json() == [{"name": "standardise", "mean": [1.0, 2.0], "std": [1.0, 2.0]}]
    assert fitted.examples([other], where="test").x.tolist() == [[99, 49]]


def test_a_constant_channel_becomes_zero_and_not_nan():
    assert examples([STANDARDISE], [recording([[5, 1], [5, 3]])]).x.tolist() == [[0, -1], [0, 1]]


def test_each_transform_is_fitted_to_what_the_ones_before_it_made():
    fitted = pipeline(MIRROR, STANDARDISE).fit([recording([[1, 2], [3, 6]], side=1)], where="t")
    assert fitted.to_json()[1] == {"name": "standardise", "mean": [-2.0, 4.0], "std": [1.0, 2.0]}


def test_a_fitted_list_survives_json_and_treats_new_data_the_same():
    rng = np.random.default_rng(1)
    old, new = recording(rng.normal(size=(50, 2))), recording(rng.normal(size=(9, 2)), side=1)
    fitted = pipeline(MIRROR, STANDARDISE, WINDOW).fit([old], where="test")
    again = pipeline(*json.loads(json.dumps(fitted.to_json())))
    refitted = again.fit([new], where="test")  # given values are kept, not fitted anew
    expected = fitted.examples([new], where="test")
    assert refitted.examples([new], where="test").digest == expected.digest


def test_windows_are_channel_first_in_time_order_with_their_label():
    rows = np.arange(14, dtype=np.float32).reshape(7, 2)
    found = examples([WINDOW], [recording(rows, label=3)])
    assert found.x.shape == (2, 2, 4)
    assert found.x[1].tolist() == [[4, 6, 8, 10], [5, 7, 9, 11]]
    assert found.y.tolist() == [3, 3]
    assert found.x.dtype == np.float32
    assert found.x.flags.c_contiguous


def test_a_window_over_a_change_of_label_is_dropped():
    rows = np.zeros((10, 1), dtype=np.float32)
    changing = Recording(key="a", samples=rows, labels=np.array([0] * 5 + [1] * 5))
    found = examples([{"name": "window", "length": 2, "stride": 1}], [changing])
    assert found.y.tolist() == [0] * 4 + [1] * 4


def test_a_recording_shorter_than_a_window_gives_none():
    short = recording([[1, 2]] * 3)
    assert examples([WINDOW], [short, recording([[1, 2]] * 4, key="b")]).x.shape == (1, 2, 4)


def test_scale_turns_bytes_into_floats_of_the_same_shape():
    images = np.array([[[[0, 51], [102, 255]]]], dtype=np.uint8)
    one = Recording(key="a", samples=images, labels=np.array([7]))
    found = examples([{"name": "scale", "divide_by": 255}], [one])
    assert found.x.shape == (1, 1, 2, 2)
    assert found.x.ravel().tolist() == [np.float32(v) / np.float32(255) for v in (0, 51, 102, 255)]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.int64])
def test_ids_stay_whole_numbers_with_and_without_windows(dtype):
    samples = np.array([[3, 0], [9, 1], [2, 2], [4, 5]], dtype=dtype)
    one = Recording(key="a", samples=samples, labels=np.array([1, 1, 1, 1]))
    ids = {"name": "ids", "below": 10}
    rows = examples([ids], [one])
    assert rows.x.dtype == np.int64
    assert rows.x.tolist() == samples.tolist()
    windows = examples([ids, WINDOW], [one])
    assert windows.x.dtype == np.int64
    assert windows.x.tolist() == [samples.T.tolist()]


@pytest.mark.parametrize(
    ("transforms", "message"),
    [
        ([STANDARDISE, MIRROR], r"preprocessing\[1\] is 'mirror' after 'standardise'. Put it"),
        ([STANDARDISE, STANDARDISE], "'standardise' 2 times"),
        ([{"name": "ids", "below": 9}, STANDARDISE], "'ids' beside transforms of measured values"),
        ([WINDOW, STANDARDISE], "after 'window'. Put 'window' last"),
        ([{"name": "standardize"}], "Did you mean 'standardise'"),
        ([{"name": "window", "length": 4}], "stride is missing"),
        ([{"name": "window", "length": 4, "stride": 5}], "from 1 to 4"),
        ([{**MIRROR, "signs": [0, 1]}], "each sign must be 1 or -1"),
        ([{**WINDOW, "step": 2}], "'step' is unknown"),
        ([{"name": "standardise", "mean": [0.0], "std": [1.0, 1.0]}], "std has 2 values"),
        ([{"name": "standardise", "mean": [0.0]}], "std is missing"),
    ],
)
def test_a_list_that_cannot_be_is_refused_and_the_error_says_what_to_do(transforms, message):
    with pytest.raises(ConfigError, match=message) as caught:
        pipeline(*transforms)
    assert str(caught.value).startswith("artefact: ")


@pytest.mark.parametrize(
    ("transforms", "samples", "message"),
    [
        ([{**MIRROR, "signs": [1, 1, 1]}], np.zeros((3, 2)), "has 3 values.*has 2 channels"),
        ([{**MIRROR, "trait": "sides"}], np.zeros((3, 2)), "Did you mean 'side'"),
        ([STANDARDISE], np.zeros((3, 1, 2, 2)), "Images take 'scale' instead"),
        ([], np.zeros((3, 2), dtype=np.uint8), "Add .*scale"),
        ([{"name": "ids", "below": 2}], np.full((3, 2), 2), "holds 2, .* from 0 to 1"),
        ([{"name": "ids", "below": 2}], np.full((3, 2), 0.5), "holds 0.5"),
        ([{"name": "ids", "below": 2}], np.full((3, 2), -1), "holds -1"),
    ],
)
def test_data_that_do_not_suit_the_list_are_refused(transforms, samples, message):
    one = Recording(
        key="a", samples=samples, labels=np.zeros(3, dtype=np.int64), traits={"side": 0}
    )
    with pytest.raises(ConfigError, match=message):
        examples(transforms, [one])
