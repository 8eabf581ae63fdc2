"""Round by round: what a device accepts, what it refuses, and what it says of that upward."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
from application import Application
from inference_world import bare_imu, head_of, kit_of, listening

from edge_agent.inference.inference import Inference, inference_directory, serving
from edge_agent.inference.store import read_served, write_served
from fedtier.artefact.artefact import Artefact
from fedtier.artefact.manifest import INITIAL_FILE
from fedtier.config.board import BoardTable
from fedtier.config.node_file import parse_node_file
from fedtier.core.rollout import Verdicts
from fedtier.errors import ConfigError, StorageError
from fedtier.ids import RunId
from fedtier.model.layout import model_digest
from fedtier.storage.durable import read_record, write_record


@pytest.fixture(scope="module")
def artefact():
    return bare_imu()


@pytest.fixture
def start(short_path, tmp_path):
    """Boot an agent's inference, again in the same directory if need be."""
    running = []

    def boot(**changes):
        for inference, listener in running:
            inference.end()
            listener.close()
        running.clear()
        (short_path / "s").unlink(missing_ok=True)
        listener = listening(short_path / "s")
        given = {"directory": tmp_path, "board": BoardTable(), "precision": "float32"} | changes
        running.append((Inference(listener, **given), listener))
        return running[0][0]

    yield boot
    for inference, listener in running:
        inference.end()
        listener.close()


@pytest.fixture
def served(short_path):
    def ask():
        with Application(short_path / "s") as application:
            return application.ask(examples=[]).get("model", {}).get("round")

    return ask


def consider(inference, artefact, w, path, *, kit=None, **where):
    model = w.astype(np.float32)
    head = head_of(artefact, model_digest(artefact.layout.digest, model), path=path, **where)
    inference.consider(head, model, kit or kit_of(artefact))


def verdicts(inference, run=1):
    versions = inference.rollout(RunId(run)).versions
    return {v.round: "accepted" if n.accepted else "refused" for v, n in versions.items()}


def noisy(artefact, amount, seed=0):
    w = artefact.initial()
    return w + amount * np.random.default_rng(seed).normal(size=w.size).astype(np.float32)


def test_a_good_model_a_poisoned_one_and_a_good_one_again(start, served, artefact, caplog):
    inference, w = start(), artefact.initial()
    assert served() is None
    consider(inference, artefact, w, "r0.0")
    assert served() == 0
    consider(inference, artefact, -w, "r1.0")
    assert served() == 0
    assert caplog.records[-1].reason.endswith("more than 0.05 lower")
    consider(inference, artefact, np.full_like(w, np.nan), "r2.0")
    consider(inference, artefact, w * np.float32(1e30), "r3.0")
    assert served() == 0
    consider(inference, artefact, noisy(artefact, 1e-6), "r4.0")
    assert served() == 4
    assert verdicts(inference) == {2: "refused", 3: "refused", 4: "accepted"}
    assert all(n in (Verdicts(accepted=1), Verdicts(refused=1))
               for n in inference.rollout(RunId(1)).versions.values())  # fmt: skip


def test_only_what_opens_a_round_is_judged_and_once(start, served, artefact, caplog):
    caplog.set_level("INFO")
    inference = start()
    consider(inference, artefact, artefact.initial(), "r0.1")
    consider(inference, artefact, artefact.initial(), "r0.0.1")
    assert (served(), verdicts(inference)) == (None, {})
    for _ in range(3):
        consider(inference, artefact, artefact.initial(), "r0.0")
    assert caplog.text.count("model accepted") == 1
    assert (served(), verdicts(inference)) == (0, {0: "accepted"})


def test_a_round_in_which_nobody_came_has_the_same_verdict(start, served, artefact):
    inference, w = start(), artefact.initial()
    consider(inference, artefact, w, "r0.0")
    consider(inference, artefact, -w, "r1.0")
    consider(inference, artefact, -w, "r2.0")
    assert verdicts(inference) == {0: "accepted", 1: "refused", 2: "refused"}
    consider(inference, artefact, w, "r3.0")
    assert verdicts(inference)[3] == "accepted"
    assert served() == 0, "it is the model it was"


def test_a_restart_serves_and_reports_what_was_decided(start, served, artefact):
    inference, w = start(), artefact.initial()
    consider(inference, artefact, w, "r0.0")
    consider(inference, artefact, -w, "r1.0")
    before = inference.rollout(RunId(1))
    inference = start()
    assert served() == 0
    assert inference.rollout(RunId(1)) == before
    assert inference.rollout(RunId(2)).versions == {}


