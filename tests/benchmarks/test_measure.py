"""A result says where it was measured, and nothing that names the machine or its owner."""

from __future__ import annotations

import json
import re
import socket
import sys
from pathlib import Path

import pytest

from benchmarks import measure
from benchmarks.measure import Gate, Record, arguments_of, in_turn, ratios, run, spread

DIRECTORY = measure.ROOT / "benchmarks" / "results"
RESULTS = sorted(DIRECTORY.rglob("*.json"))
ABSOLUTE_PATH = re.compile(r"""(^|[\s"'=])(/[a-z]+/|~/|[A-Z]:\\)""")


def test_tasks_run_in_turn_and_each_repeat_begins_with_another():
    order: list[str] = []
    tasks = {name: (lambda name=name: order.append(name)) for name in "abc"}
    in_turn(tasks, repeats=2)
    assert "".join(order) == "abcbca"


def test_a_ratio_is_taken_within_each_repeat():
    assert ratios([2.0, 30.0, 8.0], [1.0, 10.0, 2.0]) == spread([2.0, 3.0, 4.0])


@pytest.mark.parametrize(
    ("gate", "met"),
    [
        (Gate(name="g", value=2.0, at_most=2.0), True),
        (Gate(name="g", value=2.1, at_most=2.0), False),
        (Gate(name="g", value=0.9, at_least=0.9), True),
        (Gate(name="g", value=0.8, at_least=0.9), False),
    ],
)
def test_a_gate_includes_its_bound(gate, met):
    assert gate.met is met
    assert gate.to_json()["met"] is met


def test_cpu_of_a_command_includes_what_it_started():
    burn = "x = 0\nfor i in range(10**6): x += i"
    nested = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}], check=True)"
    idle = run([sys.executable, "-c", "import subprocess"])
    # A million additions take 20 ms or more on anything; without the grandchild there are none.
    assert run([sys.executable, "-c", nested]).cpu_seconds > idle.cpu_seconds


def test_a_command_that_fails_is_named_with_what_it_said():
    with pytest.raises(RuntimeError, match=r"code 3:\nwhy"):
        run([sys.executable, "-c", "print('why'); raise SystemExit(3)"])


@pytest.fixture
def record(tmp_path, monkeypatch):
    out = tmp_path / "deep" / "result.json"
    monkeypatch.setattr(sys, "argv", ["x", "--out", str(out), "--seed", "3"])
    parser = arguments_of("What it measures.")
    parser.add_argument("--seed", type=int)

    def close(**given) -> tuple[int, dict]:
        code = Record("example", parser.parse_args()).close({"third": 1 / 3}, **given)
        return code, json.loads(out.read_text(encoding="utf-8"))

    return close


def test_a_result_tells_command_machine_versions_and_commit(record):
    code, document = record()
    assert code == 0
    assert document["command"] == "python -m benchmarks.example --out result.json --seed 3"
    assert document["options"] == {"seed": 3}
    assert document["results"] == {"third": 0.33333}
    assert set(document["machine"]) == {"cpu", "architecture", "cores", "memory_mib", "system"}
    assert {"python", "numpy"} <= set(document["versions"])
    assert set(document["commit"]) == {"id", "changed"}


def test_a_gate_not_met_is_an_error_only_where_the_benchmark_ran_in_full(record):
    gate = Gate(name="g", value=2.0, at_most=1.0)
    assert record(gates=[gate])[0] == 1
    code, document = record(gates=[gate], complete=False)
    assert (code, document["gates"]) == (0, [])


def test_a_result_names_neither_host_nor_directory(record):
    text = json.dumps(record()[1])
    assert socket.gethostname() not in text
    assert not ABSOLUTE_PATH.search(text)


@pytest.mark.parametrize("path", RESULTS, ids=lambda path: path.stem)
def test_committed_results_are_complete_met_and_anonymous(path: Path):
    text = path.read_text(encoding="utf-8")
    document = json.loads(text)
    named = ".".join(path.relative_to(DIRECTORY).with_suffix("").parts)
    assert document["benchmark"] == named.partition("-")[0]  # after it, what of it
    assert document["complete"] is True
    assert all(gate["met"] for gate in document["gates"])
    assert not ABSOLUTE_PATH.search(text)
    assert {"machine", "versions", "commit", "command", "load_average"} <= set(document)
