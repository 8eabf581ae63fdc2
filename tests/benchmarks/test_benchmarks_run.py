"""Every benchmark runs, in a form so small that it measures nothing."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import pytest

from benchmarks import (
    accuracy,
    end_to_end,
    footprint,
    footprint_runs,
    held_out_pairs,
    help_startup,
    one_process,
    serving,
    step_time,
)
from benchmarks.federations import read, text_of
from fedtier.artefact.find import find_artefact

pytestmark = pytest.mark.system


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    """Two wrists of one person below one gateway, one local step."""
    document = dict(read())
    document["tree"] = {"cloud": ["home"], "home": ["watch-1-{0,1}"]}
    document["node"] = [{"id": "watch-1-{0,1}", "data": {"subject": 1, "side": "$1"}}]
    document["link"] = document["link"][1:]
    document["plan"] = {**document["plan"], "rounds": 1, "tau": [1, 1]}
    path = tmp_path / "tiny.toml"
    path.write_text(text_of(document), encoding="utf-8")
    return path


@pytest.fixture
def result(tmp_path, monkeypatch):
    """Run a benchmark's ``main`` with options; its document."""

    def measure(benchmark, *options: object) -> dict:
        out = tmp_path / "result.json"
        arguments = ["benchmark", "--out", str(out), *map(str, options)]
        monkeypatch.setattr(sys, "argv", arguments)
        assert benchmark.main() == 0
        return json.loads(out.read_text(encoding="utf-8"))

    return measure


def test_end_to_end_finds_the_model_of_the_nested_loops_in_the_processes(result, tiny):
    options = ("--federation", tiny, "--repeats", 1, "--broker", "embedded")
    document = result(end_to_end, *options)
    found = document["results"]
    assert found["same model as the tree in one process"] is True
    links = found["ratios"]["float32 links / quantized links"]["links"]
    assert all(link["bytes_up"]["median"] > 1 for link in links)
    assert document["complete"] is False


def test_accuracy_compares_with_one_process_and_with_each_device(result, tiny):
    document = result(accuracy, "--federation", tiny, "--seeds", 4, "--broker", "embedded")
    (row,) = document["results"]["seeds"]
    assert row["seed"] == 4
    assert set(row["reference"]["one_process"]) == {"0.1", "0.3", "1.0"}
    assert set(row["reference"]["alone"]) == {"watch-1-0", "watch-1-1"}


def test_held_out_pairs_has_a_line_for_each_pair(result, monkeypatch):
    small = read()
    monkeypatch.setattr(
        held_out_pairs, "read", lambda: {**small, "plan": {**small["plan"], "tau": [1, 1, 1]}}
    )
    document = result(held_out_pairs, "--rounds", 1)
    folds = document["results"]["folds"]
    assert [tuple(row["held_out"]) for row in folds] == list(held_out_pairs.PAIRS)
    assert len({row["model_digest"] for row in folds}) == len(folds)


def test_one_process_takes_another_plan_and_other_links(result):
    options = ("--rounds", 1, "--tau", "1,1,1", "--mu", 0.1, "--tune", "--quiet")
    links = ("--link", "identity", "--link", "qsgd,levels=3", "--link", "qsgd,levels=7,bucket=64")
    found = result(one_process, *options, *links)["results"]
    assert [link["quantizer"].partition("(")[0] for link in found["links"]] == [
        "identity", "qsgd", "qsgd",
    ]  # fmt: skip
    assert found["links"][0]["q_mean"] == 0 < found["links"][1]["q_mean"]
    assert set(found["groups"]) == {f"subject-{s}-{w}" for s in (7, 8) for w in ("left", "right")}


def test_serving_measures_both_precisions(result, tiny, tmp_path):
    pytest.importorskip("onnx", reason="this test needs the extra: pip install -e '.[int8]'")
    run = tmp_path / "run"
    run.mkdir()
    (run / "federation.toml").write_bytes(tiny.read_bytes())
    (run / "model.f32").write_bytes(find_artefact("package:imu").files["initial.f32"])
    document = result(serving, run, "--repeats", 1)
    found = document["results"]
    assert found["int8"]["bytes"] < found["float32"]["bytes"] / 2
    assert all(0 <= found[p]["accuracy"] <= 1 for p in ("float32", "int8"))
    assert document["complete"] is False


def test_help_startup_measures_both_programs(result):
    found = result(help_startup, "--repeats", 1)["results"]
    assert found["ratio of CPU-seconds"]["median"] > 0


def test_step_time_has_a_ratio_for_every_lowering(result):
    document = result(step_time, "--repeats", 1, "--net", "IMU net", "--net", "MLP")
    found = document["results"]
    assert set(found) == {"IMU net", "MLP"}
    assert set(found["IMU net"]["lowerings"]) == {"gemm", "conv", "taps"}
    assert found["MLP"]["lowerings"]["conv"]["ratio to torch"]["median"] > 0
    assert document["complete"] is False
    assert document["versions"]["torch"]


def test_footprint_counts_a_page_once_and_a_child_with_its_parent():
    allocate = "import mmap; m = mmap.mmap(-1, 64 << 20); m.write(bytes([1]) * (64 << 20))"
    forks = f"{allocate}; import os; os.fork() and print('done', flush=True); input()"
    # A child that shares all of it adds little: its own page tables and stacks.
    held = footprint_runs.still([sys.executable, "-c", forks])
    assert 64 < held.pss < 96
    if os.geteuid() == 0:  # page frames are for root's eyes
        assert 64 < held.alone < 96


def test_footprint_finds_an_agent_larger_in_training_than_idle(tmp_path, mosquitto_binary):
    federation = footprint_runs.imu_federation(tmp_path, rounds=1)
    held = footprint_runs.run_agent(tmp_path, federation)
    assert held["training"].pss > held["idle"].pss > 10


def test_footprint_knows_the_cost_of_a_step():
    command = [*footprint.WORK, "cost", "fedtier", "package:imu", "random", "5"]
    assert footprint.cost(command) > 0
