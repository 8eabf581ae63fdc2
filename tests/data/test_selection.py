"""What tables select is known where the data are not, and what two of them share is found."""

import os

import pytest

from fedtier.data.selection import find_shared
from fedtier.data.sources import BUILT_IN, common_keys, device_selection, held_out_selection
from fedtier.errors import ConfigError

WHERE = "farm.toml: [data]"
CSV = {"source": "csv-directory", "path": "/srv/r", "features": ["a"], "label": "b"}
NPZ = {"source": "npz-directory", "path": "/srv/r"}
SHARE = {"partition": "classes", "classes": 2, "devices": 3, "seed": 1}


def device(spec, node="d"):
    return device_selection(spec, node=node, where=WHERE)


def held_out(spec):
    return held_out_selection(spec, where=WHERE)


@pytest.mark.parametrize(
    ("origins", "found"),
    [
        (["a/b"], ("a/b", "x")),
        (["c", "a"], ("a/b", "x")),  # the finer of the two is named
        (["a/b/c"], ("a/b/c", "x")),
        (["a/bc", "b", "a/c"], None),
        ([], None),
    ],
)
def test_origins_are_shared_if_one_is_the_other_or_lies_below_it(origins, found):
    assert find_shared(origins, {"a/b": "x", "d": "y"}) == found


def test_a_wrist_is_a_subject_and_a_side_and_a_subject_both():
    one = device({"source": "imu", "subject": 3, "side": 1})
    assert one.origins == ("subject-3/right",)
    assert one.traits == {"subject", "side"}
    both = held_out({"source": "imu", "subjects": [3, 9], "path": "/other/imu.npz"})
    assert both.origins == (
        *("subject-3/left", "subject-3/right"),
        *("subject-9/left", "subject-9/right"),
    )
    assert both.key == "subjects"


def test_directories_select_files_by_the_name_of_the_device():
    assert device(CSV).origins == ("/srv/r/d",)
    assert [str(path) for path in device({**CSV, "device": "e"}).paths] == ["/srv/r/e.csv"]
    assert held_out({**NPZ, "devices": ["a", "b"]}).origins == ("/srv/r/a.npz", "/srv/r/b.npz")
    assert device({**NPZ, "traits": {"side": 1}}).traits == {"side"}
    own = {"a": {"side": 1, "site": 2}, "b": {"side": 0}}
    assert held_out({**NPZ, "devices": own}).traits == {"side"}  # what all of them have


def test_a_file_of_a_devices_folder_is_part_of_it():
    one = device(CSV, node="anna")
    day = held_out({**CSV, "path": "/srv/r/anna", "devices": ["monday"]})
    assert find_shared(day.origins, dict.fromkeys(one.origins, "anna")) == (
        "/srv/r/anna/monday",
        "anna",
    )


def test_two_names_of_one_directory_are_one(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    names = [str(tmp_path / "link"), f"{tmp_path}/x/../real"]
    origins = {device({**NPZ, "path": name}).origins for name in names}
    assert origins == {(os.path.realpath(tmp_path / "real" / "d.npz"),)}


def test_shares_of_fashion_mnist_are_apart_from_its_test_images():
    one = device({"source": "fashion-mnist", "index": 2, **SHARE})
    other = held_out({"source": "fashion-mnist", "first": 100})
    assert (one.origins, other.origins) == (("train/2",), ("test",))
    assert find_shared(other.origins, dict.fromkeys(one.origins, "d")) is None
    with pytest.raises(ConfigError, match="index is 3; it must be a whole number from 0 to 2"):
        device({"source": "fashion-mnist", "index": 3, **SHARE})


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_key_that_evaluation_takes_over_is_a_key_of_both_sides(name):
    with pytest.raises(ConfigError) as on_device:
        device({"source": name, **DEVICES[name], "no-such-key": 1})
    with pytest.raises(ConfigError) as on_held_out:
        held_out({"source": name, **HELD_OUT[name], "no-such-key": 1})
    for error in (on_device, on_held_out):
        known = str(error.value).partition("Known: ")[2].rstrip(".").split(", ")
        assert set(common_keys(name, where=WHERE)) <= set(known)


DEVICES = {
    "imu": {"subject": 1, "side": 0},
    "csv-directory": CSV,
    "npz-directory": NPZ,
    "fashion-mnist": {"index": 0, **SHARE},
}
HELD_OUT = {
    "imu": {"subjects": [1]},
    "csv-directory": {**CSV, "devices": ["a"]},
    "npz-directory": {**NPZ, "devices": ["a"]},
    "fashion-mnist": {},
}


def test_a_hold_out_in_percent_is_for_devices():
    device({**NPZ, "holdout_percent": 50})
    with pytest.raises(ConfigError, match="holdout_percent is 51; it must be a whole number from"):
        device({**NPZ, "holdout_percent": 51})
    with pytest.raises(ConfigError, match="'holdout_percent' is unknown"):
        held_out({**NPZ, "devices": ["a"], "holdout_percent": 20})
