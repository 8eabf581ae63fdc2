"""What a run of processes leaves behind, on the shipped federation of four tiers."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
from run_directory_page import check_keys, listed
from testbed import REPOSITORY, Program, Testbed

HOW_TO_MAKE = (
    "pip download --no-deps -d .cache seglearn==1.2.5 && python -m fedtier.data.prepare_imu "
    ".cache/seglearn-1.2.5-py3-none-any.whl .cache/imu.npz"
)
CAMPUS = REPOSITORY / "firmware_configs" / "federations" / "campus-4-tier.toml"

REPORT = {
    "federation": str, "run": str, "tiers": int, "devices": int, "rounds": int,
    "rounds_trained": int, "reasons": list, "seconds": float, "clock": str, "ended": str,
    "accuracy": float, "accuracy_devices": dict, "loss": float, "model_digest": str, "tau": list,
    "links": list, "nodes": list, "versions": dict,
}  # fmt: skip
LINK = {
    "link": int, "quantizer": str, "updates": int, "deltas": int, "abstained": int,
    "duplicates": int, "late": int, "lost": int, "bytes_up": int, "bytes_down": int,
    "q_mean": float, "seconds_mean": float,
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


# A board whose memory no process of ours fits into: each of its devices abstains.
TIGHT = """
name = "tight"
description = "less memory than onnxruntime takes"
[board]
memory_budget_mib = 32
"""
ALL_TIGHT = "\n".join(
    f'[[node]]\nid = "{device}"\nboard = "tight.toml"' for device in ("w-0", "w-1", "e-0")
)
OVER_BUDGET = "MiB resident, the board's budget is 32 MiB"


def rows_of(out: Path) -> list[dict]:
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.covers("H-8")
@pytest.mark.covers("R-5")
def test_a_run_in_which_every_device_abstains_is_on_record_and_no_success(testbed, tmp_path):
    (tmp_path / "bed").mkdir()
    (tmp_path / "bed" / "tight.toml").write_text(TIGHT, encoding="utf-8")
    bed = testbed(tables=ALL_TIGHT)
    bed.start_fleet()
    report = bed.run(code=65)
    assert re.search("stopped +exit_code=65$", bed.nodes["cloud"].log, re.MULTILINE)
    assert (report["rounds"], report["rounds_trained"]) == (2, 0)
    (east, west) = report["reasons"]
    assert east["node"] == "east"
    assert east["reason"].startswith("e-0: memory: ")
    assert OVER_BUDGET in west["reason"]
    one, two = report["links"]
    # 2 rounds of 2 iterations; the evaluation is abstained from as well, and is no training
    assert (one["updates"], one["deltas"], one["abstained"]) == (3 * 2 * 2 + 3, 0, 3 * 2 * 2)
    assert (two["updates"], two["deltas"], two["abstained"]) == (2 * 2 + 2, 0, 2 * 2)
    assert one["bytes_up"] > 0
    rows = rows_of(bed.directory / "run-1")
    assert [row["members"] for row in rows] == [0, 0]
    assert {row["model_digest"] for row in rows} == {report["model_digest"]}
    log = bed.nodes["cloud"].log
    assert log.count("WARNING nobody trained") == 1
    assert OVER_BUDGET in log.partition("WARNING nobody trained")[2]
    # the fleet stands, and a later run is judged by itself
    assert bed.run("--rounds", 1, code=65)["rounds_trained"] == 0


@pytest.fixture
def run_demo(write_federation, mosquitto_binary, tmp_path):
    """Run a demo to its end; its directory and what it printed."""

    def run(name: str, *options: object, code: int, **wanted: object) -> tuple[Path, str]:
        file = write_federation(f"{name}.toml", **wanted)
        out = tmp_path / name
        program = Program.fedtier(
            "demo", "--federation", file, "--out", out, *options, log_path=tmp_path / f"{name}.log"
        )
        try:
            assert program.exit_code() == code, program.log
        finally:
            program.kill()
        return out, program.log

    return run


def read(path: Path) -> dict:
    return json.loads(path.read_bytes())


def test_the_page_on_the_run_directory_names_every_file_and_key_and_no_other(run_demo, tmp_path):
    (tmp_path / "tight.toml").write_text(TIGHT, encoding="utf-8")
    plain, shown = run_demo("plain", "--reference", code=0)
    tight, said = run_demo("tight-demo", "--reference", code=65, tables=ALL_TIGHT)
    assert "Beside it" in shown
    assert "Nobody trained in any of the 2 rounds: the model is the initial one." in said
    assert "  west: w-0: memory: " in said
    assert "\nw-0 never trained: memory: " in said
    assert "never trained" not in shown
    files = listed("Files") - {"estimates.json", "plans.jsonl"}  # of runs that are not compared
    assert {path.name for path in plain.iterdir()} == files
    assert {path.name for path in tight.iterdir()} == files - {"reference.json"}
    reports = [read(out / "report.json") for out in (plain, tight)]
    check_report(reports[0])
    rows = [row for out in (plain, tight) for row in rows_of(out)]
    model = read(plain / "model.json")
    check_keys("Use the model", model, elsewhere=("preprocessing",))
    check_model_file(plain, model, reports[0])
    check_keys("report.json", *reports, elsewhere=("links", "rollout", "plans"))
    check_keys("metrics.jsonl", *rows, elsewhere=("links", "reasons", "rollout"))
    check_keys("Figures of a link", *(link for it in (*reports, *rows) for link in it["links"]))
    reference = read(plain / "reference.json")
    check_keys("reference.json", reference)
    check_reference(reference, reports[0])


def check_model_file(out: Path, model: dict, report: dict) -> None:
    """It is of this run, and says what the graph beside it says."""
    from onnxruntime import InferenceSession

    for key in ("model_digest", "artefact_digest"):
        assert model[key] == report[key]
    session = InferenceSession(out / "model.onnx")
    for side, slots in (("input", session.get_inputs()), ("output", session.get_outputs())):
        (slot,) = slots
        assert model[side] == {"name": slot.name, "shape": slot.shape, "dtype": "float32"}
        assert slot.type == "tensor(float)"
    assert len(model["labels"]) == model["output"]["shape"][1]


def check_reference(reference: dict, report: dict) -> None:
    """It is of this run, and its sums are right."""
    for key in ("federation", "run", "seed", "rounds", "accuracy"):
        assert reference[key] == report[key]
    assert reference["local_steps"] == 2 * 2 * 2
    assert set(reference["alone"]) == {"w-0", "w-1", "e-0"}
    together = [a for a in reference["one_process"].values() if a is not None]
    alone = [a for a in reference["alone"].values() if a is not None]
    assert reference["one_process_best"] == max(together)
    assert reference["alone_best"] == max(alone)
    assert reference["alone_mean"] == pytest.approx(sum(alone) / len(alone))
    assert reference["behind_one_process"] == max(together) - report["accuracy"]
    assert reference["ahead_of_alone"] == report["accuracy"] - max(alone)