def test_a_new_run_that_begins_with_nothing_is_refused_until_it_is_good_enough(
    start, served, artefact
):
    inference = start()
    consider(inference, artefact, artefact.initial(), "r8.0")
    consider(inference, artefact, noisy(artefact, 1.0), "r0.0", run=2)
    assert (served(), verdicts(inference, 2)) == (8, {0: "refused"})
    consider(inference, artefact, noisy(artefact, 1e-6), "r1.0", run=2)
    assert (served(), verdicts(inference, 2)) == (1, {0: "refused", 1: "accepted"})


def renamed(artefact, **changes):
    """Another artefact with the same graphs."""
    initial = artefact.files[INITIAL_FILE][::-1]
    files = {**artefact.manifest.files, INITIAL_FILE: hashlib.sha256(initial).hexdigest()}
    manifest = dataclasses.replace(artefact.manifest, files=files, **changes)
    return Artefact.verify(manifest, {**artefact.files, INITIAL_FILE: initial}, where="other")


def test_another_artefact_has_to_be_as_good_unless_its_classes_are_others(start, served, artefact):
    inference = start()
    kit = kit_of(artefact)
    consider(inference, artefact, artefact.initial(), "r0.0", kit=kit)
    bad = noisy(artefact, 1.0)
    same = dataclasses.replace(kit, artefact=renamed(artefact))
    consider(inference, same.artefact, bad, "r1.0", kit=same)
    assert served() == 0
    labels = tuple(f"other {n}" for n in range(artefact.manifest.classes))
    other = dataclasses.replace(kit, artefact=renamed(artefact, labels=labels))
    consider(inference, other.artefact, bad, "r2.0", kit=other)
    assert served() == 2


def test_where_the_device_has_other_data_the_served_model_is_scored_on_them(
    start, served, artefact
):
    """It was right on all of the old hold-out, and is on none of this: so a bad one is no worse."""
    inference = start()
    consider(inference, artefact, artefact.initial(), "r0.0")
    kit = kit_of(artefact, seed=2)
    wrong = (kit.data.holdout.y + 1) % artefact.manifest.classes
    data = dataclasses.replace(
        kit.data, holdout=dataclasses.replace(kit.data.holdout, y=wrong), digest="e" * 64
    )
    consider(
        inference, artefact, -artefact.initial(), "r1.0", kit=dataclasses.replace(kit, data=data)
    )
    assert served() == 1


def test_killed_at_any_moment_it_ends_at_the_same_verdict(start, served, artefact):
    inference = start()
    consider(inference, artefact, artefact.initial(), "r0.0")
    for round_, w in enumerate([noisy(artefact, 1e-6), -artefact.initial()], start=1):
        os.kill(inference.process.pid, signal.SIGKILL)
        consider(inference, artefact, w, f"r{round_}.0")
    assert served() == 1
    assert verdicts(inference) == {0: "accepted", 1: "accepted", 2: "refused"}


def test_the_record_is_written_before_the_model_serves(start, artefact, tmp_path, monkeypatch):
    """Whatever dies after an answer of a new model, no older one follows it."""
    inference, order = start(), []
    ask = inference.process.ask
    monkeypatch.setattr(
        inference.process, "ask",
        lambda document, arrays, **others: (
            order.append((document["do"], read_served(tmp_path) is not None)),
            ask(document, arrays, **others),
        )[1],
    )  # fmt: skip
    consider(inference, artefact, artefact.initial(), "r0.0")
    assert order == [("consider", False), ("serve", True)]


def test_a_stored_model_that_cannot_be_opened_any_more_stands_in_nobodys_way(
    start, served, artefact, tmp_path
):
    """Its score is known still; but what does not serve is nothing to be compared with."""
    inference = start()
    consider(inference, artefact, artefact.initial(), "r0.0")
    kept = read_served(tmp_path)
    assert kept is not None
    broken = dataclasses.replace(kept.servable, graph=b"of another onnxruntime")
    write_served(tmp_path, dataclasses.replace(kept, servable=broken))
    inference = start()
    assert served() is None
    consider(inference, artefact, -artefact.initial(), "r1.0")
    assert served() == 1


