"""`fedtier probe` as a person runs it: in time, whole, and gone without a trace when stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import tomllib
from contextlib import contextmanager
from pathlib import Path

import pytest

from fedtier.config.board import load_board

pytestmark = pytest.mark.system

NODE_FILE = """\
[node]
id = "d"
role = "agent"
federation = "farm"
tier = 0
state_dir = "{state_dir}"
[parent]
id = "home"
url = "mqtt://127.0.0.1:1"
[data]
source = "imu"
subject = 1
side = 0
[inference]
"""
PROBE = [sys.executable, "-m", "fedtier", "probe"]


@pytest.fixture
def scratch(tmp_path):
    """Where temporary files go; empty when a probe has left nothing behind."""
    path = tmp_path / "scratch"
    path.mkdir()
    return path


def environment(scratch):
    return {**os.environ, "TMPDIR": str(scratch)}


@contextmanager
def running(command, scratch, **options):
    """A process in the scratch directory, gone at the end of the block."""
    with subprocess.Popen(
        command, cwd=scratch, env=environment(scratch), stdout=subprocess.PIPE, **options
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_every_figure_within_the_time_and_a_profile_that_loads(any_broker, tmp_path, scratch):
    out, node = tmp_path / "probe.json", tmp_path / "node.toml"
    node.write_text(NODE_FILE.format(state_dir=scratch), encoding="utf-8")
    began_s = time.monotonic()
    done = subprocess.run(
        [
            *PROBE, "--seconds", "8", "--broker", any_broker.url, "--config", node, "--out", out,
        ],
        cwd=scratch, env=environment(scratch), capture_output=True, text=True, check=True,
        timeout=60,
    )  # fmt: skip
    # Of its own time; the interpreter and the command line come on top, at most this long.
    assert time.monotonic() - began_s < 8 + 5
    document = json.loads(out.read_text(encoding="utf-8"))
    assert document["artefact"] == "imu-net"
    first = document["steps"][0]
    assert (first["lowering"], first["threads"]) == ("gemm", 1)
    assert first["median_ms"] > 0 < first["peak_mib"]
    assert document["disk"]["bytes_per_s"] > 0
    assert document["link"]["round_trip_median_ms"] > 0
    assert document["agent_mib"] > 0
    serving_mib = document["serving_mib"]  # of a process that holds onnxruntime, too
    if "why" in document["inference"]:
        assert serving_mib == {"why": "not measured"}
    else:
        assert serving_mib > document["agent_mib"]
    for optional in ("inference", "sustained"):  # on a machine that is busy there may be no time
        assert "why" in document[optional] or document[optional]
    assert str(tmp_path) not in out.read_text(encoding="utf-8")
    shown, _, profile = done.stdout.partition("that `board` names:\n\n")
    assert "Training steps" in shown
    path = tmp_path / "board.toml"
    path.write_text(profile, encoding="utf-8")
    assert tomllib.loads(profile)["board"]["batch_max"] == 32
    assert load_board(str(path)).measured
    assert left_in(scratch) == set()


def test_stopped_by_hand_it_leaves_no_process_and_no_file(scratch, eventually):
    command = [*PROBE, "--seconds", "600", "--json"]
    with running(command, scratch, stderr=subprocess.PIPE, start_new_session=True) as process:
        eventually(lambda: children(process.pid), "steps are timed in a process of their own")
        (graphs,) = children(process.pid)
        os.killpg(process.pid, signal.SIGINT)  # a terminal's Ctrl-C; the other one still loads
        output, errors = process.communicate(timeout=30)
    assert (process.returncode, output, errors) == (130, b"", b"")
    eventually(lambda: not Path(f"/proc/{graphs}").exists(), "the graph process ends")
    assert left_in(scratch) == set()


def test_a_step_that_never_ends_is_broken_off_when_the_time_is_up(scratch, eventually):
    with running([*PROBE, "--seconds", "6", "--json"], scratch, text=True) as process:
        eventually(lambda: children(process.pid), "steps are timed in a process of their own")
        (graphs,) = children(process.pid)
        os.kill(int(graphs), signal.SIGSTOP)
        output, _ = process.communicate(timeout=6 + 5)
    assert process.returncode == 0
    document = json.loads(output)
    assert document["disk"]["bytes_per_s"] > 0
    assert "no time" in document["sustained"]["why"]
    eventually(lambda: not Path(f"/proc/{graphs}").exists(), "the graph process ends")


def left_in(directory):
    """What is there, but for the file that `import onnxruntime` itself puts into any TMPDIR."""
    return {path.name for path in directory.iterdir()} - {".ses"}


def children(pid):
    """The graph processes of a process, once they are such."""
    listed = Path(f"/proc/{pid}/task/{pid}/children")
    found = listed.read_text().split() if listed.exists() else []
    return [
        child for child in found if b"graph_main" in Path(f"/proc/{child}/cmdline").read_bytes()
    ]


def test_an_artefact_that_is_not_there_is_one_line(scratch):
    done = subprocess.run(
        [*PROBE, "--artefact", "nowhere"], capture_output=True, text=True, timeout=60, cwd=scratch
    )
    assert done.returncode == 78
    assert done.stderr.startswith("error: nowhere/manifest.json: cannot be read")
    assert done.stdout == ""
