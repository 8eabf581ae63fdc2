"""A small federation of real models ends with the same one, whatever befalls it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

LINES = """
[simulation]
step_s = 2.0
[[simulation.link]]
latency_s = 0.05
jitter_s = 0.1
rate_bytes_per_s = 500_000
[[simulation.link]]
latency_s = 0.2
jitter_s = 0.3
loss = 0.02
"""
EVERYTHING = (
    "drop=0.1,double=0.1,delay=0.05,reorder=0.1,cut=6,restart=2,crash=6,until=40,budget=300"
)
SEEDS = range(4)


@pytest.fixture
def file(write_federation):
    return write_federation("faulty.toml", rounds=3, part_bytes=16_384, tables=LINES)


def without_its_end(report):
    return {key: value for key, value in report.items() if key != "ended"}


@pytest.mark.parametrize("seed", SEEDS)
def test_faults_of_every_kind_change_no_bit_of_the_model(run, file, seed):
    calm = run(file, seed=seed)
    faulty = run(file, seed=seed, faults=EVERYTHING)
    assert faulty.model_digest == calm.model_digest
    assert faulty.report["rounds_trained"] == 3
    assert [row["model_digest"] for row in faulty.rounds] == [
        row["model_digest"] for row in calm.rounds
    ]
    assert faulty.trace != calm.trace
    befallen = faulty.befallen
    assert befallen.touched > 10
    assert befallen.cuts + befallen.restarts + befallen.crashes > 8


@pytest.mark.covers("N-22")
@pytest.mark.parametrize("seed", [0, 1])
def test_a_cell_that_shares_a_spacing_announces_the_same_after_every_fault(
    run, write_federation, seed
):
    links = [{"codec": "lattice", "spacing": 2}, {"codec": "lattice", "spacing": 0.5}]
    file = write_federation("lattice.toml", rounds=3, part_bytes=16_384, tables=LINES, links=links)
    calm = run(file, seed=seed)
    faulty = run(file, seed=seed, faults=EVERYTHING)
    assert faulty.model_digest == calm.model_digest
    assert faulty.befallen.crashes
    # Of noisy deltas a spacing of twice their spread makes a q of some .7, half of it .04.
    q = [row["q_mean"] for row in calm.report["links"]]
    assert 0.5 < q[0] < 2
    assert 0.02 < q[1] < 0.1


def test_seeds_draw_other_faults_and_train_other_models(run, file):
    runs = [run(file, seed=seed, faults="drop=0.1,crash=2,until=30") for seed in (1, 2)]
    assert runs[0].trace != runs[1].trace
    assert runs[0].model_digest != runs[1].model_digest


@pytest.mark.parametrize("faults", ["", EVERYTHING], ids=["calm", "faulty"])
def test_the_same_file_and_seed_give_the_same_run_whatever_the_threads(run, file, faults):
    first, second = (run(file, seed=5, faults=faults, threads=threads) for threads in (1, 4))
    assert first.trace == second.trace
    assert without_its_end(first.report) == without_its_end(second.report)
    assert first.rounds == second.rounds


def test_the_command_does_again_what_a_test_did(run, file, tmp_path):
    faults = "drop=0.1,crash=4,until=60"
    result, out = run(file, seed=6, faults=faults), tmp_path / "run"
    command = [sys.executable, "-m", "fedtier", "sim", file, "--seed", "6", "--faults", faults]
    done = subprocess.run([*command, "--out", out], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    report = json.loads((out / "report.json").read_text())
    assert without_its_end(report) == without_its_end(result.report)
    assert f"It has gone through {result.befallen.text}." in " ".join(done.stdout.split())


def test_the_command_refuses_faults_that_there_are_not(file, tmp_path):
    command = [sys.executable, "-m", "fedtier", "sim", file, "--faults", "dorp=0.1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 78
    assert "Did you mean 'drop'?" in done.stderr
    assert not list(tmp_path.iterdir())


def test_what_is_written_down_is_what_is_returned(run, file, tmp_path):
    out = tmp_path / "run"
    result = run(file, seed=6, faults="crash=4,until=60", out=out)
    assert json.loads((out / "report.json").read_text()) == result.report
    lines = (out / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == list(result.rounds)
