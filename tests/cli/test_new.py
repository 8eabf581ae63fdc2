"""`fedtier new`: what it writes agrees with itself, is always the same, and overwrites nothing."""

from __future__ import annotations

import csv
import importlib
import tomllib
from pathlib import Path

import numpy as np
import pytest

from fedtier import cli
from fedtier.config.federation import load_federation
from fedtier.data.load import load_device, load_held_out

KINDS = ("csv", "npz")
WHERE = "here"


def new(*arguments: str | Path) -> int:
    with pytest.raises(SystemExit) as caught:
        cli.main(["new", *map(str, arguments)])
    return int(caught.value.code or 0)


def contents(directory: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(directory)): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file()
    }


@pytest.fixture(params=KINDS)
def made(request, tmp_path) -> Path:
    directory = tmp_path / "my"
    assert new(directory, "--data", request.param) == 0
    return directory


def test_it_says_by_which_commands_the_federation_trains(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert new("a name") == 0
    out = capsys.readouterr().out
    lines = [line.strip() for line in out.splitlines() if line.startswith("  ")]
    assert lines == [
        "cd 'a name'",
        "fedtier compile net.py:Net --out artefact",
        "fedtier config check federation.toml",
        "fedtier demo --federation federation.toml",
    ]
    readme = Path("a name/README.md").read_text(encoding="utf-8")
    assert all(command in readme for command in lines[1:])


def test_the_same_files_come_out_every_time(made, tmp_path):
    kind = "npz" if (made / "data" / "device-1.npz").exists() else "csv"
    assert new(tmp_path / "again", "--data", kind) == 0
    assert contents(tmp_path / "again") == contents(made)
    assert sum(map(len, contents(made).values())) < 300_000


def test_the_model_takes_what_the_federation_gives(made, monkeypatch):
    pytest.importorskip("torch", reason="this test needs the extra: pip install -e '.[torch]'")
    net = importlib.import_module("fedtier.starter.net")
    assert (made / "net.py").read_bytes() == Path(net.__file__).read_bytes()
    federation = load_federation(made / "federation.toml")
    table = tomllib.loads((made / "federation.toml").read_text(encoding="utf-8"))["data"]
    if table["source"] == "csv-directory":
        assert (table["labels"], len(table["features"])) == (net.LABELS, net.CHANNELS)
    steps = net.ARTEFACT["preprocessing"]
    devices = federation.topology.devices()
    assert list(devices) == [f"device-{number}" for number in range(1, 5)]
    for device in devices:
        data = load_device(federation.nodes[device].data, steps, node=device, where=WHERE)
        assert list(data.train.x.shape[1:]) == net.ARTEFACT["input_shape"]
        assert data.untrained == ()
        assert set(data.train.y.tolist()) == set(range(len(net.LABELS)))
    ((group, examples),) = load_held_out(federation.evaluation, steps, where=WHERE).groups
    assert (group, set(examples.y.tolist())) == ("device-5", set(range(len(net.LABELS))))


def test_both_kinds_hold_the_same_rows(tmp_path):
    for kind in KINDS:
        assert new(tmp_path / kind, "--data", kind) == 0
    for device in ("device-1", "device-5"):
        rows = []
        for file in sorted((tmp_path / "csv" / "data" / device).iterdir()):
            with file.open(newline="", encoding="utf-8") as opened:
                rows += [[float(row[axis]) for axis in ("ax", "ay", "az")]
                         for row in csv.DictReader(opened)]  # fmt: skip
        with np.load(tmp_path / "npz" / "data" / f"{device}.npz", allow_pickle=False) as file:
            x, y = file["x"], file["y"]
        assert y.shape == (len(x),)
        # Float32 is nearer to a number of three decimals than half a thousandth.
        assert sorted(np.round(x.astype(float), 3).tolist()) == sorted(rows)


def test_nothing_is_written_over_what_is_there(made, capsys):
    before = contents(made)
    (made / "net.py").write_text("mine\n", encoding="utf-8")
    (made / "README.md").unlink()
    assert new(made) == 78
    assert f"error: {made} is not empty. Choose a new directory.\n" == capsys.readouterr().err
    assert contents(made).keys() == before.keys() - {"README.md"}
    assert (made / "net.py").read_text(encoding="utf-8") == "mine\n"


def test_a_file_in_place_of_the_directory_is_named(tmp_path, capsys):
    place = tmp_path / "file"
    place.write_text("mine\n", encoding="utf-8")
    assert new(place) == 78
    assert str(place) in capsys.readouterr().err
    assert place.read_text(encoding="utf-8") == "mine\n"


def test_an_empty_directory_is_filled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert new(".") == 0
    assert Path("federation.toml").is_file()
