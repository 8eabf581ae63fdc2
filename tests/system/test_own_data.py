"""Recordings of one's own train the shipped model: the example of docs/data.md, in processes."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import numpy as np
import pytest
from testbed import REPOSITORY, Program, Testbed, wait_until

DOCUMENT = REPOSITORY / "docs" / "data.md"
ROWS = 900


@pytest.fixture
def federation_file(tmp_path: Path) -> Path:
    """The document's federation file, with the recordings it describes beside it."""
    blocks = re.findall(r"^```toml\n(.*?)^```", DOCUMENT.read_text(encoding="utf-8"), re.M | re.S)
    (text,) = [block for block in blocks if "csv-directory" in block]
    data = tomllib.loads(text)["data"]
    for number, person in enumerate(("anna-0", "anna-1", "carla")):
        write_sessions(tmp_path / data["path"] / person, data, seed=number)
    path = tmp_path / "federation.toml"
    path.write_text(text, encoding="utf-8")
    return path


def write_sessions(folder: Path, data: dict, *, seed: int) -> None:
    """One session of each exercise: noise about a level of its own."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    for number, label in enumerate(data["labels"]):
        lines = [",".join(["time", *data["features"], data["label"]])]
        for row, values in enumerate(rng.normal(loc=number, size=(ROWS, 6))):
            lines.append(f"{row / 50:.2f},{','.join(f'{v:.3f}' for v in values)},{label}")
        (folder / f"{number}.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def check(file: Path, log_path: Path) -> tuple[int, str]:
    program = Program.fedtier("config", "check", file, log_path=log_path)
    return program.exit_code(), program.log


def test_csv_folders_with_traits_train_the_shipped_model(
    federation_file, tmp_path, mosquitto_binary
):
    code, log = check(federation_file, tmp_path / "check.log")
    assert (code, "warning" in log) == (0, False), log
    with Testbed(tmp_path / "bed", federation_file) as bed:
        bed.start_brokers()
        assert "traits = { side = 1 }" in bed.file("anna-1").read_text(encoding="utf-8")
        bed.start_fleet()
        report = bed.run("--rounds", 1)
    assert (report["devices"], report["rounds"]) == (2, 1)
    assert report["accuracy_devices"]["worst"]["node"] in {"anna-0", "anna-1"}
    assert report["accuracy_held_out_worst"]["group"] == "carla"


def test_a_cloud_does_not_measure_a_model_on_what_it_was_trained_on(
    federation_file, tmp_path, mosquitto_binary
):
    with Testbed(tmp_path / "bed", federation_file) as bed:
        bed.start_brokers()
        text = federation_file.read_text(encoding="utf-8")
        federation_file.write_text(text.replace("carla = ", "anna-1 = "), encoding="utf-8")
        commands = {
            "check": ("config", "check", federation_file),
            "cloud": ("cloud", "run", "--config", bed.file("cloud")),
            "demo": ("demo", "--federation", federation_file, "--out", tmp_path / "demo"),
        }
        for name, command in commands.items():
            program = Program.fedtier(*command, log_path=tmp_path / f"{name}.log")
            assert program.exit_code() == 78, program.log
            assert "'anna-1' trains on it ([data] and [[node]] 1)" in program.log
            assert "Traceback" not in program.log


def test_labels_in_another_order_than_the_models_are_refused_by_whoever_reads_them(
    federation_file, tmp_path, mosquitto_binary
):
    text = federation_file.read_text(encoding="utf-8")
    swapped = text.replace('"pendulum", "abduction"', '"abduction", "pendulum"')
    with Testbed(tmp_path / "bed", federation_file) as bed:
        bed.start_brokers()
        agent = bed.file("anna-1")
        said = agent.read_text(encoding="utf-8")
        agent.write_text(said.replace('"pendulum", "abduction"', '"abduction", "pendulum"'))
        federation_file.write_text(swapped, encoding="utf-8")
        commands = {
            "check": ("config", "check", federation_file),
            "agent": ("agent", "run", "--config", agent),
            "cloud": ("cloud", "run", "--config", bed.file("cloud")),
            "demo": ("demo", "--federation", federation_file, "--out", tmp_path / "demo"),
        }
        for name, command in commands.items():
            program = Program.fedtier(*command, log_path=tmp_path / f"{name}.log")
            assert program.exit_code() == 78, program.log
            assert 'labels = ["abduction", "pendulum",' in program.log
            assert 'imu-net has the classes ["pendulum", "abduction",' in program.log
            assert "Traceback" not in program.log


def test_an_agent_names_the_classes_that_only_its_hold_out_has(
    federation_file, tmp_path, mosquitto_binary
):
    sessions = tmp_path / "readings" / "anna-1"
    head, *_ = (sessions / "0.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    files = sorted(sessions.iterdir())
    rows = [file.read_text(encoding="utf-8").partition("\n")[2] for file in files]
    for file in files:
        file.unlink()
    # One session that goes through all seven exercises once: its last 15 % are the upright row.
    (sessions / "all.csv").write_text(head + "".join(rows), encoding="utf-8")
    with Testbed(tmp_path / "bed", federation_file) as bed:
        bed.start_brokers()
        bed.start("anna-0", "anna-1")
        for device in ("anna-0", "anna-1"):
            wait_until(lambda d=device: "data loaded" in bed.nodes[d].log, "the data are loaded")
        wait_until(lambda: "classes not trained" in bed.nodes["anna-1"].log, "the agent warns")
        assert "classes='upright row' reason=" in bed.nodes["anna-1"].log
        assert " classes=6 " in bed.nodes["anna-1"].log
        assert " classes=7 " in bed.nodes["anna-0"].log
        assert "WARNING classes" not in bed.nodes["anna-0"].log
