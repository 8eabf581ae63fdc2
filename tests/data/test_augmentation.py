import hashlib

import numpy as np
import pytest

from fedtier.data.augmentation import Augmentation, step_keys
from fedtier.data.batch_transforms import rotation_matrices
from fedtier.data.normal_table import NORMAL_TABLE, table_normals
from fedtier.draws import draw_key
from fedtier.errors import ConfigError
from fedtier.ids import IterationPath, NodeId

GAIN = {"name": "gain", "std": 0.1}
ROTATION = {"name": "rotation", "std_rad": 0.15, "triples": [[0, 1, 2], [3, 4, 5]]}
TIME_SCALE = {"name": "time_scale", "std": 0.1}
NOISE = {"name": "noise", "std": 0.05}
ALL = [GAIN, ROTATION, TIME_SCALE, NOISE]


def keys(*, seed=1, path=(2, 0, 1), node="d1", step=0):
    return step_keys(seed=seed, path=IterationPath(path), node=NodeId(node), step=step)


def batch(count=32, channels=6, length=128):
    return np.random.default_rng(3).normal(size=(count, channels, length)).astype(np.float32)


def augment(transforms, x, **address):
    return Augmentation.from_json(transforms, where="artefact").apply(x, keys(**address))


def test_the_same_address_gives_the_same_bits_and_the_batch_given_is_left_alone():
    x = batch()
    before = x.copy()
    first = augment(ALL, x)
    assert first.dtype == np.float32
    assert first.flags.c_contiguous
    assert np.array_equal(x, before)
    assert np.array_equal(first, augment(ALL, x))


@pytest.mark.parametrize("other", [{"seed": 2}, {"path": (2, 0, 2)}, {"node": "d2"}, {"step": 1}])
def test_any_other_address_gives_other_changes(other):
    x = batch(4)
    for transform in ALL:
        assert not np.array_equal(augment([transform], x), augment([transform], x, **other))


def test_the_same_transform_twice_draws_twice():
    x = np.zeros((4, 6, 128), dtype=np.float32)
    once, twice = augment([NOISE], x), augment([NOISE, NOISE], x)
    assert not np.array_equal(twice, 2 * once)


def test_draws_are_in_sample_order_so_a_prefix_of_a_batch_comes_out_the_same():
    x = batch(8)
    for transform in ALL:
        assert np.array_equal(augment([transform], x)[:5], augment([transform], x[:5]))


def test_gain_multiplies_each_sample_by_one_number():
    x = batch()
    ratios = augment([GAIN], x) / x
    # One float32 product and quotient each: 2 roundings of 2**-24.
    assert np.ptp(ratios, axis=(1, 2)).max() < 4e-7
    assert 0.05 < ratios[:, 0, 0].std() < 0.2


def test_rotation_turns_both_sensors_alike_and_keeps_lengths():
    x = batch()
    x[:, 3:] = x[:, :3]
    turned = augment([ROTATION], x)
    assert np.array_equal(turned[:, 3:], turned[:, :3])
    before, after = (np.linalg.norm(v[:, :3].astype(np.float64), axis=1) for v in (x, turned))
    assert np.abs(after - before).max() < 2e-6 * before.max()


def test_rotation_matrices_are_those_of_the_exponential_series():
    axes = np.array([[0.1, -0.2, 0.3], [0.0, 0.0, 0.0], [0.0, 0.0, np.pi / 2]])
    for axis, found in zip(axes, rotation_matrices(axes), strict=True):
        x, y, z = axis
        k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
        term, total = np.eye(3), np.eye(3)
        for power in range(1, 30):
            term = term @ k / power
            total += term
        assert np.abs(found - total).max() < 1e-14


def test_time_scale_stretches_about_the_centre_and_keeps_a_straight_line_straight():
    ramp = np.arange(129, dtype=np.float32) - 64
    x = np.broadcast_to(ramp, (16, 2, 129)).copy()
    found = augment([TIME_SCALE], x)
    assert np.array_equal(found[:, 0], found[:, 1])
    assert np.abs(found[:, 0, 64]).max() < 1e-5
    rates = found[:, 0, 65]
    expected = np.clip(rates[:, None] * ramp, -64, 64)
    # Positions up to 128 in float32 are known to 2**-17.
    assert np.abs(found[:, 0] - expected).max() < 64 * 2e-5
    assert (rates < 1).any()
    assert (rates > 1).any()


