"""Devices serve what they accepted, refuse what is worse, and no application notices a swap."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from application import Application, Looping
from run_directory_page import check_keys
from testbed import REPOSITORY, all_gone, descendants, wait_until

from fedtier.model.layout import model_digest
from fedtier.storage.snapshots import Snapshots
from fedtier.wire.manifest import decode_model, encode_model

DEVICES = ("w-0", "w-1", "e-0")
ROUNDS = 14
WANTED = {"rounds": ROUNDS, "tau": (6, 2), "tables": "[inference]\n"}
ACCEPTED = re.compile(r"model accepted  path=r(\d+)\S* model=([0-9a-f]{12})")
REFUSED = re.compile(r"model refused  path=r(\d+)\S* model=([0-9a-f]{12}).* reason='accuracy")


@pytest.fixture
def sockets() -> Iterator[Path]:
    """The kernel takes no long names of sockets."""
    with tempfile.TemporaryDirectory(prefix="fedtier-") as directory:
        yield Path(directory)


def serve_at(bed, sockets, *, holdout_percent=15):
    """Give every device an endpoint of its own with a short name."""
    for device in DEVICES:
        file = bed.file(device)
        text = file.read_text(encoding="utf-8")
        assert "[inference]\n" in text
        text = text.replace("[inference]\n", f'[inference]\nendpoint = "{sockets / device}"\n')
        text = text.replace("[data]\n", f"[data]\nholdout_percent = {holdout_percent}\n")
        file.write_text(text, encoding="utf-8")
    return {device: sockets / device for device in DEVICES}


def example(data_dir, device="w-0"):
    with np.load(data_dir / f"{device}.npz") as content:
        return content["x"][0].tolist()


def served_version(endpoint):
    with Application(endpoint) as application:
        return application.ask(examples=[]).get("model")


def poison(bed):
    """Turn the cloud's model into one that is wrong about everything it was right about."""
    snapshots = Snapshots(bed.directory / "state" / "cloud")
    snapshot = snapshots.read()
    assert snapshot is not None
    w, _, layout = decode_model(snapshot.blob)
    digest = model_digest(layout, -w)
    blob = encode_model(-w, model=digest, layout=layout)
    snapshots.write(dataclasses.replace(snapshot, model=digest, blob=blob))
    return digest


def test_a_poisoned_model_is_refused_by_devices_and_no_application_notices(
    testbed, data_dir, sockets
):
    """Half of each device's 48 examples are held out, so that one answer is 4 % of them."""
    bed = testbed(**WANTED)
    endpoints = serve_at(bed, sockets, holdout_percent=50)
    with bed.file("e-0").open("a", encoding="utf-8") as file:
        file.write("[board]\nmemory_budget_mib = 32\n")  # less than it holds: it never trains
    bed.start_fleet()
    out = bed.directory / "out"
    bed.start_cloud("--out", out)
    bed.wait_until(
        lambda: all("model accepted" in bed.nodes[device].log for device in DEVICES),
        "every device serves a model",
    )
    clients = {d: Looping(endpoints[d], example=example(data_dir, d)) for d in DEVICES}
    for client in clients.values():
        client.start()
    bed.wait_until(lambda: len(bed.rows(out)) >= 6, "six rounds have closed")
    bed.nodes["cloud"].kill()
    poisoned = poison(bed)
    bed.start_cloud("--out", out)
    report = bed.finished(out)
    for client in clients.values():
        client.end()

    assert re.search(
        rf"model refused by devices .*model={poisoned[:12]}.* refused=3", bed.nodes["cloud"].log
    )
    told = {v["model"]: v for row in bed.rows(out) for v in row["rollout"]}
    assert (told[poisoned[:12]]["accepted"], told[poisoned[:12]]["refused"]) == (0, len(DEVICES))
    final = report["rollout"][-1]
    assert (final["round"], final["model"]) == (ROUNDS, report["model_digest"][:12])
    assert final["accepted"] + final["refused"] == len(DEVICES)
    assert final["model"] in (out / "report.html").read_text(encoding="utf-8")
    check_keys("Roll-out", *report["rollout"], *told.values())
    for device, client in clients.items():
        log = bed.nodes[device].log
        assert client.errors == []
        assert poisoned[:12] in {model for _, model in REFUSED.findall(log)}
        accepted = [(int(round_), model) for round_, model in ACCEPTED.findall(log)]
        seen = [(round_, digest[:12]) for round_, digest in client.versions]
        assert set(seen) <= set(accepted)
        assert len(seen) >= 4, "it was asked through at least three swaps"
        assert seen == sorted(seen), "and never went back"
    assert " trained " not in bed.nodes["e-0"].log, "conditions stop training, not serving"


def test_whatever_dies_the_accepted_model_is_served_again(testbed, data_dir, sockets, digest_alone):
    bed = testbed(**WANTED)
    endpoint = serve_at(bed, sockets)["w-0"]
    bed.start_fleet()
    out = bed.directory / "out"
    bed.start_cloud("--out", out)
    bed.wait_until(lambda: len(bed.rows(out)) >= 2, "two rounds have closed")
    kill(serving(bed.nodes["e-0"].pid))
    orphans = serving(bed.nodes["w-0"].pid)
    bed.restart("w-0")
    bed.wait_until(lambda: all_gone(orphans), "nothing of the dead agent is left")
    assert len(bed.rows(out)) < ROUNDS, "it was killed too late"
    report = bed.finished(out)
    assert report["model_digest"] == digest_alone(**WANTED), "no verdict changes a bit of training"
    assert all(row["accepted"] + row["refused"] == len(DEVICES) for row in report["rollout"])
    assert "serving process died" in bed.nodes["e-0"].log

    before = served_version(endpoint)
    assert before is not None
    kill(serving(bed.nodes["w-0"].pid))
    assert served_version(endpoint) == before
    bed.restart("w-0")
    bed.wait_until(lambda: bed.nodes["w-0"].log.count("serving  endpoint") == 3, "it serves again")
    assert served_version(endpoint) == before

    by_agent = predict(bed, data_dir)
    bed.nodes["w-0"].signal(signal.SIGTERM)
    assert bed.nodes["w-0"].exit_code() == 0
    assert not endpoint.exists()
    assert predict(bed, data_dir) == by_agent, "the stored model says the same, to the digit"
    assert {line["model"]["digest"] for line in by_agent} == {before["digest"]}


def kill(pids):
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: all_gone(pids), "they are dead")


def serving(pid):
    """The processes beneath an agent that serve."""
    found = set()
    for child in descendants(pid):
        command = Path(f"/proc/{child}/cmdline").read_bytes()
        if b"serving_main" in command:
            found.add(child)
    assert found
    return found


def predict(bed, data_dir):
    command = ["agent", "predict", "--config", bed.file("w-0"), "--json", "--input", "-"]
    done = subprocess.run(
        [sys.executable, "-m", "fedtier", *map(str, command)],
        input=json.dumps(example(data_dir)).encode() + b"\n", capture_output=True, check=True,
        cwd=REPOSITORY, timeout=90,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]