def test_records_of_another_version_are_passed_over(start, served, artefact, tmp_path, caplog):
    consider(start(), artefact, artefact.initial(), "r3.0")
    for name in ("served.record", "rollout.record"):
        document, arrays = read_record(tmp_path / name)
        document.pop("format")
        write_record(tmp_path / name, {**document, "verdicts": [["another shape"]]}, arrays)
    inference = start()
    assert (served(), verdicts(inference)) == (None, {})
    assert caplog.text.count("file of another version passed over") == 2
    consider(inference, artefact, artefact.initial(), "r3.0")
    assert (served(), verdicts(inference)) == (3, {3: "accepted"})


def test_a_new_run_whose_model_is_the_served_one_is_named_by_the_answers(
    start, short_path, artefact
):
    inference = start()
    for run in (1, 2):
        consider(inference, artefact, artefact.initial(), "r0.0", run=run)
        with Application(short_path / "s") as application:
            assert application.ask(examples=[])["model"]["run"] == f"{run:016x}"


def test_what_cannot_be_judged_now_is_no_verdict_and_is_judged_the_next_time(
    start, served, artefact, caplog
):
    caplog.set_level("INFO")
    inference, w = start(), artefact.initial()
    os.kill(inference.process.pid, signal.SIGSTOP)
    kit = kit_of(artefact)
    model = w.astype(np.float32)
    head = head_of(artefact, model_digest(artefact.layout.digest, model), path="r0.0")
    inference.consider(head, model, kit, cancelled=lambda: True)
    assert caplog.records[-1].message == "model not judged"
    os.kill(inference.process.pid, signal.SIGCONT)
    assert (served(), verdicts(inference)) == (None, {})
    consider(inference, artefact, w, "r0.0")
    assert (served(), verdicts(inference)) == (0, {0: "accepted"})


def test_an_accepted_model_whose_record_is_damaged_is_judged_and_served_again(
    start, served, artefact, tmp_path
):
    """As after a finished run, whose last model comes once more after a restart."""
    consider(start(), artefact, artefact.initial(), "r3.0")
    (tmp_path / "served.record").write_bytes(b"FTR1 torn")
    inference = start()
    assert (served(), verdicts(inference)) == (None, {3: "accepted"})
    consider(inference, artefact, artefact.initial(), "r3.0")
    assert (served(), verdicts(inference)) == (3, {3: "accepted"})


def test_int8_is_scored_as_it_serves(start, short_path, artefact, caplog):
    pytest.importorskip("onnx", reason="this test needs the extra: pip install -e '.[int8]'")
    inference = start(precision="int8", board=BoardTable(accuracy_drop_max=0.2))
    consider(inference, artefact, artefact.initial(), "r0.0")
    with Application(short_path / "s") as application:
        assert application.ask(examples=[])["model"]["precision"] == "int8"
    consider(inference, artefact, -artefact.initial(), "r1.0")
    assert verdicts(inference) == {0: "accepted", 1: "refused"}


NODE_FILE = """\
[node]
id = "d"
role = "agent"
federation = "farm"
tier = 0
state_dir = "{directory}/state"
[parent]
id = "home"
url = "mqtt://127.0.0.1:1"
[data]
source = "npz-directory"
path = "data"
[inference]
{keys}
"""


def node_file(directory, keys=""):
    text = NODE_FILE.format(directory=directory, keys=keys)
    return parse_node_file(text, where="d.toml", directory=directory)


def test_its_socket_comes_and_goes_with_the_agent(short_path):
    file = node_file(short_path)
    (short_path / "state").mkdir()  # as whoever locks it does
    with serving(file, where="d.toml") as inference:
        with Application(short_path / "state" / "inference.sock") as application:
            assert "error" in application.ask(examples=[])
        assert inference.shown() == {"model": "none"}
    assert not (short_path / "state" / "inference.sock").exists()
    assert inference_directory(short_path / "state") == short_path / "state" / "inference"


def test_a_state_that_cannot_be_read_leaves_no_socket_behind(short_path):
    file = node_file(short_path)
    (inference_directory(short_path / "state") / "rollout.record").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"rollout\.record"), serving(file, where="d.toml"):
        pass
    assert not (short_path / "state" / "inference.sock").exists()


def test_without_the_extra_int8_is_refused_before_anything_is_started(short_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    file = node_file(short_path, 'precision = "int8"')
    with (
        pytest.raises(ConfigError, match=r"onnx is not installed.*pip install 'fedtier\[int8\]'"),
        serving(file, where="d.toml"),
    ):
        pass
    assert not (short_path / "state").exists()


def test_an_agent_that_serves_nothing_loads_nothing_of_it():
    code = "import sys, edge_agent.run; print(*(m for m in sys.modules if 'agent.infer' in m))"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == []
