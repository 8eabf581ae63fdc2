"""What a run of processes leaves behind, on the shipped federation of four tiers."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
from testbed import REPOSITORY, Testbed

HOW_TO_MAKE = (
    "pip download --no-deps -d .cache seglearn==1.2.5 && python -m fedtier.data.prepare_imu "
    ".cache/seglearn-1.2.5-py3-none-any.whl .cache/imu.npz"
)
CAMPUS = REPOSITORY / "firmware_configs" / "federations" / "campus-4-tier.toml"

REPORT = {
    "federation": str, "run": str, "tiers": int, "devices": int, "rounds": int, "seconds": float,
    "accuracy": float, "accuracy_devices": dict, "loss": float, "model_digest": str, "tau": list,
    "links": list, "nodes": list, "versions": dict,
}  # fmt: skip
LINK = {
    "link": int, "quantizer": str, "updates": int, "deltas": int, "duplicates": int,
    "late": int, "lost": int, "bytes_up": int, "bytes_down": int, "q_mean": float,
    "seconds_mean": float,
}  # fmt: skip
NODE = {"id": str, "tier": int, "peak_rss_bytes": int, "cpu_seconds": float}


def check_report(report: dict) -> None:
    """Every key of the report, with its type."""
    for key, kind in REPORT.items():
        assert type(report[key]) is kind, key
    assert len(report["run"]) == 16
    assert len(bytes.fromhex(report["model_digest"])) == 32
    assert set(report["accuracy_devices"]) == {"mean", "p10", "worst"}
    assert [link["link"] for link in report["links"]] == list(range(1, report["tiers"] + 1))
    assert len(report["tau"]) == report["tiers"]
    for link in report["links"]:
        assert set(link) == set(LINK)
        for key, kind in LINK.items():
            assert type(link[key]) is kind, f"link {link['link']} {key}"
    for node in report["nodes"]:
        assert set(node) == set(NODE)
        for key, kind in NODE.items():
            assert type(node[key]) is kind, f"{node['id']} {key}"


@pytest.fixture
def imu() -> Path:
    path = REPOSITORY / ".cache" / "imu.npz"
    if not path.exists():
        pytest.skip(f"{path} is missing. {HOW_TO_MAKE}")
    return path


def test_a_campus_of_four_tiers_trains_on_real_recordings(imu, mosquitto_binary, tmp_path):
    with Testbed(tmp_path, CAMPUS) as bed:
        bed.start_brokers()
        bed.start_fleet()
        report = bed.run("--rounds", 1)
    check_report(report)
    assert (report["tiers"], report["devices"], report["rounds"]) == (4, 14, 1)
    # Every child answers each iteration of its parent, and the evaluation. On link 1 are twelve
    # devices; on link 2 five rooms and porch-7-1; on link 3 three floors and kiosk-7-0.
    updates = {1: 12 * 8 + 12, 2: 6 * 4 + 6, 3: 4 * 2 + 4, 4: 2 + 2}
    assert {link["link"]: link["updates"] for link in report["links"]} == updates
    assert all(link["duplicates"] == link["late"] == link["lost"] == 0 for link in report["links"])


def test_a_run_directory_holds_the_model_in_every_form(testbed):
    bed = testbed()
    bed.start_fleet()
    report = bed.run()
    check_report(report)
    # The cloud sees itself and its children alone; of those beneath, what each tier used.
    assert [node["id"] for node in report["nodes"]] == ["cloud", "east", "west"]
    assert all(node["peak_rss_bytes"] > 2**24 for node in report["nodes"])
    assert [(t["tier"], t["count"]) for t in report["tiers_usage"]] == [(0, 3), (1, 2), (2, 1)]
    out = bed.directory / "run-1"
    from onnxruntime import InferenceSession
    from safetensors.numpy import load_file

    from fedtier.artefact.find import find_artefact
    from fedtier.model.layout import model_digest

    layout = find_artefact(bed.federation.artefact).layout
    tensors = load_file(out / "model.safetensors")
    vector = layout.flatten(tensors)
    assert model_digest(layout.digest, vector) == report["model_digest"]
    session = InferenceSession(out / "model.onnx")
    (logits,) = session.run(None, {"x": np.zeros((1, 6, 128), np.float32)})
    assert logits.shape == (1, 7)
    rows = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["model_digest"] == report["model_digest"]
    assert len(rows) == report["rounds"]
    assert "<html" in (out / "report.html").read_text(encoding="utf-8")[:200]
    assert hashlib.sha256((out / "plan.toml").read_bytes()).digest()
