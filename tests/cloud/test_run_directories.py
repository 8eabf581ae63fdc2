"""A run that goes on writes into its own directory or a new one, never over another run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cloud.plan import plan_of
from fedtier.artefact.find import find_artefact
from fedtier.config.federation import load_federation
from fedtier.ids import NodeId, RunId, hex64
from fedtier.render.node_files import render_node_files
from fedtier.storage.snapshots import Snapshot, Snapshots
from fedtier.wire.fields import to_json

RUN = RunId(0xABCDEF)
FEDERATION = """
[federation]
id = "two"
[tree]
cloud = ["d-1", "d-2"]
[model]
artefact = "package:imu"
[plan]
rounds = 3
tau = [2]
[[link]]
codec = "identity"
[data]
source = "imu"
subject = 1
side = 0
[evaluation]
source = "npz-directory"
path = "nowhere"
devices = ["d-3"]
"""


@pytest.fixture(params=[1])
def resuming(tmp_path: Path, request: pytest.FixtureRequest) -> list[str]:
    """The command of a cloud with an unfinished run; its evaluation data cannot be read."""
    rounds_done = request.param
    file = tmp_path / "federation.toml"
    file.write_text(FEDERATION, encoding="utf-8")
    federation = load_federation(file)
    nodes = render_node_files(
        federation,
        directory=tmp_path,
        federation_file=file,
        broker_urls={NodeId("cloud"): "mqtt://127.0.0.1:1"},
        broker_kind="url",
    )
    (tmp_path / "cloud.toml").write_text(nodes[NodeId("cloud")], encoding="utf-8")
    Snapshots(tmp_path / "state" / "cloud").write(
        Snapshot(
            run=RUN, epoch=0, rounds_done=rounds_done, rounds_trained=rounds_done, finished=False,
            model="00" * 32, blob=b"x",
            plan=to_json(plan_of(federation).to_json()).decode(),
            artefact=find_artefact("package:imu").digest,
        )
    )  # fmt: skip
    options = ["--config", str(tmp_path / "cloud.toml"), "--out", str(tmp_path / "out")]
    return [sys.executable, "-m", "fedtier", "cloud", "run", *options]


@pytest.mark.parametrize(
    ("run", "refused"), [(RunId(1), True), (RUN, False), (None, False)],
    ids=["of another run", "of this run", "none"],
)  # fmt: skip
def test_a_run_does_not_go_on_in_a_directory_with_another_runs_report(
    resuming, tmp_path, run, refused
):
    report = tmp_path / "out" / "report.json"
    if run is not None:
        report.parent.mkdir()
        report.write_text(json.dumps({"run": hex64(run)}, indent=2), encoding="utf-8")
    ended = subprocess.run(resuming, capture_output=True, text=True, check=False)
    assert ended.returncode == 78
    said = ended.stderr.splitlines()[-1]
    assert ("holds the report of another run" in said) is refused
    assert ("[evaluation]" in said) is not refused  # it has gone on to what comes next


@pytest.mark.parametrize("resuming", [0, 1], indirect=True, ids=["no round", "a round"])
def test_only_a_run_of_which_no_round_is_done_gives_way_to_another_plan(resuming, request):
    ended = subprocess.run([*resuming, "--seed", "2"], capture_output=True, text=True, check=False)
    assert ended.returncode == 78
    said = ended.stderr.splitlines()[-1]
    nothing_lost = "[no round]" in request.node.name
    assert ("--abandon" in said) is not nothing_lost
    assert ("[evaluation]" in said) is nothing_lost  # it has gone on to what comes next
    assert ("run abandoned" in ended.stderr) is nothing_lost