def test_time_scale_clamps_at_the_edges_and_invents_no_values():
    x = batch()
    found = augment([{"name": "time_scale", "std": 1.0}], x)
    # Interpolated values may pass their neighbours by a rounding, of 2**-24 times about 4.
    assert (found.max(axis=2) <= x.max(axis=2) + 1e-6).all()
    assert (found.min(axis=2) >= x.min(axis=2) - 1e-6).all()


def test_a_deviation_of_zero_changes_nothing():
    x = batch()
    none = [{**GAIN, "std": 0}, {**ROTATION, "std_rad": 0}, {**TIME_SCALE, "std": 0}]
    # Interpolation ends on the last value by adding the last difference: one rounding.
    assert np.abs(augment([*none, {**NOISE, "std": 0}], x) - x).max() < 1e-6


def test_noise_is_normal():
    drawn = augment([{"name": "noise", "std": 1.0}], np.zeros((64, 6, 128), dtype=np.float32))
    flat = drawn.ravel().astype(np.float64)
    # 49,152 draws: standard errors .0045 (mean), .0032 (deviation), .022 (fourth moment).
    assert abs(flat.mean()) < 0.02
    assert abs(flat.std() - 1) < 0.015
    assert abs((flat**4).mean() - 3) < 0.12
    assert abs(np.corrcoef(flat[:-1], flat[1:])[0, 1]) < 0.02


def test_the_table_of_normals_is_symmetric_with_deviation_one():
    assert np.array_equal(NORMAL_TABLE, -NORMAL_TABLE[::-1])
    assert abs(NORMAL_TABLE.std(dtype=np.float64) - 1) < 1e-7
    assert len(NORMAL_TABLE) == 4096
    key = draw_key(seed=1, path="r0", node="d", purpose="test")
    assert table_normals(key, 4).tolist() == GOLDEN_NORMALS


@pytest.mark.parametrize("transform", ALL, ids=lambda transform: transform["name"])
def test_golden_outputs(transform):
    # Sixteenths are exact in float32; rounded so that a last bit of exp or cos does not matter.
    x = (np.arange(2 * 6 * 8, dtype=np.float32).reshape(2, 6, 8) - 48) / 16
    rounded = np.round(augment([transform], x).astype(np.float64), 4) + 0.0
    found = hashlib.sha256(rounded.tobytes()).hexdigest()[:16]
    assert (rounded[1, 2, :3].tolist(), found) == GOLDEN[transform["name"]]


@pytest.mark.parametrize("transform", [GAIN, NOISE])
def test_transforms_of_single_values_take_any_shape(transform):
    assert augment([transform], np.ones((3, 1, 4, 4), dtype=np.float32)).shape == (3, 1, 4, 4)


def test_a_batch_of_the_wrong_shape_is_refused():
    with pytest.raises(ConfigError, match="at least 6 channels; the batch has shape"):
        augment([ROTATION], batch(channels=5))
    with pytest.raises(ConfigError, match="Leave it out"):
        augment([TIME_SCALE], np.ones((3, 1, 4, 4), dtype=np.float32))


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ({"name": "nois", "std": 1}, r"artefact: augmentation\[0\]: .*Did you mean 'noise'"),
        ({"name": "noise", "sd": 1}, "std is missing"),
        ({"name": "noise", "std": 1, "sd": 1}, "'sd' is unknown"),
        ({"name": "gain", "std": -0.1}, "from 0 to 1"),
        ({"name": "rotation", "std_rad": 0.1, "triples": [[0, 1]]}, "three different"),
    ],
)
def test_a_list_that_cannot_be_is_refused(transform, message):
    with pytest.raises(ConfigError, match=message):
        Augmentation.from_json([transform], where="artefact")


def test_a_list_survives_json():
    assert Augmentation.from_json(ALL, where="x").to_json() == ALL


GOLDEN: dict[str, object] = {
    "gain": ([1.0617, 1.128, 1.1944], "3f85e53dc72fa2a4"),
    "rotation": ([0.9344, 0.9827, 1.031], "5f756c05cec215fc"),
    "time_scale": ([1.0, 1.0555, 1.1208], "e19e8183bfe246ed"),
    "noise": ([1.1385, 1.0295, 1.0534], "69252c37ab9de201"),
}
GOLDEN_NORMALS: list[float] = [
    1.4121956825256348,
    0.005202600732445717,
    -0.35790279507637024,
    -0.6842342615127563,
]
