"""docs/data.md and docs/codecs.md say what the code asks for, and their examples run."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from data_tables import ROOT, Row, check_keys, tables

from fedtier.config.federation import load_federation
from fedtier.config.named import check_named
from fedtier.data import sources
from fedtier.data.augmentation import _BATCH_TRANSFORMS, Augmentation
from fedtier.data.fields import Fields
from fedtier.data.load import load_device, load_held_out
from fedtier.data.normal_table import NORMAL_TABLE
from fedtier.data.partition import _PARTITIONS, Partition
from fedtier.data.preprocessing import _ROW_TRANSFORMS, Pipeline
from fedtier.draws import DrawKey
from fedtier.errors import ConfigError
from fedtier.limits import LEVELS_MAX
from fedtier.quantize.registry import CODEC_NAMES, make_codec

DATA = tables("data.md")
CODECS = tables("codecs.md")
WHERE = "here"

FILES = {"path": "p", "features": ["a"], "label": "b", "labels": ["c"], "delimiter": ";"}
SHARES = {"devices": 16, "seed": 1, "minimum": 2}
DEVICE = {
    "imu": {"path": "p", "subject": 1, "side": 0},
    "csv-directory": {**FILES, "device": "d", "traits": {"side": 1}},
    "npz-directory": {"path": "p", "device": "d", "traits": {"side": 1}},
    "fashion-mnist": {"path": "p", "index": 0, "partition": "quantity", "alpha": 1, **SHARES},
}
EVALUATION = {
    "imu": {"path": "p", "subjects": [9]},
    "csv-directory": {**FILES, "devices": ["d"], "traits": {"side": 1}},
    "npz-directory": {"path": "p", "devices": ["d"], "traits": {"side": 1}},
    "fashion-mnist": {"path": "p", "first": 5},
}
PARTITIONS = {"dirichlet": {"alpha": 1}, "classes": {"classes": 2}, "quantity": {"alpha": 1}}
PREPROCESSING = {
    "ids": {"below": 10},
    "mirror": {"trait": "side", "equals": 1, "signs": [1, -1]},
    "scale": {"divide_by": 255},
    "standardise": {"mean": [0.0], "std": [1.0]},
    "window": {"length": 128, "stride": 32},
}
AUGMENTATION = {
    "gain": {"std": 0.1},
    "rotation": {"std_rad": 0.1, "triples": [[0, 1, 2]]},
    "time_scale": {"std": 0.1},
    "noise": {"std": 0.1},
}
CHANNELS = ("ax", "ay", "az", "wx", "wy", "wz")


def fenced(kind: str, word: str) -> str:
    """The one block of this kind with this word in it."""
    text = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    blocks = re.findall(rf"^```{kind}\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    (found,) = [block for block in blocks if word in block]
    return found


def of_partition(name: str) -> dict[str, Row]:
    return {**DATA["every partition"], **DATA[f"{name} partition"]}


def test_every_source_partition_and_transform_has_its_table():
    wanted = {"key", "every partition"}
    wanted |= {f"{name} {side}" for name in sources.BUILT_IN for side in ("device", "evaluation")}
    wanted |= {f"{name} partition" for name in _PARTITIONS}
    wanted |= {f"{name} preprocessing" for name in (*_ROW_TRANSFORMS, "window")}
    wanted |= {f"{name} augmentation" for name in _BATCH_TRANSFORMS}
    assert set(DATA) == wanted


def test_the_keys_of_every_source_are_those_that_are_taken_before_it():
    documented = DATA["key"]
    table = {"source": "imu", "holdout_percent": 20, **DEVICE["imu"]}
    _, left, percent = sources.open_device(table, where=WHERE)
    assert (left, percent) == (DEVICE["imu"], 20)
    assert set(documented) == set(table) - set(left)
    for key, row in documented.items():
        with pytest.raises(ConfigError, match=f"{key} is True; it must be {row.value}"):
            sources.open_device({**table, key: True}, where=WHERE)
    del table["holdout_percent"]
    default = documented["holdout_percent"].default
    assert default == f"`{sources.open_device(table, where=WHERE)[2]}`"


@pytest.mark.parametrize("name", sources.BUILT_IN)
def test_the_keys_of_a_sources_device_side_are_those_it_asks_for(name):
    share = of_partition("quantity") if name == "fashion-mnist" else {}
    check_keys(
        lambda table: sources.device_selection({"source": name, **table}, node="d", where=WHERE),
        DEVICE[name],
        {**DATA[f"{name} device"], **share},
    )


@pytest.mark.parametrize("name", sources.BUILT_IN)
def test_the_keys_of_a_sources_held_out_side_are_those_it_asks_for(name):
    check_keys(
        lambda table: sources.held_out_selection({"source": name, **table}, where=WHERE),
        EVALUATION[name],
        DATA[f"{name} evaluation"],
    )


@pytest.mark.parametrize("name", PARTITIONS)
def test_the_keys_of_a_partition_are_those_it_asks_for(name):
    def read(table):
        fields = Fields(table, where=WHERE)
        Partition.from_fields(fields)
        fields.finish()

    check_keys(
        read,
        {"partition": name, **SHARES, **PARTITIONS[name]},
        {"partition": DATA["fashion-mnist device"]["partition"], **of_partition(name)},
    )


@pytest.mark.parametrize("name", PREPROCESSING)
def test_the_parameters_of_a_transform_are_those_it_asks_for(name):
    check_keys(
        lambda table: Pipeline.from_json([{"name": name, **table}], where=WHERE),
        PREPROCESSING[name],
        DATA[f"{name} preprocessing"],
    )


@pytest.mark.parametrize("name", AUGMENTATION)
def test_the_parameters_of_a_random_change_are_those_it_asks_for(name):
    check_keys(
        lambda table: Augmentation.from_json([{"name": name, **table}], where=WHERE),
        AUGMENTATION[name],
        DATA[f"{name} augmentation"],
    )


def test_a_normal_draw_is_as_large_as_the_document_says():
    assert 3.6 < float(np.abs(NORMAL_TABLE).max()) < 3.7


# Codecs


PARAMETERS = {
    "qsgd": {"levels": LEVELS_MAX, "bucket": 16},
    "block": {"bits": 16, "bucket": 16},
    "lattice": {"spacing": 2},
}
BUCKETS = ("qsgd", "block")


def section(name: str) -> str:
    text = (ROOT / "docs" / "codecs.md").read_text(encoding="utf-8")
    return re.split(r"^## ", text, flags=re.MULTILINE)[1 + CODEC_NAMES.index(name)]


def test_every_codec_has_its_section():
    text = (ROOT / "docs" / "codecs.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == list(CODEC_NAMES)


@pytest.mark.parametrize("name", PARAMETERS)
def test_the_parameters_of_a_codec_are_those_it_asks_for(name: str):
    documented, valid = CODECS[f"key of {name}"], PARAMETERS[name]
    assert set(documented) == set(valid)
    for key, row in documented.items():
        with pytest.raises(ConfigError, match=row.value.removeprefix("a ")):
            make_codec(name, {**valid, key: 0})
    required = {key: valid[key] for key, row in documented.items() if row.default == "required"}
    make_codec(name, required)
    with pytest.raises(ConfigError, match=rf"Known: {', '.join(sorted(valid))}\."):
        make_codec(name, {**valid, "colour": 1})


def test_a_codec_without_parameters_takes_none():
    with pytest.raises(ConfigError, match=r"Known: nothing\."):
        make_codec("identity", {"levels": 7})


@pytest.mark.parametrize("name", BUCKETS)
def test_bits_and_bounds_of_the_table_are_those_of_the_codec(name: str):
    first = next(iter(PARAMETERS[name]))
    rows = re.findall(r"^\| (\d+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \|", section(name), re.MULTILINE)
    assert len(rows) >= 4
    for value, bucket, bits, q in rows:
        made = make_codec(name, {first: int(value), "bucket": int(bucket)})
        dimension = 8 * int(bucket)
        assert f"{8 * made.payload_bytes(dimension) / dimension:.2f}" == bits
        assert f"{made.q_bound(dimension):.4f}" == q


def test_q_of_normal_coordinates_is_that_of_the_table():
    x = np.random.default_rng(1).normal(size=2**16).astype(np.float32)
    rows = re.findall(r"^\| (\d+) \| (\d+) \|.* ([\d.]+) \|$", section("block"), re.MULTILINE)
    for bits, bucket, q in rows:
        made = make_codec("block", {"bits": int(bits), "bucket": int(bucket)})
        assert f"{made.encode(x, DrawKey(k0=1, k1=2)).q:.2g}" == q
    assert len(rows) == 4


def test_bits_and_q_of_a_lattice_are_those_of_the_table():
    x = np.random.default_rng(1).normal(size=100_000).astype(np.float32)
    rows = re.findall(
        r"^\| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", section("lattice"), re.M
    )
    assert len(rows) == 5
    for spacing, bits, most, q in rows:
        made = make_codec("lattice", {"spacing": float(spacing)})
        encoded = made.encode(x, DrawKey(k0=1, k1=2))
        assert f"{8 * sum(map(len, encoded.sections)) / x.size:.2f}" == bits
        assert f"{made.q_bound(x.size):.4f}" == most
        assert f"{encoded.q:.2g}" == q


# The examples


def write_sessions(folder: Path) -> None:
    """Two sessions of every exercise, as the example describes them."""
    labels = tomllib.loads(fenced("toml", "[federation]"))["data"]["labels"]
    folder.mkdir(parents=True)
    rng = np.random.default_rng(5)
    for number, label in enumerate(labels):
        lines = ["time," + ",".join(CHANNELS) + ",exercise"]
        for row, values in enumerate(rng.normal(size=(1000, 6))):
            lines.append(f"{row / 50:.2f},{','.join(f'{v:.3f}' for v in values)},{label}")
        (folder / f"{number}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def test_the_example_of_csv_folders_is_a_federation_whose_devices_load(tmp_path):
    file = tmp_path / "federation.toml"
    file.write_text(fenced("toml", "[federation]"), encoding="utf-8")
    federation = load_federation(file)
    (warning,) = check_named(federation, where=str(file))
    assert "not on this machine" in warning
    for name in ("anna-0", "anna-1", "carla"):
        write_sessions(tmp_path / "readings" / name)
    assert check_named(federation, where=str(file)) == []
    from fedtier.artefact.find import find_artefact

    preprocessing = find_artefact(federation.artefact).manifest.preprocessing
    for device in federation.topology.devices():
        data = load_device(federation.nodes[device].data, preprocessing, node=device, where=WHERE)
        assert data.train.x.shape[1:] == (6, 128)
    assert federation.evaluation is not None
    ((group, examples),) = load_held_out(federation.evaluation, preprocessing, where=WHERE).groups
    assert (group, set(examples.y.tolist())) == ("carla", set(range(7)))


@pytest.fixture
def installed(tmp_path, monkeypatch) -> Path:
    """The example's package, installed by being found on the path."""
    place = tmp_path / "package"
    info = place / "counters-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: counters\nVersion: 1.0\n")
    table = tomllib.loads(fenced("toml", "entry-points"))["project"]["entry-points"]
    lines = [f"[{group}]" for group in table]
    lines += [
        f"{name} = {target}" for (points,) in [table.values()] for name, target in points.items()
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    (place / "counters.py").write_text(fenced("python", "counters"), encoding="utf-8")
    monkeypatch.syspath_prepend(str(place))
    return tmp_path


def test_the_example_of_a_source_of_ones_own_is_short_and_runs(installed):
    assert len(fenced("python", "counters").splitlines()) <= 30
    for name in ("d1", "d2"):
        lines = [f"{i}.5 {-i} {i % 3}" for i in range(20)]
        (installed / f"{name}.txt").write_text("\n".join(lines) + "\n")
    spec = {"source": "counters", "path": str(installed)}
    data = load_device(spec, [], node="d1", where=WHERE)
    assert data.train.x[3].tolist() == [3.5, -3.0]
    assert (data.train.x.shape, data.holdout.x.shape) == ((17, 2), (3, 2))
    ((group, examples),) = load_held_out({**spec, "devices": ["d2"]}, [], where=WHERE).groups
    assert (group, examples.y.tolist()) == ("d2", [i % 3 for i in range(20)])
    assert sources.device_selection(spec, node="d1", where=WHERE).origins == ()
    assert sources.common_keys("counters", where=WHERE) == ("path",)
