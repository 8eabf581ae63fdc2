import sys
from dataclasses import replace
from importlib import metadata
from types import SimpleNamespace

import numpy as np
import pytest

from fedtier.data.augmentation import Augmentation
from fedtier.data.examples import Examples
from fedtier.data.load import load_device, load_held_out
from fedtier.data.preprocessing import Pipeline
from fedtier.data.recording import Recording
from fedtier.errors import ConfigError

WHERE = "agent.toml [data]"
WINDOW = {"name": "window", "length": 4, "stride": 4}


def write(tmp_path, x, name="d1"):
    np.savez(tmp_path / f"{name}.npz", x=x, y=np.zeros(len(x), dtype=np.int64))


def load(tmp_path, preprocessing=(), **more):
    spec = {"source": "npz-directory", "path": str(tmp_path), **more}
    return load_device(spec, preprocessing, node="d1", where=WHERE)


def ramp(rows=40):
    return np.arange(rows * 2, dtype=np.float32).reshape(rows, 2)


def test_the_digest_covers_raw_data_split_and_preprocessing_and_not_the_place(tmp_path):
    write(tmp_path, ramp())
    write(tmp_path / "..", ramp())
    first = load(tmp_path, [WINDOW])
    assert first.digest == load(tmp_path, [WINDOW]).digest
    assert first.digest == load(tmp_path / "..", [WINDOW]).digest
    digests = {
        first.digest,
        load(tmp_path, [{**WINDOW, "stride": 2}]).digest,
        load(tmp_path, [{"name": "standardise"}, WINDOW]).digest,
        load(tmp_path, [WINDOW], holdout_percent=20).digest,
    }
    changed = ramp()
    changed[39, 1] += 1  # a row of the hold-out only
    write(tmp_path, changed)
    digests.add(load(tmp_path, [WINDOW]).digest)
    assert len(digests) == 5


def test_the_fit_takes_nothing_from_the_hold_out(tmp_path):
    write(tmp_path, ramp())
    before = load(tmp_path, [{"name": "standardise"}])
    changed = ramp()
    changed[34:] = 1e6
    write(tmp_path, changed)
    after = load(tmp_path, [{"name": "standardise"}])
    assert after.fitted == before.fitted
    assert after.train.digest == before.train.digest
    assert after.holdout.digest != before.holdout.digest


def test_fitted_preprocessing_does_to_new_data_what_was_done_to_these(tmp_path):
    write(tmp_path, ramp())
    first = load(tmp_path, [{"name": "standardise"}, WINDOW])
    again = load(tmp_path, first.fitted)
    assert again.train.digest == first.train.digest


@pytest.mark.parametrize(
    ("labels", "more", "untrained"),
    [
        ([0] * 20 + [1] * 20, {}, ()),
        ([0] * 17 + [1] * 17 + [2] * 6, {}, (2,)),  # the last 6 of 40 rows are held out
        ([0] * 17 + [1] * 17 + [2] * 6, {"holdout_percent": 5}, ()),
        ([0] * 15 + [3, 3] + [0] * 17 + [1] * 6, {}, (1, 3)),  # no window is of the 3 alone
    ],
)
def test_classes_that_have_rows_and_no_training_example_are_named(
    tmp_path, labels, more, untrained
):
    np.savez(tmp_path / "d1.npz", x=ramp(), y=np.array(labels))
    window = {"name": "window", "length": 2, "stride": 2} if more else WINDOW
    assert load(tmp_path, [window], **more).untrained == untrained


@pytest.mark.parametrize(
    ("rows", "more", "message"),
    [
        (3, {}, r"the training part gives no example.* 3 rows, a window takes 4"),
        (20, {}, "the hold-out gives no example.* 3 rows"),
        (6, {"holdout_percent": 0}, "from 1 to 50"),
    ],
)
def test_data_too_short_for_a_window_are_refused_with_both_numbers(tmp_path, rows, more, message):
    write(tmp_path, ramp(rows))
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, [WINDOW], **more)


def test_an_unknown_source_is_refused_with_the_nearest_name():
    with pytest.raises(ConfigError, match=r"source 'imus' is unknown. Did you mean 'imu'"):
        load_device({"source": "imus"}, [], node="d1", where=WHERE)
    with pytest.raises(ConfigError, match="source is missing"):
        load_device({}, [], node="d1", where=WHERE)


class Steps:
    """A source of one's own: what an entry point names."""

    def device_recordings(self, spec, *, node, where):
        rows = np.full((spec["rows"], 1), 7.0, dtype=np.float32)
        return [Recording(key=node, samples=rows, labels=np.ones(spec["rows"], dtype=np.int64))]

    def held_out_recordings(self, spec, *, where):
        return []


@pytest.fixture
def own_source(tmp_path, monkeypatch):
    """A distribution with an entry point, installed by being found on the path."""
    info = tmp_path / "steps-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: steps\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[fedtier.data]\nsteps = steps_source:source\nbroken = steps_source:nothing\n"
    )
    module = SimpleNamespace(source=Steps(), nothing=3)
    monkeypatch.setitem(sys.modules, "steps_source", module)
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_source_of_ones_own_is_found_by_its_entry_point(own_source):
    data = load_device({"source": "steps", "rows": 20}, [], node="d9", where=WHERE)
    assert data.train.x.shape == (17, 1)
    with pytest.raises(ConfigError, match="no group to evaluate on"):
        load_held_out({"source": "steps"}, [], where=WHERE)
    with pytest.raises(ConfigError, match="has no device_recordings"):
        load_device({"source": "broken"}, [], node="d9", where=WHERE)
    with pytest.raises(ConfigError, match="Did you mean 'steps'"):
        load_device({"source": "stepz"}, [], node="d9", where=WHERE)


def test_entry_points_are_not_looked_up_for_what_is_built_in(tmp_path, monkeypatch):
    def refuse(**_):
        raise AssertionError("looked up")

    monkeypatch.setattr(metadata, "entry_points", refuse)
    write(tmp_path, ramp())
    assert len(load(tmp_path, [{"name": "standardise"}]).train) == 34
    Augmentation.from_json([{"name": "noise", "std": 0.1}], where=WHERE)
    monkeypatch.syspath_prepend(str(tmp_path))  # what was found on another path does not count
    for read in (
        lambda: load_device({"source": "steps"}, [], node="d9", where=WHERE),
        lambda: Pipeline.from_json([{"name": "steps"}], where=WHERE),
        lambda: Augmentation.from_json([{"name": "steps"}], where=WHERE),
    ):
        with pytest.raises(AssertionError, match="looked up"):
            read()


def test_a_digest_of_examples_depends_on_values_labels_and_shape():
    x, y = ramp(4), np.zeros(4, dtype=np.int64)
    one = Examples(x=x, y=y)
    others = [
        replace(one, x=x + 1),
        replace(one, y=y + 1),
        replace(one, x=x.reshape(4, 2, 1)),
    ]
    assert len({e.digest for e in (one, *others)}) == 4
    assert replace(one).digest == one.digest
